"""Nodes that stop, and a head that is lost, amid a sweep: the rows are those of an undisturbed run."""

import contextlib
import os
import signal
import tempfile
from pathlib import Path

import pytest

from espalier.orchestrator.store.sweep_store import Store
from tests.integration.conftest import all_rows, descendants, run, title
from tests.integration.decoys import ROOT, SECONDS
from tests.integration.faulty_nodes import RUN, SOON_GONE, config, driver, joined, kill, nets, until
from tests.integration.ray_head import ray_head

pytestmark = [pytest.mark.ray, pytest.mark.soak, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = config(tmp_path_factory.mktemp("undisturbed") / "sweep")
    assert run(folder).complete
    return all_rows(folder)


@pytest.fixture
def environment(tmp_path):
    ours = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HOME": str(tmp_path), "NO_COLOR": "1"}
    return {**os.environ, **ours, **SOON_GONE}


@contextlib.contextmanager
def sweep_on_two_nodes(folder, environment, log, program=RUN):
    """A driver on a head of no slots, and the first of its two nodes."""
    with contextlib.ExitStack() as stack:
        variables = stack.enter_context(ray_head(ROOT, environment, cpus=0))
        # Ray's sockets lie below, and a socket's path may have 107 characters.
        short = tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True)
        place = Path(stack.enter_context(short))
        first = stack.enter_context(joined(variables, place / "a.log"))
        stack.enter_context(joined(variables, place / "b.log"))
        yield stack.enter_context(driver(folder, variables, log, program)), first


def test_a_node_whose_raylet_stops_and_comes_back_does_no_harm(tmp_path, environment, undisturbed):
    """As a partition that heals: the head has given the node up when it speaks again."""
    folder, log = config(tmp_path / "sweep"), tmp_path / "driver.log"
    with sweep_on_two_nodes(folder, environment, log) as (process, first):
        until(lambda: nets(folder) >= 4, log, process)
        raylet = next(pid for pid in descendants(first.pid) if "raylet/raylet" in title(pid).split("\0")[0])
        os.kill(raylet, signal.SIGSTOP)
        try:
            until(lambda: "is gone" in log.read_text(), log, process)
        finally:
            os.kill(raylet, signal.SIGCONT)
        assert process.wait(SECONDS) == 0, log.read_text()
    assert all_rows(folder) == undisturbed
    causes = {row["cause"] for row in Store(folder).read_table("jobs").to_pylist()}
    assert causes <= {"", "lost"}


CROWDED = """
import sys, threading, time
from pathlib import Path
import numpy as np
import ray
from espalier.orchestrator.cli import app
def crowd(folder):
    while len(list(folder.glob("checkpoints/*"))) < 40:
        time.sleep(0.05)
    kept = [ray.put(np.zeros(10**7, np.uint8)) for _ in range(11)]
    (folder.parent / "crowded").touch()
threading.Thread(target=crowd, args=(Path(sys.argv[2]),), daemon=True).start()
app(sys.argv[1:])
"""
"""`espalier`, where others fill the driver's object store (100 MB) when 40 checkpoints are there: it lets go
of its copies of what workers gave, which then lies on their nodes alone."""


def test_snapshots_that_only_a_lost_node_held_are_read_from_the_folder(tmp_path, environment, undisturbed):
    """All that workers give is kept in the object store of their node, and half of it goes with one."""
    folder, log = config(tmp_path / "sweep"), tmp_path / "driver.log"
    stored = {**environment, "RAY_max_direct_call_object_size": "1000"}
    with sweep_on_two_nodes(folder, stored, log, ("-c", CROWDED)) as (process, first):
        until((tmp_path / "crowded").exists, log, process)
        kill(first)
        assert process.wait(SECONDS) == 0, log.read_text()
    assert all_rows(folder) == undisturbed
    attempts = Store(folder).read_table("jobs").to_pylist()
    lost = [row["error"] for row in attempts if row["cause"] == "lost"]
    assert [text for text in lost if "Object" in text], lost  # an input of theirs was gone
    assert {row["cause"] for row in attempts} == {"", "lost"}


def test_a_sweep_whose_head_is_lost_goes_on_in_another_cluster(tmp_path, environment, undisturbed):
    folder, log = config(tmp_path / "sweep"), tmp_path / "driver.log"
    with ray_head(ROOT, environment) as variables:
        with driver(folder, variables, log) as process:
            until(lambda: nets(folder) >= 4, log, process)
            mine = [
                pid
                for pid in descendants(os.getpid())
                if "--temp-dir=" in title(pid) and "--head" in title(pid)
            ]
            for pid in [*mine, *(found for head in mine for found in descendants(head))]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            assert process.wait(SECONDS) not in (0, None), log.read_text()
        assert "Traceback" not in log.read_text(), log.read_text()
        assert not Store(folder).files.locked()
    with ray_head(ROOT, environment) as variables, driver(folder, variables, log) as process:
        assert process.wait(SECONDS) == 0, log.read_text()
    assert all_rows(folder) == undisturbed
