"""Thousands of narrow nets as one sweep, by the command line: the driver's CPU time a job, and its memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.driver_load import resident_mb
from espalier.orchestrator.record import cpu_name
from espalier.orchestrator.store.files import BLOBS
from espalier.orchestrator.store.sweep_store import Store

SWEEP = """
[data]
dataset = "digits"
[network]
layers = [1, "pool", 1, "pool"]
[train]
epochs = 2
snapshots = [0, 2]
[sweep]
widths = [2]
seeds = {seeds}
[graft]
partners = 2
nulls = []
"""
"""That of docs/sweep.md, "Many nets, few partners", without nulls, which are five of seven grafts."""
SNAPSHOTS = 2
"""Of each net."""
PARTS = 10
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Setup:
    """How many nets."""

    seeds: int = 5000


@dataclass(frozen=True)
class Look:
    """The driver's process: seconds since its start and of its CPU, its memory, and what is done by then."""

    seconds: float
    cpu: float
    resident_mb: float
    snapshots: int


def run(setup: Setup) -> dict[str, Any]:
    """The machine, the tenths of the training, the grafting after it, and what the tables hold."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "sweep"
        folder.mkdir()
        (folder / "sweep.toml").write_text(SWEEP.format(seeds=setup.seeds))
        with (Path(place) / "said").open("w") as said:
            command = [sys.executable, "-m", "espalier", "run", str(folder)]
            process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
            looks = list(looked_at(process, folder))
        print((Path(place) / "said").read_text(), file=sys.stderr)
        if process.returncode:
            raise RuntimeError(f"the run ended with exit code {process.returncode}")
        store = Store(folder)
        jobs = Counter(store.read_table("jobs")["kind"].to_pylist())
        rows = {name: count for name, count in store.scan(repair=False).rows.items() if count}
    machine = {"cpu": cpu_name(), "load_before": round(load, 1), "load_after": round(os.getloadavg()[0], 1)}
    total = SNAPSHOTS * setup.seeds
    return {
        "machine": machine | asdict(setup),
        "run": [{"wall_s": round(looks[-1].seconds), "driver_cpu_s": round(looks[-1].cpu, 1)}],
        "jobs": [dict(jobs)],
        "rows": [rows],
        "training": tenths(looks, total, jobs["train"]),
        "after training": [after(looks, total, jobs.total() - jobs["train"])],
    }


def looked_at(process: subprocess.Popen[bytes], folder: Path) -> Iterator[Look]:
    """Looks at a run until it ends."""
    start = time.monotonic()
    while process.poll() is None:
        try:
            yield Look(
                time.monotonic() - start, _cpu(process.pid), resident_mb(process.pid), _count(folder / BLOBS)
            )
        except (FileNotFoundError, StopIteration):  # it has just ended
            continue
        time.sleep(LOOK_SECONDS)


def _cpu(process: int) -> float:
    """Seconds of the CPU that a process has used, its threads included and its children left out."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _count(folder: Path) -> int:
    return len(os.listdir(folder)) if folder.exists() else 0  # noqa: PTH208 - names alone, many of them


def tenths(looks: Sequence[Look], total: int, jobs: int) -> list[dict[str, Any]]:
    """What each tenth of the snapshots took, from the first look at which there was one."""
    before, rows = _first(looks, lambda look: look.snapshots > 0), list[dict[str, Any]]()
    for part in range(1, PARTS + 1):
        now = _first(looks, lambda look, part=part: look.snapshots >= part * total / PARTS)
        count = (now.snapshots - before.snapshots) * jobs / total
        rows.append(
            {
                "snapshots": now.snapshots,
                "seconds": round(now.seconds, 1),
                "cpu_ms_a_job": round(1e3 * (now.cpu - before.cpu) / count, 2) if count else None,
                "resident_mb": round(now.resident_mb, 1),
            }
        )
        before = now
    return rows


def after(looks: Sequence[Look], total: int, jobs: int) -> dict[str, Any]:
    """The rest of the run, in which there are no more snapshots."""
    start, end = _first(looks, lambda look: look.snapshots >= total), looks[-1]
    return {
        "seconds": round(end.seconds - start.seconds, 1),
        "jobs": jobs,
        "cpu_ms_a_job": round(1e3 * (end.cpu - start.cpu) / jobs, 1),
        "resident_mb": round(max(look.resident_mb for look in looks if look.seconds >= start.seconds), 1),
    }


def _first(looks: Sequence[Look], known: Callable[[Look], bool]) -> Look:
    return next((look for look in looks if known(look)), looks[-1])
