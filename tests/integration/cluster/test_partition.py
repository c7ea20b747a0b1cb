"""A machine of the cluster is cut off by its network amid a sweep, and comes back."""

import contextlib
import os
import secrets
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest

from espalier.orchestrator.store.sweep_store import Store
from tests.integration.conftest import all_rows, run
from tests.integration.decoys import ROOT, SECONDS
from tests.integration.faulty_nodes import SOON_GONE, config, driver, nets, until
from tests.integration.net_nodes import Machines, refuse_without_namespaces

pytestmark = [pytest.mark.ray, pytest.mark.soak, pytest.mark.timeout(1200)]

IMAGES = 1500
"""Of training: the sweep is still at work when the machine is back, also where nobody else computes."""


def test_a_machine_that_is_cut_off_and_comes_back_does_no_harm_and_is_used_again(tmp_path):
    """Its work is done elsewhere meanwhile; the rows are those of an undisturbed run."""
    refuse_without_namespaces()
    folder, log = config(tmp_path / "sweep", IMAGES), tmp_path / "driver.log"
    ours = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HOME": str(tmp_path), "NO_COLOR": "1"}
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    variables = {**os.environ, **ours, **token, **SOON_GONE}
    with contextlib.ExitStack() as stack:
        machines = stack.enter_context(Machines(["head", "a", "b"]))
        short = tempfile.TemporaryDirectory(prefix="net", dir="/tmp", ignore_cleanup_errors=True)
        place = Path(stack.enter_context(short))
        stack.enter_context(machines.ray("head", place / "h", variables, cpus=0))
        cut_off = stack.enter_context(machines.ray("a", place / "a", variables))
        stack.enter_context(machines.ray("b", place / "b", variables))
        process = stack.enter_context(
            driver(folder, variables, log, address=machines.head, first=machines.inside("head"))
        )
        until(lambda: nets(folder) >= 4, log, process)
        machines.cut("a")
        until(lambda: "node a (10.213.77.2) is gone" in log.read_text(), log, process)
        done = nets(folder)
        until(lambda: nets(folder) >= done + 4, log, process)  # the other machine works on
        machines.heal("a")
        # The head has given the machine up, and its Ray ends when it hears of that: one is started anew.
        cut_off.wait(SECONDS)
        stack.enter_context(machines.ray("a", place / "a2", variables))
        assert process.wait(6 * SECONDS) == 0, log.read_text()
        told = log.read_text()
    assert "node a (10.213.77.2) has joined" in told
    assert "Traceback" not in told
    undisturbed = config(tmp_path / "undisturbed", IMAGES)
    assert run(undisturbed).complete
    assert all_rows(folder) == all_rows(undisturbed)
    check_attempts(Store(folder).read_table("jobs").to_pylist())


def check_attempts(rows):
    """What was lost with the machine was made again; each job was done once; the machine was used again."""
    done = [row["key"] for row in rows if row["outcome"] == "done"]
    assert len(done) == len(set(done))
    assert {row["cause"] for row in rows} == {"", "lost"}
    by_job = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["attempt"]):  # merged parts have them in any order
        by_job[row["key"]].append((row["outcome"], row["node"]))
    lost = [attempts for attempts in by_job.values() if attempts[0] == ("failed", "a")]
    assert lost
    assert all("done" in {outcome for outcome, _ in attempts} for attempts in lost)
    last = max(row["start"] for row in rows if row["cause"] == "lost")
    assert [row for row in rows if row["node"] == "a" and row["outcome"] == "done" and row["start"] > last]
