"""How long a plan would take on a given number of slots: list scheduling of its jobs in model time."""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from espalier.orchestrator.planning.kinds.registry import KINDS
from espalier.orchestrator.planning.plan import Plan
from espalier.orchestrator.planning.state_machine import Machine

JOB_SECONDS = 0.05
"""What a job costs besides its operations: the way through the pool, and publishing its rows."""


@dataclass(frozen=True)
class Rates:
    """Operations per second of one slot by kind of job, and where the figures are from."""

    flops: dict[str, float]
    origin: str


def gemm_rate(size: int = 768, repeats: int = 5) -> float:
    """Operations per second of a float32 matrix product on one core, the best of a few."""
    a = np.ones((size, size), np.float32)
    best = float("inf")
    with threadpool_limits(1):
        for _ in range(repeats):
            start = time.perf_counter()
            _ = a @ a
            best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best


def rates(jobs: pa.Table, gemm: float) -> Rates:
    """Rates from the sweep's own finished jobs where there are some, else a share of `gemm`."""
    flops, measured = {}, []
    for kind, share in ((kind.name, kind.gemm_share) for kind in KINDS):
        if share is None:
            continue
        rows = jobs.filter((pc.field("kind") == kind) & (pc.field("outcome") == "done"))
        seconds = float(np.sum(rows["seconds"].to_numpy()))
        if seconds > 0:
            measured.append(kind)
            flops[kind] = float(np.sum(rows["flops"].to_numpy())) / seconds
        else:
            flops[kind] = share * gemm
    by_hand = f"{gemm / 1e9:.0f} GFLOP/s of float32 GEMM per slot"
    return Rates(flops, f"this sweep's own jobs ({', '.join(measured)})" if measured else by_hand)


def makespan(plan: Plan, available: set[str], slots: int, speed: Rates) -> float:
    """Seconds until the last job ends, each job on the next free slot, training before grafting."""
    machine = Machine(plan.tasks, available, room=slots, attempts=1, reduce=lambda task, lost: None)  # noqa: ARG005
    running: list[tuple[float, str]] = []
    now = 0.0
    while True:
        for submission in machine.submit():
            task = submission.task
            seconds = JOB_SECONDS + task.cost.flops / speed.flops[task.job.kind]
            heapq.heappush(running, (now + seconds, task.job.key))
        if not running:
            return now
        now, key = heapq.heappop(running)
        machine.done(key)
