"""The pools that a sweep runs on, and how much memory a slot has."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from espalier.cluster.pool import Around, Done, Failed, InProcessPool, Pool
from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.orchestrator.planning.task import Limits
from espalier.orchestrator.running.execute import execute

SHARE_OF_MEMORY = 0.7
UNKNOWN = 2**62
"""Bytes of a slot that may be as large as it likes."""

Fetch = Callable[[str], bytes]
PoolMaker = Callable[[Fetch, SweepConfig, int], Pool]
"""Makes the pool that jobs run on, given how to read a snapshot's bytes, and the bytes of the largest job."""


def in_process(fetch: Fetch, config: SweepConfig, largest: int = 0) -> Pool:  # noqa: ARG001
    """A pool in this process, for tests and debugging."""
    return InProcessPool(execute, fetch)


def ray_pool(fetch: Fetch, config: SweepConfig, largest: int = 0, address: str | None = None) -> Pool:
    """A pool of Ray actors, one per slot."""
    from espalier.cluster.on_ray.ray_pool import RayPool

    gpus = config.run.gpus_per_slot if config.run.device == "cuda" else 0.0
    return RayPool(
        "espalier.orchestrator.running.execute:execute",
        fetch,
        address=address,
        slots=config.run.slots,
        gpus_per_slot=gpus,
        largest_job=largest,
    )


class SharedFault(RuntimeError):
    """What every job would meet, such as an image that is broken; the message says what to mend."""


class Heard(Around):
    """A pool whose outputs' notes are told, each once, with the node that said it first.

    Where a job meets a fault that all jobs share, and `attempts` tries are over or no use, no job is worth
    another: what other jobs gave is handed on, and then `wait` raises.
    """

    def __init__(self, pool: Pool, tell: Callable[[str], None], attempts: int = 1) -> None:
        super().__init__(pool)
        self._tell, self._told = tell, set[str]()
        self._attempts = attempts
        self._fault: SharedFault | None = None

    def wait(self, timeout: float) -> list[Done | Failed]:
        """The pool's events.

        Raises:
            SharedFault: A job has met one; its event is not among those that came before.
        """
        if self._fault:
            raise self._fault
        events = self._pool.wait(timeout)
        for event in events:
            for note in event.output.notes if isinstance(event, Done) else ():
                if note not in self._told:
                    self._told.add(note)
                    self._tell(f"{event.node}: {note}")
        return [event for event in events if not self._ends(event)]

    def _ends(self, event: Done | Failed) -> bool:
        """Whether an event is a fault that ends the run."""
        if isinstance(event, Done) or not event.shared:
            return False
        if event.reason != "hopeless" and event.attempt < self._attempts:
            return False
        _class, _, said = event.error.partition(": ")
        self._fault = self._fault or SharedFault(f"{said} (found on {event.node}; every job needs it)")
        return True


def limits_before(config: SweepConfig, slots: int, address: str | None) -> Limits:
    """What bounds jobs before the pool is there, which alone knows how large a cluster's slots are."""
    memory = slot_memory(config, slots)
    joins = (address or os.environ.get("RAY_ADDRESS") or "local") != "local"
    return Limits(memory, slots, most=UNKNOWN if joins and config.run.memory_gib is None else 0)


def slot_limits(before: Limits, slots: int, memories: Sequence[int]) -> Limits:
    """What bounds jobs on a pool's slots of such memories, of which 0 tells nothing, once it is there.

    On a cluster jobs are cut so that three slots of four can take any of them; the smaller slots take those
    that fit. What cannot be cut so far goes to a larger slot.

    >>> slot_limits(Limits(2**30, 2, UNKNOWN), 5, [2**30, 2**33, 2**33, 2**33, 2**34])
    Limits(memory=8589934592, slots=5, most=17179869184)
    """
    known = sorted(memory for memory in memories if memory)
    if not before.most or not known:
        return Limits(before.memory, slots)
    return Limits(known[len(known) // 4], slots, most=known[-1])


def slot_memory(config: SweepConfig, slots: int) -> int:
    """Bytes that one slot may use: `run.memory_gib`, or an equal share of 70 % of this machine's memory."""
    if config.run.memory_gib is not None:
        return int(config.run.memory_gib * 2**30)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(SHARE_OF_MEMORY * total / slots)
