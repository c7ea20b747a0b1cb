"""The pools that a sweep runs on, and how much memory a slot has."""

from __future__ import annotations

import os
from collections.abc import Callable

from cluster.pool import InProcessPool, Pool
from orchestrator import jobs
from orchestrator.config import SweepConfig

SHARE_OF_MEMORY = 0.7

Fetch = Callable[[str], bytes]
PoolMaker = Callable[[Fetch, SweepConfig], Pool]
"""Makes the pool that jobs run on, given how to read a snapshot's bytes."""


def in_process(fetch: Fetch, config: SweepConfig) -> Pool:  # noqa: ARG001
    """A pool in this process, for tests and debugging."""
    return InProcessPool(jobs.execute, fetch)


def ray_pool(fetch: Fetch, config: SweepConfig, address: str | None = None) -> Pool:
    """A pool of Ray actors, one per slot."""
    from cluster.ray_pool import RayPool

    gpus = config.run.gpus_per_slot if config.run.device == "cuda" else 0.0
    return RayPool(
        "orchestrator.jobs:execute", fetch, address=address, slots=config.run.slots, gpus_per_slot=gpus
    )


def slot_memory(config: SweepConfig, slots: int) -> int:
    """Bytes that one slot may use: `run.memory_gib`, or an equal share of 70 % of this machine's memory."""
    if config.run.memory_gib is not None:
        return int(config.run.memory_gib * 2**30)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(SHARE_OF_MEMORY * total / slots)
