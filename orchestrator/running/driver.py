"""The one loop: submit what is ready, take what is done, publish it, log every attempt."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from espalier.cluster.pool import Done, Failed, Pool
from espalier.orchestrator.planning.kinds.registry import kind_of
from espalier.orchestrator.planning.state_machine import JOBS_IN_FLIGHT_PER_SLOT, Machine, Skipped
from espalier.orchestrator.planning.task import Task
from espalier.orchestrator.running.attempts import keep_attempt, refuse
from espalier.orchestrator.running.heartbeat import Heart
from espalier.orchestrator.running.progress import Progress, duration
from espalier.orchestrator.running.time_limits import TimeLimits, waited_for
from espalier.orchestrator.store.sweep_store import Store

WAIT_SECONDS = 0.5
"""How long one look at the pool may take; also how soon Ctrl-C and the display are heard."""

MAY_ANSWER = ("late",)
"""Why an attempt was given up of which a pool may yet give an answer."""


@dataclass
class Outcome:
    """What a run of the driver came to: units (snapshots or pairs) done by kind, failures in words."""

    done: dict[str, int] = field(default_factory=dict[str, int])
    failures: list[str] = field(default_factory=list[str])
    skipped: int = 0


class Driver:
    """Runs a machine's decisions against a pool and a store, the only writer of that store.

    `now` gives the wall clock that labels attempts; nothing is decided by it. `origin` (versions, machine,
    commit) goes into the metadata of every part. `follow` is told each job's tables once they are published.
    """

    def __init__(
        self,
        machine: Machine,
        pool: Pool,
        store: Store,
        progress: Progress,
        now: Callable[[], datetime],
        origin: Mapping[str, Any] | None = None,
        follow: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self._machine, self._pool, self._store, self._progress, self._now = (
            machine,
            pool,
            store,
            progress,
            now,
        )
        self._metadata = {"espalier": json.dumps(dict(origin or {}))}
        self._follow = follow or (lambda _: None)
        self._started: dict[str, datetime] = {}
        self._given_up: dict[tuple[str, int], tuple[Task, datetime, str]] = {}
        self._used_up: set[str] = set()
        self._limits, self._heart = TimeLimits(), Heart(store, now)
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Go on until nothing can run any more.

        Raises:
            StoreFull: The disk is full; everything published so far is whole.
        """
        with self._heart:
            while True:
                self._machine.room = JOBS_IN_FLIGHT_PER_SLOT * max(1, self._pool.slots)  # nodes come and go
                for submission in self._machine.submit():
                    self._started[submission.task.job.key] = self._now()
                    job = self._limits.limited(submission.task, submission.late)
                    self._pool.submit(job, submission.attempt)
                if self._machine.finished:
                    return self.outcome
                for event in self._pool.wait(WAIT_SECONDS):
                    self._handle(event)
                running, in_flight = self._pool.running(), self._machine.in_flight
                self._heart.beat(self._pool.slots, running, in_flight)
                self._progress.tick(len(in_flight), waited_for(running, in_flight, duration))

    def _handle(self, event: Done | Failed) -> None:
        self._heart.moved()
        task = self._machine.current(event.key, event.attempt)
        if task is None:
            self._refuse(event)
            return
        if isinstance(event, Failed):
            self._fail(task, event)
            return
        try:
            tables = {
                name: rows.replace_schema_metadata(self._metadata)
                for name, rows in event.output.tables.items()
            }
            kind_of(task.job.kind).refuse_answer(task, tables)
            self._store.commit(task.job.key, tables, event.output.blobs, event.output.receipts)
        except ValueError as error:
            text = f"its results were refused: {error}"
            self._fail(
                task, Failed(event.key, event.attempt, "error", text, event.seconds, event.node, event.device)
            )
            return
        self._follow(tables)
        self._finish(task, event)

    def _refuse(self, event: Done | Failed) -> None:
        """Log the answer of an attempt that was given up: another one has the job, or has done it."""
        known = self._given_up.pop((event.key, event.attempt), None)
        if known is None or isinstance(event, Failed):
            return
        task, start, cause = known
        self._progress.note(refuse(self._store, task, event, start, cause))

    def _finish(self, task: Task, event: Done) -> None:
        kind = kind_of(task.job.kind)
        failed = kind.failed_parts(task, event.output.failures)
        skipped = self._machine.done(event.key, lost=[name for part in failed for name in part.produces])
        self._used_up.update(kind.used_up(task))
        # A state that is there although its rows are not (a crash came between) is made again, perhaps later
        # than it was used.
        for name in self._used_up.intersection((*kind.used_up(task), *task.produces)):
            self._store.remove_blob(name)
        self._log(task, event, "done", "")
        self._started.pop(event.key, None)
        size = task.size - len(failed)
        self.outcome.done[task.job.kind] = self.outcome.done.get(task.job.kind, 0) + size
        self._limits.done(task, event.seconds)
        self._progress.done(replace(task, size=size), event.seconds)
        for part in failed:
            self._lose_part(part, event)
        self._skip(task, skipped)

    def _lose_part(self, part: Task, event: Done) -> None:
        """One unit of a job that is done can never be had."""
        key = part.job.key
        error = event.output.failures[key]
        self._give_up(part, Failed(key, event.attempt, "hopeless", error, 0.0, event.node, event.device))

    def _fail(self, task: Task, event: Failed) -> None:
        if event.reason in MAY_ANSWER:
            start = self._started.get(event.key, self._now())
            self._given_up[event.key, event.attempt] = task, start, event.reason
        verdict = self._machine.failed(event.key, event.reason)
        if verdict.again:
            halves = " and ".join(half.label for half in verdict.halves)
            error = f"{event.error}; halved: {halves}" if halves else event.error
            self._log(task, event, "failed", error)
            self._progress.note(f"{task.label} failed ({error}); trying again")
            return
        self._give_up(task, event)
        self._skip(task, verdict.skipped)

    def _give_up(self, task: Task, event: Failed) -> None:
        diverged = event.error.startswith("Diverged:")
        self._log(task, event, "diverged" if diverged else "gave_up", event.error)
        self.outcome.failures.append(f"{task.label}: {event.error}")
        self._progress.failed(task, event.error)

    def _skip(self, task: Task, lost: Sequence[Skipped]) -> None:
        for skipped in lost:
            nothing = Failed(skipped.task.job.key, 0, "error", f"needs what failed: {task.label}", 0.0)
            self._log(skipped.task, nothing, "skipped", nothing.error)
            self.outcome.skipped += skipped.units
            self._progress.skipped(skipped.task, skipped.units)

    def _log(self, task: Task, event: Done | Failed, outcome: str, error: str) -> None:
        start = self._started.get(task.job.key, self._now())
        keep_attempt(self._store, task, event, start, outcome, error)
