"""Which queued job a slot takes next: one that fits and has not hung there, near to what it had before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from espalier.cluster.on_ray.actors import Slot
from espalier.cluster.pool import Job

NEARBY = 16
"""How many of the oldest jobs that may run on a slot are compared."""


def most_memory(slots: Iterable[Slot]) -> int:
    """Bytes of the slot that has most."""
    return max((slot.memory for slot in slots), default=0)


def fits(job: Job, slot: Slot, most: int) -> bool:
    """Whether a slot has the memory that a job needs, or as much as the slot that has most."""
    return job.memory <= slot.memory or slot.memory >= most


def choose(queue: Iterable[Job], slot: Slot, slots: Sequence[Slot], hung_on: Mapping[str, str]) -> int | None:
    """The place in the queue of the job that shares most inputs with the slot's last one; None for no job.

    Args:
        queue: Jobs, oldest first.
        slot: Whose worker is to have one.
        slots: All slots of the pool.
        hung_on: By the keys of jobs that hung, the node where. They go elsewhere if a worker lives elsewhere.
    """
    most = most_memory(slots)
    elsewhere = bool(hung_on) and any(not other.hello and other.node != slot.node for other in slots)
    allowed = (
        (index, job)
        for index, job in enumerate(queue)
        if fits(job, slot, most) and not (elsewhere and hung_on.get(job.key) == slot.node)
    )
    shared = {index: len(slot.seen.intersection(job.inputs)) for index, job in islice(allowed, NEARBY)}
    return max(shared, key=shared.__getitem__, default=None)
