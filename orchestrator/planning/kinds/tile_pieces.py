"""Into how many pieces tiles are cut so that no slot waits long for the last one."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

WELL_USED = 0.9
"""Share of the slots' time in work that is wanted once: with as much, tiles stay whole."""

MISSING = 0.95
"""Share of the slots that are there in bad times."""

TILES_PER_SLOT = 4
"""So many at least, where there are sources enough: at the end of a sweep slots wait for the last tile."""

SHARES = (1, 2, 3, 4, 6, 8, 12, 16)
"""Pieces a slot that are tried, fewest first."""


def last_end(work: Iterable[float], slots: int) -> float:
    """When the last piece ends if every free slot takes the next one.

    >>> last_end([3.0, 2.0, 2.0, 1.0], 2), last_end([1.0, 2.0, 2.0, 3.0], 2)
    (4.0, 5.0)
    """
    pieces_left = [float(some) for some in work]
    if len(pieces_left) <= slots:
        return max(pieces_left, default=0.0)
    ends = [0.0] * slots
    for some in pieces_left:
        heapq.heapreplace(ends, ends[0] + some)
    return max(ends)


def use(work: float, sizes: Iterable[float], slots: int) -> float:
    """Share of the slots' time in `work`, in pieces of these sizes; also if a twentieth of the slots is gone.

    With as many equal pieces as slots, one slot that is late or lost would double the time.
    """
    pieces_left = [float(some) for some in sizes]
    counts = {slots, math.ceil(MISSING * slots)}
    return min(work / (count * max(last_end(pieces_left, count), 1e-9)) for count in counts)


def well_used(work: Sequence[float], slots: int) -> bool:
    """Whether whole tiles leave work for every slot, until nearly the end.

    The driver hands out the largest of the tiles whose nets are trained. Where slots are many, wide nets are
    trained last, and the largest tiles come last.
    """
    many = len(work) >= TILES_PER_SLOT * slots
    return len(work) >= slots and use(sum(work), sorted(work, reverse=many), slots) >= WELL_USED


def pieces(
    work: Sequence[float], again: Sequence[float], targets: Sequence[int], slots: int
) -> NDArray[np.int64]:
    """Number of pieces of each tile: the fewest with which slots are well used, or as well as can be.

    Args:
        work: Operations of each tile.
        again: Those among them that every piece repeats: the source's Gram matrices and factors.
        targets: Most pieces of each tile.
        slots: How many take pieces at once.
    """
    whole, fixed, most = np.asarray(work, float), np.asarray(again, float), np.asarray(targets, np.int64)
    enough, best, most_used = min(slots, int(most.sum())), most, 0.0
    for counts in _ways(whole, most, slots):
        if int(counts.sum()) < enough:
            continue
        sizes = np.repeat(fixed + (whole - fixed) / counts, counts)
        used = use(float(whole.sum()), np.sort(sizes), slots)
        if used >= WELL_USED:
            return counts
        if used > most_used:
            best, most_used = counts, used
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
