"""A sweep on a cluster whose nodes are lost, by processes that a test may kill."""

import contextlib
import os
import signal
import subprocess
import sys
import time

from tests.integration.conftest import SINGLY, descendants, measured, write_config
from tests.integration.decoys import ROOT, SECONDS
from tests.integration.ray_head import ray_worker, wait_for

SOON_GONE = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "500",
    "RAY_health_check_failure_threshold": "4",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "8",
}
"""Who is silent is given up within seconds, not within a minute: a node by its head, a head by its driver."""


RUN = ("-m", "espalier")
"""Espalier as Python runs it."""


def config(folder, images=600):
    """A sweep of 112 training jobs of a few tenths of a second: longer than a lost node is waited for."""
    training = {"train__epochs": 6, "train__batch_size": 4, "train__snapshots": list(range(7))}
    sizes = {"sweep__widths": [2], "sweep__seeds": 16, "graft__nulls": '["self"]'}
    return measured(SINGLY, write_config(folder, data__limit_train=images, **training, **sizes))


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
def driver(folder, variables, log, program=RUN, address="auto", first=()):
    """`espalier run`, on the cluster, while the block runs; writes to `log`. `first` begins the command."""
    with log.open("w") as file:
        command = [*first, sys.executable, *program, "run", str(folder), "--address", address]
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
