"""Nodes that stop, and a head that is lost, amid a sweep: the rows are those of an undisturbed run."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from espalier.orchestrator.store.sweep_store import Store
from tests.integration.conftest import SINGLY, all_rows, descendants, measured, run, title, write_config
from tests.integration.decoys import ROOT, SECONDS
from tests.integration.ray_head import ray_head, ray_worker, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.soak, pytest.mark.timeout(400)]

SOON_GONE = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "500",
    "RAY_health_check_failure_threshold": "4",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "8",
}
"""Who is silent is given up within seconds, not within a minute: a node by its head, a head by its driver."""


def config(folder):
    """A sweep of 112 training jobs of a few tenths of a second: longer than a lost node is waited for."""
    training = {"train__epochs": 6, "train__batch_size": 4, "train__snapshots": list(range(7))}
    sizes = {"data__limit_train": 600, "sweep__widths": [2], "sweep__seeds": 16, "graft__nulls": '["self"]'}
    return measured(SINGLY, write_config(folder, **training, **sizes))


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
def joined(variables, log):
    """A worker node while the block runs."""
    worker = ray_worker(ROOT, variables, log)
    try:
        wait_for(worker, log)
        yield worker
    finally:
        kill(worker)


def kill(node):
    """SIGKILL to all that a node started, as when its machine loses its power."""
    if node.poll() is None:
        for pid in [node.pid, *descendants(node.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    node.wait()


@contextlib.contextmanager
def driver(folder, variables, log):
    """`espalier run`, on the cluster, while the block runs; it writes to `log`."""
    with log.open("w") as file:
        command = [sys.executable, "-m", "espalier", "run", str(folder), "--address", "auto"]
        process = subprocess.Popen(command, env=variables, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(happened, log, process):
    end = time.monotonic() + SECONDS
    while not happened():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)


def nets(folder):
    return len(list(folder.glob("checkpoints/*")))


def test_a_node_whose_raylet_stops_and_comes_back_does_no_harm(tmp_path, environment, undisturbed):
    """As a partition that heals: the head has given the node up when it speaks again."""
    folder, log = config(tmp_path / "sweep"), tmp_path / "driver.log"
    with contextlib.ExitStack() as stack:
        variables = stack.enter_context(ray_head(ROOT, environment, cpus=0))
        # Ray's sockets lie below, and a socket's path may have 107 characters.
        short = tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True)
        place = Path(stack.enter_context(short))
        first = stack.enter_context(joined(variables, place / "a.log"))
        stack.enter_context(joined(variables, place / "b.log"))
        process = stack.enter_context(driver(folder, variables, log))
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
