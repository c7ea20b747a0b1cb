"""Into how many pieces tiles are cut so that no slot waits long for the last one."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

WELL_USED = 0.9
"""Share of the slots' time in work that is wanted once: with as much, tiles stay whole."""

SHARES = (1, 2, 4, 8, 16)
"""Pieces a slot that are tried, fewest first."""


def last_end(work: Sequence[float] | NDArray[np.float64], slots: int) -> float:
    """When the last piece ends if every free slot takes the largest that is left, as the driver does.

    >>> last_end([3.0, 2.0, 2.0, 1.0], 2)
    4.0
    """
    largest_first = sorted((float(some) for some in work), reverse=True)
    if len(largest_first) <= slots:
        return largest_first[0] if largest_first else 0.0
    ends = [0.0] * slots
    for some in largest_first:
        heapq.heappush(ends, heapq.heappop(ends) + some)
    return max(ends)


def well_used(work: Sequence[float], slots: int) -> bool:
    """Whether whole tiles leave work for every slot, until nearly the end."""
    return len(work) >= slots and sum(work) >= WELL_USED * slots * last_end(work, slots)


def pieces(
    work: Sequence[float], again: Sequence[float], targets: Sequence[int], slots: int
) -> NDArray[np.int64]:
    """Number of pieces of each tile: the fewest with which slots are well used, or with the earliest end.

    Args:
        work: Operations of each tile.
        again: Those among them that every piece repeats: the source's Gram matrices and factors.
        targets: Most pieces of each tile.
        slots: How many take pieces at once.
    """
    whole, fixed, most = np.asarray(work, float), np.asarray(again, float), np.asarray(targets, np.int64)
    enough, best, earliest = min(slots, int(most.sum())), most, float("inf")
    for counts in _ways(whole, most, slots):
        if int(counts.sum()) < enough:
            continue
        end = last_end(np.repeat(fixed + (whole - fixed) / counts, counts), slots)
        if float(whole.sum()) >= WELL_USED * slots * end:
            return counts
        if end < earliest:
            best, earliest = counts, end
    return best


def _ways(work: NDArray[np.float64], most: NDArray[np.int64], slots: int) -> Iterator[NDArray[np.int64]]:
    """Numbers of pieces by the work of each tile: of those alone that fill no whole round, and of all."""
    largest_first = np.argsort(-work, kind="stable")
    rounds = len(work) // slots * slots
    for share in SHARES:
        for kept in {rounds: None, 0: None}:
            cut = largest_first[kept:]
            wanted = np.ceil(work[cut] * (share * slots / max(float(work[cut].sum()), 1.0)))
            counts = np.ones(len(work), np.int64)
            counts[cut] = np.clip(wanted, 1, most[cut])
            yield counts
