"""Jobs on their way: queued, handed to the crew's workers with their inputs, and taken back as events."""

from __future__ import annotations

import contextlib
import math
import pickle
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import ray
from ray.cloudpickle.cloudpickle import dumps
from ray.exceptions import (
    GetTimeoutError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    RaySystemError,
    RayTaskError,
    TaskCancelledError,
)

from espalier.cluster.on_ray.actors import Call, Slot
from espalier.cluster.on_ray.blob_cache import BlobCache
from espalier.cluster.on_ray.choosing import choose, fits, most_memory
from espalier.cluster.on_ray.crew import Crew
from espalier.cluster.on_ray.worker_side import as_array
from espalier.cluster.pool import Done, Failed, Fetch, Job, failure

CALLS = 2
"""Calls in flight per actor: one runs, one waits with its inputs already brought to the node."""

MOVE_SECONDS = 0.2
"""A call that waits is not taken back sooner. Ray may not have sent it yet: the actor then misses it in its
line, and holds whatever comes behind it for 30 seconds (`actor_scheduling_queue` in Ray; met in one of three
runs of 3,000 jobs that do nothing)."""

PAUSE_SECONDS = 0.2

GET_SECONDS = 5.0
"""How long a result may be on its way before it is asked whether Ray is still there."""


class Dispatch:
    """What is queued and in flight.

    Args:
        crew: The workers.
        blobs: References of blobs in the object store.
        fetch: Reads a blob that is not there.
        missing: Says what of Ray itself is missing: then a failed call says nothing about its job.
    """

    def __init__(self, crew: Crew, blobs: BlobCache, fetch: Fetch, missing: Callable[[], str]) -> None:
        self.queue: deque[tuple[Job, int]] = deque()
        self.events: list[Done | Failed] = []
        self.crew, self.blobs, self.fetch = crew, blobs, fetch
        self._missing = missing
        self._hung_on: dict[str, str] = {}
        self._given_up: list[Call] = []

    def begin_again(self, crew: Crew, blobs: BlobCache) -> None:
        """Go on with another crew, where everything that the old one had in hand is queued again."""
        for slot in self.crew.slots:
            self._take_back(slot)
        self.crew.slots, self._given_up = [], []
        self.crew, self.blobs = crew, blobs

    def submit(self, job: Job, attempt: int) -> None:
        """Queue a job."""
        self.queue.append((job, attempt))

    def running(self) -> dict[str, float]:
        """For how many seconds each job at work has been so, by key."""
        now = time.monotonic()
        return {slot.calls[0].job.key: now - slot.since for slot in self.crew.slots if slot.calls}

    # Handing out

    def fill(self) -> None:
        """Give each live actor one call, then a second; move calls that wait to idle actors.

        A node that is being taken away gets none, ends what it is at, and its workers are let go.
        """
        live = [slot for slot in self.crew.slots if not slot.hello]
        leaving = [slot for slot in live if self.crew.leaving(slot)]
        for call in _waiting(leaving):
            self._move(call)
        for slot in [slot for slot in leaving if not slot.calls]:
            self.crew.release(slot)
        staying = [slot for slot in live if slot not in leaving]
        for held in range(CALLS):
            for slot in staying:
                if self.queue and len(slot.calls) == held:
                    self._start(slot)
        idle, most = [slot for slot in staying if not slot.calls], most_memory(self.crew.slots)
        known = time.monotonic() - MOVE_SECONDS
        waiting = [call for call in _waiting(staying) if call.born <= known] if idle else []
        for slot in idle:
            call = next((call for call in waiting if fits(call.job, slot, most)), None)
            if call is not None:
                waiting.remove(call)
                self._move(call)
                self._start(slot)

    def patience(self) -> float:
        """Seconds after which `fill` may find something to do although nothing has ended."""
        idle = any(not slot.hello and not slot.calls for slot in self.crew.slots)
        return MOVE_SECONDS if idle and _waiting(self.crew.slots) else math.inf

    def _move(self, call: Call) -> None:
        """Take back a call that waits behind a running one.

        Ray drops a cancelled call only when its turn comes, so it stays in its actor's line and its
        result is ignored. If it began at this very moment, the job runs twice and counts once.
        """
        ray.cancel(call.event)
        call.moved = True
        self.queue.append((call.job, call.attempt))

    def _start(self, slot: Slot) -> None:
        picked = self._pick(slot)
        if picked is None:
            return
        job, attempt = picked
        try:
            given = slot.given(job)
            references = [self._reference(name) for name in given.sent]
            order = dumps((given, attempt))
            event, *blobs = slot.run(1 + given.gives, order, *references)
        except Exception as error:
            # A blob that cannot be read fails its job, not the sweep.
            if self._missing():
                self.queue.appendleft((job, attempt))
                raise
            if isinstance(error, RayError):  # Ray's fault, not the job's
                text, reason = _first_line(error), self._reason(slot, error)
                self.events.append(Failed(job.key, attempt, reason, text, 0.0, **slot.place, shared=False))
            else:
                self.events.append(failure(job, attempt, error, 0.0))
            return
        slot.seen = frozenset(job.inputs)
        slot.since = slot.since if slot.calls else time.monotonic()
        slot.calls.append(Call(job, attempt, event, blobs))

    def _pick(self, slot: Slot) -> tuple[Job, int] | None:
        """Take the job that a slot is to have out of the queue."""
        index = choose((job for job, _ in self.queue), slot, self.crew.slots, self._hung_on)
        if index is None:
            return None
        chosen = self.queue[index]
        del self.queue[index]
        return chosen

    def _reference(self, name: str) -> Any:
        reference = self.blobs.get(name)
        if reference is None:
            blob = self.fetch(name)
            reference = ray.put(as_array(blob))
            self.blobs.put(name, reference, len(blob))
        return reference

    # Taking back

    def ready(self, timeout: float) -> list[Slot]:
        """All slots with an event; with a `timeout` in seconds the first that has one within it, or none."""
        awaited = {slot.awaited: slot for slot in self.crew.slots if slot.awaited is not None}
        if not awaited:
            time.sleep(min(timeout, PAUSE_SECONDS))  # no worker has anything to do, or there is none
            return []
        ready, _ = ray.wait(list(awaited), num_returns=1 if timeout else len(awaited), timeout=timeout)
        return [awaited[reference] for reference in ready]

    def collect(self, ready: list[Slot]) -> None:
        """Take the news of those that are ready, and all that comes meanwhile; who has time is given more."""
        until = time.monotonic() + PAUSE_SECONDS  # then what was taken is handed on, to be committed
        while ready:
            for slot in ready:
                if slot.hello:
                    self.crew.greet(slot)
                else:
                    self._take(slot)
            self.fill()
            ready = self.ready(0.0) if time.monotonic() < until else []

    def end_late(self) -> None:
        """End the workers whose job has reached its limit.

        A worker that cannot be ended, say since its node is cut off, may answer after all: that is the event
        of an attempt that was given up, which the driver refuses.
        """
        now = time.monotonic()
        for slot in [slot for slot in self.crew.slots if slot.overdue(now)]:
            call = slot.calls.popleft()
            if not call.moved:
                self._given_up.append(call)
                self._hung_on[call.job.key] = slot.node
                self.blobs.drop(call.job.inputs)
                text = f"no result within {call.job.limit:.0f} s, the job's limit; its worker was ended"
                seconds = now - slot.since
                late = Failed(call.job.key, call.attempt, "late", text, seconds, **slot.place, shared=False)
                self.events.append(late)
            self._replace(slot)

    def hear_late(self) -> None:
        """Take the answers of attempts that were given up, without their blobs."""
        by_end = {call.event: call for call in self._given_up}
        ended = ray.wait(list(by_end), num_returns=len(by_end), timeout=0)[0] if by_end else []
        for call in [by_end[done] for done in ended]:
            self._given_up.remove(call)
            with contextlib.suppress(RayError):  # its worker was ended
                self.events.append(self._opened(call.event)[0])

    def _take(self, slot: Slot) -> None:
        call = slot.calls[0]
        try:
            event = self._result(call)
        except RayError as error:
            if self._missing():
                raise  # the call is still the slot's: it is made again when Ray is there again
            slot.calls.popleft()
            event = self._broken(slot, call, error)
        else:
            slot.calls.popleft()
        slot.since = time.monotonic()
        self.crew.alive()
        if not call.moved:
            self._hung_on.pop(call.job.key, None)
            self.events.append(event)

    def _result(self, call: Call) -> Done | Failed:
        """The worker's event with its blobs, whose references are kept for later jobs."""
        event, names = self._opened(call.event)
        if not names:
            return event
        references = call.blobs[: len(names)]
        blobs = {name: array.tobytes() for name, array in zip(names, self._got(references), strict=True)}
        for name, reference in zip(names, references, strict=True):
            self.blobs.put(name, reference, len(blobs[name]))
        return replace(event, output=replace(event.output, blobs={**blobs, **event.output.blobs}))

    def _opened(self, reference: Any) -> Any:
        """What a worker packed; what cannot be unpickled here, by another version say, is an error of Ray."""
        packed = self._got(reference)
        try:
            return pickle.loads(packed)
        except Exception as error:
            raise RaySystemError(f"its answer cannot be read: {error}") from error

    def _got(self, references: Any) -> Any:
        """`ray.get`, which waits for ever once Ray itself is gone."""
        while True:
            try:
                return ray.get(references, timeout=GET_SECONDS)
            except GetTimeoutError:
                if what := self._missing():
                    raise RaySystemError(f"{what} is gone") from None

    def _broken(self, slot: Slot, call: Call, error: RayError) -> Failed:
        """The event for a call that gave no answer: what `execute` raises comes as an answer."""
        ended = {
            "key": call.job.key,
            "attempt": call.attempt,
            "seconds": time.monotonic() - slot.since,
            **slot.place,
        }
        text = _first_line(error)
        if isinstance(error, RayTaskError) and not isinstance(error.cause, RayError):
            return Failed(reason="error", error=text, **ended)  # such as a job that cannot be unpickled
        # The next attempt reads from the durable store, for the lost thing may be an input.
        if not call.moved:
            self.blobs.drop(call.job.inputs)
        if not isinstance(error, RayTaskError | ObjectLostError | TaskCancelledError):
            self._replace(slot)
        return Failed(reason=self._reason(slot, error), error=text, **ended)

    def _reason(self, slot: Slot, error: RayError) -> Literal["memory", "preempted", "lost"]:
        """Why a call gave no answer: what was taken away from a job is not to be charged to it."""
        if isinstance(error, OutOfMemoryError):
            return "memory"
        taken = self.crew.leaving(slot) or getattr(error, "preempted", False)
        return "preempted" if taken else "lost"

    def _replace(self, slot: Slot) -> None:
        """Put a new actor in a slot. Jobs that the old actor had not begun go back to the queue."""
        self._take_back(slot)
        self.crew.replace(slot)

    def _take_back(self, slot: Slot) -> None:
        self.queue.extendleft((call.job, call.attempt) for call in slot.calls if not call.moved)


def _first_line(error: RayError) -> str:
    """What happened; ids and advice follow over a kilobyte, and before it in a task's error where it ran."""
    said: Exception = error.cause if isinstance(error, RayTaskError) else error
    return f"{type(error).__name__}: {str(said).strip().partition(chr(10))[0]}"


def _waiting(slots: list[Slot]) -> list[Call]:
    """The calls that wait behind those at work."""
    return [call for slot in slots for call in list(slot.calls)[1:] if not call.moved]
