"""What a run is at: written beside its results every few seconds, for `espalier status` elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, TypeAdapter

from espalier.orchestrator.planning.task import Task
from espalier.orchestrator.store.files import Misplaced, StoreWriteError
from espalier.orchestrator.store.json_shape import shaped
from espalier.orchestrator.store.sweep_store import Store

HEARTBEAT = "running.json"
SECONDS, REMOTE_SECONDS = 5.0, 30.0
"""Between two heartbeats: to a disk, and to a URL, where each is a request that costs money."""


class AtWork(BaseModel):
    """A job that a worker has at this moment, for so many seconds."""

    model_config = ConfigDict(strict=True, extra="forbid")

    key: str
    label: str
    seconds: float


class Heartbeat(BaseModel):
    """`running.json`: what a run is at.

    Attributes:
        at: When this was written.
        since: When the run began to hand out jobs.
        slots: Jobs that run at once.
        queued: Jobs handed out that no worker has begun.
        running: What the workers are at.
        quiet: Seconds since a job ended, or since the run began.
    """

    model_config = ConfigDict(extra="forbid")

    at: AwareDatetime
    since: AwareDatetime
    slots: int
    queued: int
    running: list[AtWork]
    quiet: float


class Heart:
    """Writes the heartbeat of one run; `clock` (monotonic seconds) decides when, `now` labels."""

    def __init__(
        self, store: Store, now: Callable[[], datetime], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._now, self._clock = store, now, clock
        self._since, self._last, self._moved = now(), float("-inf"), clock()
        self._every = REMOTE_SECONDS if "://" in store.root else SECONDS

    def moved(self) -> None:
        """A job has ended."""
        self._moved = self._clock()

    def beat(self, slots: int, running: Mapping[str, float], in_flight: Mapping[str, Task]) -> None:
        """Write if the last time is long ago. A full disk is for those to tell who write results."""
        now = self._clock()
        if now - self._last < self._every:
            return
        self._last = now
        at_work = [
            AtWork(key=key, label=in_flight[key].label, seconds=round(seconds, 1))
            for key, seconds in running.items()
            if key in in_flight
        ]
        state = Heartbeat(
            at=self._now(),
            since=self._since,
            slots=slots,
            queued=len(in_flight) - len(at_work),
            running=at_work,
            quiet=round(now - self._moved, 1),
        )
        with suppress(StoreWriteError, Misplaced):
            self._store.write_json(HEARTBEAT, state.model_dump(mode="json"))

    def __enter__(self) -> Self:
        """The run hands out jobs from now on."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is at work any more."""
        with suppress(OSError):
            self._store.files.remove(HEARTBEAT)


def heartbeat(store: Store) -> Heartbeat | None:
    """What the run said last, or None; a run that was killed has left its last words.

    Raises:
        ValueError: The file is no heartbeat; says what was found.
    """
    found = store.read_json(HEARTBEAT)
    return None if found is None else shaped(found, _SCHEMA, f"{store.root}/{HEARTBEAT}", "delete it")


def age(beat: Heartbeat, now: datetime | None = None) -> float:
    """Seconds since a heartbeat by the wall clock, never below 0."""
    return max(0.0, ((now or datetime.now(UTC)) - beat.at).total_seconds())


_SCHEMA = TypeAdapter(Heartbeat)
