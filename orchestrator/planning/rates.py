"""How fast a slot is, by kind of job: from the log of jobs that have ended, or from a matrix product."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from espalier.orchestrator.planning.kinds.registry import KINDS
from espalier.orchestrator.planning.task import Task

JOB_SECONDS = 0.05
"""What a job costs outside of its worker: the way through the pool, and publishing its rows."""

ON_A_GPU = 0.15
"""Of the share of its matrix products' rate that a core reaches, what a GPU does: small nets leave much of
it idle. A guess on the slow side: nothing was measured on one."""

INTERCEPT_JOBS = 3
"""With fewer, a kind's seconds are taken for proportional to its operations."""

OWN = "this sweep's own jobs"


@dataclass(frozen=True)
class Rates:
    """How fast a slot is, by kind of job.

    Attributes:
        flops: Operations per second.
        origin: Where the rates are from, in words.
        overhead: Seconds a job besides, as ended jobs show them.
        modelled: Of kinds of which no job has ended: how many times the cost model's own seconds count.
    """

    flops: dict[str, float]
    origin: str
    overhead: dict[str, float] = field(default_factory=dict[str, float])
    modelled: dict[str, float] = field(default_factory=dict[str, float])

    def seconds(self, task: Task) -> float:
        """How long a job keeps a slot busy."""
        kind, cost = task.job.kind, task.cost
        besides, flops = self.overhead.get(kind, 0.0), cost.flops
        if kind in self.modelled:
            besides, flops = self.modelled[kind] * cost.seconds, flops * cost.slower
        return JOB_SECONDS + besides + flops / self.flops[kind]


def crowd(slots: float, processors: float) -> float:
    """How many times slower a slot is where slots share cores or GPUs.

    >>> crowd(4, 2), crowd(1, 2)
    (2.0, 1.0)
    """
    return max(1.0, slots / processors)


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


def rates(
    jobs: pa.Table, gemm: float, was: float = 1.0, now: float = 1.0, origin: str = OWN, reached: float = 1.0
) -> Rates:
    """Rates and overheads of the kinds of which jobs have ended; of the others a share of `gemm`.

    Args:
        jobs: Table `jobs`, or some rows of it.
        gemm: Operations per second of a float32 matrix product where nothing else runs.
        was: By how much slots that shared cores were slower when the jobs ran (`crowd`).
        now: The same of the slots that are asked for.
        origin: Whose jobs they are, in words.
        reached: What of the shares of `gemm` that a core reaches is reached here (`ON_A_GPU`).
    """
    flops, overhead, modelled = dict[str, float](), dict[str, float](), dict[str, float]()
    measured = list[str]()
    for kind, share in ((kind.name, kind.gemm_share) for kind in KINDS):
        if share is None:
            continue
        rows = jobs.filter((pc.field("kind") == kind) & (pc.field("outcome") == "done"))
        seconds = rows["seconds"].to_numpy()
        if float(np.sum(seconds)) > 0:
            measured.append(kind)
            rate, besides = fitted(rows["flops"].to_numpy(), seconds)
            flops[kind], overhead[kind] = rate * was / now, besides * now / was
        else:
            flops[kind], modelled[kind] = reached * share * gemm / now, now
    by_hand = f"{gemm / 1e9:.0f} GFLOP/s of float32 GEMM per slot"
    told = f"{origin} ({', '.join(measured)})" if measured else by_hand
    return Rates(flops, told, overhead, modelled)


def fitted(flops: NDArray[np.float64], seconds: NDArray[np.float64]) -> tuple[float, float]:
    """Operations per second, and seconds a job besides, by weighted least squares.

    The variance of a job's seconds is taken for proportional to its operations. Then the seconds of all jobs
    together are met exactly, with the intercept or without it. It is left out where it would be negative,
    where operations alone would take negative time, and of few jobs or jobs of one size.
    """
    x, s, count = np.maximum(flops, 1.0), seconds, len(flops)
    determinant = float(np.sum(1 / x) * np.sum(x)) - count**2
    besides = 0.0
    if count >= INTERCEPT_JOBS and determinant > 1e-6 * count**2:
        besides = float(np.sum(s / x) * np.sum(x) - count * np.sum(s)) / determinant
    left = float(np.sum(s)) - count * besides
    if besides <= 0 or left <= 0:
        besides, left = 0.0, float(np.sum(s))
    return float(np.sum(x)) / left, besides


def on_device(jobs: pa.Table, gpu: bool) -> pa.Table:
    """The jobs that ran on GPUs, or those on CPUs."""
    on_cpu = pc.field("device") == "cpu"
    return jobs.filter(~on_cpu if gpu else on_cpu)
