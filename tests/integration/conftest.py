"""A tiny sweep, finished once for all tests to copy, and drivers in processes that can be killed."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from espalier.orchestrator.planning.identity import probe_key
from espalier.orchestrator.planning.nets import nets
from espalier.orchestrator.running.pool_makers import in_process, ray_pool
from espalier.orchestrator.running.probing import RECORD
from espalier.orchestrator.store.sweep_store import Store
from espalier.orchestrator.sweep import Sweep

torch.set_num_threads(1)

TABLES = ("nets", "curves", "grafts", "downstream")


def write_config(folder, **changes):
    """The tiny sweep's sweep.toml: 2 widths x 2 seeds x 2 snapshots, 3 layers; `changes` replace values."""
    fields = {
        "data.dataset": '"digits"', "data.limit_train": 200, "data.limit_test": 80,
        "network.layers": '[1, "pool", 1]',
        "train.epochs": 2, "train.snapshots": [0, 2],
        "sweep.widths": [2, 3], "sweep.seeds": 2,
    }  # fmt: skip
    fields |= {name.replace("__", "."): value for name, value in changes.items()}
    sections = {}
    for name, value in fields.items():
        section, _, field = name.partition(".")
        sections.setdefault(section, []).append(f"{field} = {value}")
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join(f"[{section}]\n" + "\n".join(lines) for section, lines in sections.items())
    (folder / "sweep.toml").write_text(text + "\n")
    return folder


SINGLY = {"grouped": False, "layout": "contiguous", "nets": 1}


def measured(answer, folder):
    """The folder of a sweep, as if a probe had given `answer` for all of its nets."""
    sweep = Sweep(folder)
    keys = {probe_key(net, "cpu") for net in nets(sweep.config, sweep.facts)}
    Store(folder).write_json(RECORD, dict.fromkeys(sorted(keys), answer))
    return folder


def run(folder):
    """Run the sweep in this process."""
    return Sweep(folder).run(pool=in_process)


NOT_COMPARED = ("seconds", "checkpoint", "sha256", "state_sha256")
"""What no two runs share, and what says where the files of a run are: on a cluster workers name them."""


def rows(folder, table):
    """How often each row is in a table, as far as it is to be the same in all runs."""
    lines = Store(folder).read_table(table).to_pylist()
    return Counter(
        json.dumps({k: v for k, v in line.items() if k not in NOT_COMPARED}, default=bytes.hex)
        for line in lines
    )


def all_rows(folder):
    return {table: rows(folder, table) for table in TABLES}


def names(folder):
    """Every finished file of a sweep, but the log of attempts."""
    paths = [path for part in ("tables", "checkpoints") for path in (folder / part).rglob("*.*")]
    return [str(path.relative_to(folder)) for path in paths if path.parent.name != "jobs"]


def published(folder):
    """Every finished file of a sweep that nobody writes to, and its bytes."""
    return {name: (folder / name).read_bytes() for name in names(folder)}


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """The finished tiny sweep, never to be written to."""
    folder = write_config(tmp_path_factory.mktemp("reference") / "tiny")
    assert run(folder).complete
    return folder


@pytest.fixture(scope="session")
def smallest(tmp_path_factory):
    """The finished sweep of two small nets with two snapshots, never to be written to."""
    folder = smallest_config(tmp_path_factory.mktemp("smallest") / "sweep")
    assert run(folder).complete
    return folder


def smallest_config(folder, **changes):
    """A config that takes a third of a second."""
    small = {"data__limit_train": 60, "data__limit_test": 40, "network__layers": [1], "sweep__widths": [2]}
    return write_config(folder, **small | {"train__epochs": 1, "train__snapshots": [0, 1]} | changes)


@pytest.fixture
def tiny(tmp_path):
    """A folder with the tiny sweep's config alone."""
    return write_config(tmp_path / "tiny")


@pytest.fixture
def finished(reference, tmp_path):
    """A copy of the finished tiny sweep."""
    return Path(shutil.copytree(reference, tmp_path / "finished"))


def descendants(pid):
    """This process's children, theirs, and so on: other people's Rays are not ours to kill."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [found for child in map(int, children) for found in (child, *descendants(child))]


def title(pid):
    return Path(f"/proc/{pid}/cmdline").read_text()


class Sabotage:
    """Makes Ray pools for a sweep, the last of them `pool`, each with a saboteur."""

    def __init__(self, **when):
        self._when, self.pool = when, None

    def __call__(self, fetch, config, largest):
        self.pool = Saboteur(ray_pool(fetch, config, largest), **self._when)
        return self.pool


class Saboteur:
    """A pool of one worker that is killed with its n-th job of a kind: at once, or some seconds into it."""

    def __init__(self, pool, kind, job, seconds=0.0):
        self._pool, self._kind, self._left, self._seconds = pool, kind, job, seconds
        self._target, self._due, self.killed = None, None, None

    def __getattr__(self, name):
        return getattr(self._pool, name)

    def submit(self, job, attempt):
        self._pool.submit(job, attempt)
        self._left -= job.kind == self._kind
        if self._left == 0 and self._target is None:
            self._target = job.key

    def wait(self, timeout):
        if self._target is None or self.killed:
            return self._pool.wait(timeout)
        begun = [slot.calls[0].job.key for slot in self._pool._slots if slot.calls] == [self._target]
        if begun or not self._seconds:
            self._due = self._due or time.monotonic() + self._seconds
            if time.monotonic() >= self._due:
                self.killed = next(
                    pid for pid in descendants(os.getpid()) if title(pid).startswith("ray::Worker")
                )
                os.kill(self.killed, signal.SIGKILL)
        return self._pool.wait(0.05)


DRIVER = """
import os
import signal
# Tests that run in a shell's background inherit that Ctrl-C is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.dup2(log, 1)
os.dup2(log, 2)
import torch
torch.set_num_threads(1)
from espalier.orchestrator.cli import app
app(["run", FOLDER, "--in-process"])
"""


class Drivers:
    """`espalier run FOLDER --in-process` in processes of their own, forked where torch is loaded already."""

    def __init__(self):
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(
            [
                "espalier.orchestrator.cli",
                "espalier.tasks.training.train",
                "espalier.tasks.grafting.graft",
                "torch._dynamo",
            ]
        )
        self._running = []

    def start(self, folder, first=""):
        """Start a driver; it runs the lines `first`, in which FOLDER is known, before all else."""
        names = {"LOG": str(folder.parent / "driver.log"), "FOLDER": str(folder)}
        process = self._context.Process(target=exec, args=(first + DRIVER, names))
        process.start()
        self._running.append(process)
        return process

    def stop(self):
        for process in self._running:
            process.kill()
            process.join()
        self._running.clear()


@pytest.fixture
def drivers():
    made = Drivers()
    yield made
    made.stop()


def wait_until(happened, process, seconds=60):
    """Wait until something happened or the process ended."""
    end = time.monotonic() + seconds
    while not happened() and process.is_alive():
        assert time.monotonic() < end
        time.sleep(0.002)
