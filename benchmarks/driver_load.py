"""What the driver costs a job, and at how many slots one driver is full.

`sleeping`: the real driver, store and pool on Ray, with jobs that sleep: how much longer than without a
driver. `through Ray`: jobs that do nothing, through the pool alone, with as many in flight as the driver has.
`committing`: driver and store with answers that are there at once, of several sizes. `flat`: the same with
many small jobs, in parts of the run one after the other: seconds a job, and the process's memory.

Slots at which a driver is full are those that ask for all of one core's time: a job of 2 s (20 s) on each
slot costs the driver its CPU seconds once in 2 s (20 s), by the pool and by committing its answer.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.instant_jobs import Ask, InstantPool, answer_bytes, plan, tasks
from benchmarks.plan_accuracy import ray_with
from espalier.cluster.on_ray.ray_pool import RayPool
from espalier.cluster.pool import Pool
from espalier.orchestrator.planning.state_machine import JOBS_IN_FLIGHT_PER_SLOT, Machine
from espalier.orchestrator.planning.task import Task
from espalier.orchestrator.record import cpu_name
from espalier.orchestrator.running.driver import Driver
from espalier.orchestrator.running.progress import Lines, Tally
from espalier.orchestrator.store.sweep_store import Store

EXECUTE = "benchmarks.instant_jobs:answer"
ROWS = 24
"""Of a small tile: one pair with its nulls."""
SIZES = (Ask(rows=ROWS), Ask(rows=2400), Ask(rows=1, blob_bytes=2**18), Ask(rows=1, blob_bytes=2**24))
PARTS = 10
"""Of the run of many small jobs."""
SECTIONS = ("ray", "store", "flat")
"""Jobs through Ray, answers that are there at once, and the long run; the first two give the slots."""


@dataclass(frozen=True)
class Setup:
    """Jobs that sleep, on 2 slots; jobs through Ray, by slots; jobs of the flat run."""

    sleeping: int = 160
    seconds: float = 2.0
    trivial: int = 3000
    turns: int = 5
    slots: tuple[int, ...] = (1, 2, 4, 8)
    flat: int = 20_000
    sections: tuple[str, ...] = SECTIONS


def run(setup: Setup) -> dict[str, Any]:
    """The machine and how busy it was, and rows for each measurement, which are told as they come."""
    load, rows = os.getloadavg()[0], dict[str, list[dict[str, Any]]]()
    if "ray" in setup.sections:
        with ray_with(max(setup.slots)):
            rows["sleeping"] = [_told(sleeping(setup))]
            rows["through Ray"] = [
                _told(through_ray(slots, setup.trivial, setup.turns)) for slots in setup.slots
            ]
    if "store" in setup.sections:
        rows["committing"] = [_told(committing(ask)) for ask in SIZES]
    if "ray" in setup.sections and "store" in setup.sections:
        by_ray = min(row["cpu_ms_a_job"] for row in rows["through Ray"])
        rows["full"] = [_told(_full(row, by_ray)) for row in rows["committing"]]
    if "flat" in setup.sections:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
            rows["flat"] = alone.submit(flat, setup.flat).result()
    machine = {"cpu": cpu_name(), "load_before": round(load, 1), "load_after": round(os.getloadavg()[0], 1)}
    return {"machine": machine | asdict(setup), **rows}


def _told(row: dict[str, Any]) -> dict[str, Any]:
    print(row, file=sys.stderr, flush=True)
    return row


def driven(some: list[Task], pool: Pool, folder: Path, follow: Callable[[Any], None] | None = None) -> None:
    """Run tasks by the real machine, driver and store."""
    store, made = Store(folder), plan(some)
    machine = Machine(some, (), pool.slots, 2, lambda *_: None)
    with store.lock(), Lines(Tally(made, pool.slots), lambda _: None) as lines:
        store.scan()
        outcome = Driver(machine, pool, store, lines, partial(datetime.now, UTC), follow=follow).run()
    if sum(outcome.done.values()) != len(some):
        raise RuntimeError(
            f"{len(some)} jobs were given, and {outcome.done} are done: {outcome.failures[:3]}"
        )


def sleeping(setup: Setup) -> dict[str, Any]:
    """Jobs that sleep on two slots: the share of the time that is not theirs, and the driver's CPU time."""
    slots, ended = 2, list[float]()
    with RayPool(EXECUTE, _no_blobs, slots=slots) as pool, tempfile.TemporaryDirectory() as place:
        driven(tasks(4 * slots, Ask(rows=ROWS)), pool, Path(place) / "warm")
        start, busy = time.perf_counter(), time.process_time()
        some = tasks(setup.sleeping, Ask(setup.seconds, ROWS))
        driven(some, pool, Path(place) / "sweep", lambda _: ended.append(time.perf_counter() - start))
        wall, cpu = time.perf_counter() - start, time.process_time() - busy
    return slept(ended, wall, slots, setup.seconds) | {
        "cpu_ms_a_job": round(1e3 * cpu / setup.sleeping, 2),
        "cpu_share": round(cpu / wall, 4),
    }


def slept(ended: Sequence[float], wall: float, slots: int, seconds: float) -> dict[str, Any]:
    """What a run took beyond its jobs, each of so many seconds: in all, once, and between a slot's jobs.

    `ended` are the seconds from the start at which answers were in the store. Once are the times before the
    first job and after the last.
    """
    rounds = -(-len(ended) // slots)
    between = (ended[-1] - ended[0]) / (rounds - 1) - seconds
    return {
        "slots": slots,
        "jobs": len(ended),
        "wall_s": round(wall, 3),
        "over_ideal": round((wall - rounds * seconds) / wall, 4),
        "once_s": round(ended[0] - seconds + wall - ended[-1], 3),
        "between_jobs_ms": round(1e3 * between, 2),
    }


def through_ray(slots: int, count: int, turns: int) -> dict[str, Any]:
    """Jobs that do nothing through the pool: jobs a second, CPU time of this process; medians of turns."""
    with RayPool(EXECUTE, _no_blobs, slots=slots) as pool:
        _through(pool, 20 * slots)
        walls, cpus = zip(*(_through(pool, count) for _ in range(turns)), strict=True)
    rates = sorted(count / wall for wall in walls)
    return {
        "slots": slots,
        "jobs": count,
        "turns": turns,
        "jobs_a_second": round(statistics.median(rates)),
        "least": round(rates[0]),
        "most": round(rates[-1]),
        "cpu_ms_a_job": round(1e3 * statistics.median(cpus) / count, 3),
    }


def _through(pool: RayPool, count: int) -> tuple[float, float]:
    """Seconds of the clock and of this process's CPU."""
    some = tasks(count, Ask())
    start, busy = time.perf_counter(), time.process_time()
    left, in_flight = iter(some), 0
    in_flight = _fill(pool, left, in_flight)
    while in_flight:
        in_flight -= len(pool.wait(1.0))
        in_flight = _fill(pool, left, in_flight)
    return time.perf_counter() - start, time.process_time() - busy


def _fill(pool: RayPool, left: Iterator[Task], in_flight: int) -> int:
    while in_flight < JOBS_IN_FLIGHT_PER_SLOT * pool.slots and (task := next(left, None)) is not None:
        pool.submit(task.job, 1)
        in_flight += 1
    return in_flight


def _no_blobs(name: str) -> bytes:
    raise FileNotFoundError(name)


def committing(ask: Ask) -> dict[str, Any]:
    """Driver and store with answers that are there at once: rows and bytes a second, and CPU time a job."""
    count = 400 if ask.rows <= ROWS and ask.blob_bytes < 2**20 else 60
    pool = InstantPool(2)
    with tempfile.TemporaryDirectory() as place:
        driven(tasks(3, ask), pool, Path(place) / "warm")
        pool.busy, start, busy = 0.0, time.perf_counter(), time.process_time()
        driven(tasks(count, ask), pool, Path(place) / "sweep")
        wall, cpu = time.perf_counter() - start, time.process_time() - busy
    wall, cpu = wall - pool.busy, cpu - pool.busy
    return {
        "rows_a_job": ask.rows,
        "blob_bytes_a_job": ask.blob_bytes,
        "jobs": count,
        "rows_a_second": round(ask.rows * count / wall),
        "mb_a_second": round(answer_bytes(ask) * count / wall / 1e6, 2),
        "jobs_a_second": round(count / wall),
        "cpu_ms_a_job": round(1e3 * cpu / count, 2),
    }


def _full(committed: dict[str, Any], by_ray: float) -> dict[str, Any]:
    """At how many slots the driver is full, with answers such as were committed."""
    each = (committed["cpu_ms_a_job"] + by_ray) / 1e3
    told = {name: committed[name] for name in ("rows_a_job", "blob_bytes_a_job")}
    slots = {f"slots_of_{seconds}_s_jobs": round(seconds / each) for seconds in (2, 20)}
    return told | {"driver_ms_a_job": round(1e3 * each, 2), **slots}


def flat(count: int) -> list[dict[str, Any]]:
    """Many small jobs, in parts one after the other: CPU time a job, memory of the process, files there."""
    rows, pool, done = [], InstantPool(2), 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "sweep"
        mark, answered = time.process_time(), 0.0

        def follow(tables: Any) -> None:  # noqa: ARG001
            nonlocal done, mark, answered
            done += 1
            if done % (count // PARTS):
                return
            now = time.process_time()
            spent = now - mark - (pool.busy - answered)
            rows.append(
                _told(
                    {
                        "jobs_done": done,
                        "cpu_ms_a_job": round(1e3 * spent / (count // PARTS), 3),
                        "resident_mb": round(resident_mb(os.getpid()), 1),
                        "parts": len(list((folder / "tables" / "grafts").iterdir())),
                    }
                )
            )
            mark, answered = time.process_time(), pool.busy

        driven(tasks(count, Ask(rows=1)), pool, folder, follow)
    return rows


def resident_mb(process: int) -> float:
    """Megabytes that a process holds in memory and shares with nobody's file."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024
