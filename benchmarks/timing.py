"""Seconds and rates, so that other programs on the machine disturb them least.

On a CPU seconds are those that the one thread was at work, not those on the wall; on a GPU they are those on
the wall, until it has finished.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from espalier.tasks.seeds import stream

GEMM_SIZE = 1536


def clock(device: str) -> Callable[[], float]:
    """The clock of a device."""
    return time.thread_time if device == "cpu" else _gpu_time


def _gpu_time() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def seconds_of(work: Callable[[], object], device: str) -> float:
    """Time of one run."""
    now = clock(device)
    start = now()
    work()
    return now() - start


def median_seconds(work: Callable[[], object], repeats: int, device: str) -> float:
    """Median time of some runs; none warms up."""
    return statistics.median(seconds_of(work, device) for _ in range(repeats))


def shares_of_gemm(
    works: dict[str, tuple[float, Callable[[], object]]], repeats: int, device: str
) -> dict[str, float]:
    """The rate of each work (operations, run) as a share of the rate of float32 matrix products.

    The products are timed in turns with the works, and each ratio is of neighbours; the median counts.
    """
    square = torch.randn(GEMM_SIZE, GEMM_SIZE, generator=stream("gemm")).to(device)
    found: dict[str, list[float]] = {name: [] for name in works}
    for work in (lambda: square @ square, *(run for _, run in works.values())):
        work()
    for _ in range(repeats):
        for name, (operations, run) in works.items():
            gemm = gemm_rate(square, device)
            found[name].append(operations / seconds_of(run, device) / gemm)
    return {name: statistics.median(shares) for name, shares in found.items()}


def gemm_rate(square: Tensor, device: str) -> float:
    """Operations per second of one product of a square matrix with itself."""
    return 2.0 * len(square) ** 3 / seconds_of(lambda: square @ square, device)


def gemm_rates(repeats: int, device: str) -> list[float]:
    """Operations per second of some products, after one that warms up."""
    square = torch.randn(GEMM_SIZE, GEMM_SIZE, generator=stream("gemm")).to(device)
    return [gemm_rate(square, device) for _ in range(1 + repeats)][1:]


class Progress:
    """Lines on stderr: what runs, and how long the rest will take, by weights in any one unit."""

    def __init__(self, total: float) -> None:
        self._total, self._done, self._start = total, 0.0, time.perf_counter()

    @contextmanager
    def step(self, label: str, weight: float) -> Iterator[None]:
        """Say what begins; its weight is done at the end of the block."""
        elapsed = time.perf_counter() - self._start
        left = elapsed * (self._total - self._done) / self._done if self._done else None
        told = "" if left is None else f", about {left / 60:.0f} min left"
        print(f"[{elapsed / 60:5.1f} min] {label}{told}", file=sys.stderr, flush=True)
        yield
        self._done += weight
