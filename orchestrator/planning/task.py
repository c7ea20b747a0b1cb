"""A job as the driver sees it, and how jobs are cut to the memory and the number of slots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from espalier.cluster.pool import Job
from espalier.orchestrator.planning.cost import Cost
from espalier.tasks.grafting.tile_parts import groups
from espalier.tasks.spec import Snapshot, blob_name

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """What bounds a tile.

    Attributes:
        memory: Bytes of a slot's memory, to which jobs are cut.
        slots: How many slots want work.
        most: Bytes of the largest slot, for jobs that cannot be cut so far; 0 where all slots are alike.
    """

    memory: int
    slots: int
    most: int = 0

    @property
    def largest(self) -> int:
        """Bytes that no job may exceed."""
        return max(self.memory, self.most)


@dataclass(frozen=True)
class Task:
    """A job with what the driver needs to know of it.

    Attributes:
        produces: Names of the blobs it gives.
        size: Snapshots (train) or pairs (graft) in it, for progress.
    """

    job: Job
    cost: Cost
    label: str
    produces: tuple[str, ...] = ()
    size: int = 1


class Nets:
    """The snapshots of a job, each once in the order of their first use, and where each one is."""

    def __init__(self, used: Iterable[Snapshot]) -> None:
        by_key = {snap.key: snap for snap in used}
        self.snapshots = tuple(by_key.values())
        self.inputs = tuple(blob_name(key) for key in by_key)
        self._index = {key: number for number, key in enumerate(by_key)}

    def index(self, snap: Snapshot) -> int:
        """The place of a snapshot."""
        return self._index[snap.key]


def largest_blocks(
    items: Sequence[T], task_of: Callable[[Sequence[T]], Task], limits: Limits, work: float
) -> list[Task]:
    """Jobs of equal blocks of items, halved until none exceeds the memory or that many operations."""
    block = len(items)
    while True:
        tasks = [task_of(some) for some in groups(items, block)]
        if block == 1 or all(t.cost.memory <= limits.memory and t.cost.flops <= work for t in tasks):
            return tasks
        block = -(-block // 2)


def halves(count: int) -> list[int]:
    """`count`, its half, and so on to 1."""
    found = [count]
    while found[-1] > 1:
        found.append(-(-found[-1] // 2))
    return found
