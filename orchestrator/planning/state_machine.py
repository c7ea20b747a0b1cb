"""The driver's decisions as a state machine: events in, decisions out; no clock, no pool, no store.

What is done is told by the blobs that exist and the tasks that are left; nothing is mirrored elsewhere.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from espalier.orchestrator.planning.failures import Failures
from espalier.orchestrator.planning.kinds.registry import kind_of
from espalier.orchestrator.planning.task import Task

JOBS_IN_FLIGHT_PER_SLOT = 3
"""Enough that no slot waits for the driver, few enough that Ctrl-C loses little."""

Reduce = Callable[[Task, set[str]], Task | None]
"""A task without what needs some lost blobs, or None if nothing of it is left."""


Halve = Callable[[Task], tuple[Task, ...]]
"""A task as others that need less memory each, or () if there is no such way."""


def whole(task: Task) -> tuple[Task, ...]:  # noqa: ARG001
    """Halves nothing."""
    return ()


@dataclass(frozen=True)
class Submission:
    """Give `task` to the pool as its `attempt`-th try, of which `late` have run into the time limit."""

    task: Task
    attempt: int
    late: int = 0


@dataclass(frozen=True)
class Skipped:
    """A task of which `units` (snapshots or pairs) can now never be had."""

    task: Task
    units: int


@dataclass(frozen=True)
class Verdict:
    """What follows from a failure: another try (of two `halves` if there are any), or what can never run."""

    task: Task
    again: bool
    skipped: tuple[Skipped, ...] = ()
    halves: tuple[Task, ...] = ()


class Machine:
    """Submits what is ready, with bounded work in flight, and tries failures again up to a bound.

    Args:
        tasks: What is to be done.
        available: Names of the blobs that exist.
        room: Jobs in flight at most; may be set anew at any time.
        attempts: Errors of one job with which it is given up; of other causes see `Failures`.
        reduce: Cuts a task down to what can still be had, when a blob never will be.
        halve: Parts a task that needs too much memory.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        available: Iterable[str],
        room: int,
        attempts: int,
        reduce: Reduce,
        halve: Halve = whole,
    ) -> None:
        self.room, self._attempts, self._reduce, self._halve = room, attempts, reduce, halve
        self._available = set(available)
        self._waiting: dict[str, Task] = {}
        self._seen: dict[str, int] = {}  # so many of a waiting task's first inputs are known to exist
        self._wanted_by: dict[str, set[str]] = defaultdict(set)
        self._ready: list[tuple[tuple[bool, float], int, Task]] = []
        self._queued = 0
        self._attempt: dict[str, int] = {}
        self._failures: dict[str, Failures] = {}
        self.in_flight: dict[str, Task] = {}
        for task in tasks:
            self._admit(task)

    def _admit(self, task: Task) -> None:
        missing = [name for name in task.job.inputs if name not in self._available]
        if not missing:
            self._queue(task)
            return
        self._waiting[task.job.key] = task
        self._seen[task.job.key] = 0
        for name in missing:
            self._wanted_by[name].add(task.job.key)

    def _queue(self, task: Task) -> None:
        """What others wait for first, then the costlier, so that no long job is left over."""
        self._queued += 1
        priority = (not kind_of(task.job.kind).others_wait, -task.cost.flops)
        heapq.heappush(self._ready, (priority, self._queued, task))

    @property
    def finished(self) -> bool:
        """Nothing runs and nothing can: what still waits would wait for ever."""
        return not self.in_flight and not self._ready

    @property
    def waiting(self) -> list[Task]:
        """Tasks whose inputs do not exist yet."""
        return list(self._waiting.values())

    @property
    def held_up(self) -> bool:
        """Whether any task waits for what others are to produce."""
        return bool(self._waiting)

    def submit(self) -> list[Submission]:
        """What to give to the pool now."""
        submissions: list[Submission] = []
        while self._ready and len(self.in_flight) < self.room:
            task = heapq.heappop(self._ready)[2]
            key = task.job.key
            self._attempt[key] = self._attempt.get(key, 0) + 1
            self.in_flight[key] = task
            late = self._failures[key].count("late") if key in self._failures else 0
            submissions.append(Submission(task, self._attempt[key], late))
        return submissions

    def current(self, key: str, attempt: int) -> Task | None:
        """The task of an event, or None if the event is of a try that was given up already."""
        return self.in_flight.get(key) if self._attempt.get(key) == attempt else None

    def done(self, key: str, lost: Iterable[str] = ()) -> tuple[Skipped, ...]:
        """A job's results are published: release what waited for them.

        `lost` are the blobs that it can never give; what can never run without them is returned.
        """
        task, lost = self.in_flight.pop(key), set(lost)
        self._failures.pop(key, None)
        for name in (name for name in task.produces if name not in lost):
            self._available.add(name)
            for waiter in self._wanted_by.pop(name, set()):
                self._release(waiter)
        return tuple(self._lose(lost))

    def _release(self, key: str) -> None:
        task = self._waiting.get(key)
        if task is None:
            return
        inputs, seen = task.job.inputs, self._seen[key]
        while seen < len(inputs) and inputs[seen] in self._available:
            seen += 1
        self._seen[key] = seen
        if seen == len(inputs):
            self._queue(self._waiting.pop(key))

    def failed(self, key: str, cause: str) -> Verdict:
        """A try failed, by a cause of `Failures`: queue another, or give up and find what can never run now.

        Of a task that seems to be too large for a slot's memory the halves are tried.
        """
        task = self.in_flight.pop(key)
        failures = self._failures.setdefault(key, Failures(self._attempts))
        another = failures.another(cause)
        if failures.too_large and cause != "hopeless" and (halves := self._halve(task)):
            for half in halves:
                self._queue(half)
            return Verdict(task, again=True, halves=halves)
        if another:
            self._queue(task)
            return Verdict(task, again=True)
        return Verdict(task, again=False, skipped=tuple(self._lose(set(task.produces))))

    def _lose(self, lost: set[str]) -> list[Skipped]:
        """Take back every waiting task that needs a lost blob, and what needs theirs in turn."""
        skipped: list[Skipped] = []
        open_names = list(lost)
        while open_names:
            for key in self._wanted_by.pop(open_names.pop(), set()):
                task = self._waiting.pop(key, None)
                if task is None:
                    continue
                rest = self._reduce(task, lost)
                skipped.append(Skipped(task, task.size - (rest.size if rest else 0)))
                if rest is not None:
                    self._admit(rest)
                fresh = set(task.produces) - set(rest.produces if rest is not None else ()) - lost
                lost |= fresh
                open_names += fresh
        return skipped
