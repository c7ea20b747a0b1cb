"""A pool whose workers read and write blobs in the sweep's store by themselves, past the driver."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from espalier.cluster.pool import Around, Done, Failed, Job, Pool, Shelf, Spread
from espalier.orchestrator.planning.kinds.registry import kind_of
from espalier.orchestrator.store.files import SHELF
from espalier.orchestrator.store.sweep_store import Store

FAILURES = 3
"""Jobs in a row whose workers could not use the store, with which no other is asked to."""


def straight(pool: Pool, store: Store, blobs: str, tell: Callable[[str], None]) -> Pool:
    """The pool as it is, or with workers that use the store by themselves where they can reach it.

    Those can that see the store, where the pool's workers are on several machines (`cluster.pool.Spread`).

    Args:
        blobs: `run.blobs`.
        tell: Takes lines for the user.
    """
    if blobs == "driver" or not isinstance(pool, Spread) or not pool.spread:
        return pool
    mark = uuid.uuid4().hex
    store.files.replace(SHELF, mark.encode())
    place = store.root if "://" in store.root else str(Path(store.root).resolve())
    if pool.shares(place, SHELF, mark):
        return StraightPool(pool, store, place, mark, tell)
    store.files.remove(SHELF)
    return pool


class StraightPool(Around):
    """Hands on jobs with the shelf that their workers use.

    A job whose worker could not use the store gets its blobs from the driver from then on, and so does one
    that was answered and is submitted again: the driver did not find there what the worker wrote.
    """

    def __init__(self, pool: Pool, store: Store, place: str, mark: str, tell: Callable[[str], None]) -> None:
        super().__init__(pool)
        self._store, self._place, self._mark, self._tell = store, place, mark, tell
        self._using, self._failed = set[tuple[str, int]](), 0
        self._answered, self._by_driver = set[str](), set[str]()

    def submit(self, job: Job, attempt: int) -> None:
        """Take a job."""
        shelf = self._shelf(job)
        if shelf is not None:
            self._using.add((job.key, attempt))
        self._pool.submit(replace(job, shelf=shelf), attempt)

    def _shelf(self, job: Job) -> Shelf | None:
        if self._failed >= FAILURES or job.key in self._by_driver | self._answered:
            return None
        receipts = {name: self._store.receipt(name) for name in job.inputs}
        there = {name: receipt for name, receipt in receipts.items() if receipt is not None}
        takes = kind_of(job.kind).names_its_blobs
        return Shelf(self._place, self._mark, there, takes) if there or takes else None

    def wait(self, timeout: float) -> list[Done | Failed]:
        """The pool's events."""
        events = self._pool.wait(timeout)
        for event in events:
            if isinstance(event, Failed) and event.reason == "store":
                self._by_driver.add(event.key)
                self._count(event)
            elif isinstance(event, Done) and (event.key, event.attempt) in self._using:
                self._answered.add(event.key)
                # A worker that does not see the store gets jobs without it: receipts alone show its use.
                if event.output.receipts and self._failed < FAILURES:
                    self._failed = 0
            self._using.discard((event.key, event.attempt))
        return events

    def _count(self, event: Failed) -> None:
        self._failed += 1
        if self._failed == FAILURES:
            self._tell(
                "blobs go through the driver from here on, since workers cannot use the store "
                f"({event.node}: {event.error})"
            )
