"""The one loop: submit what is ready, take what is done, publish it, log every attempt."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cluster.pool import Done, Failed, Pool
from orchestrator.machine import Machine
from orchestrator.progress import Progress
from orchestrator.store import Store
from orchestrator.tiles import Task

WAIT_SECONDS = 0.5
"""How long one look at the pool may take; also how soon Ctrl-C and the display are heard."""


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
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Go on until nothing can run any more.

        Raises:
            StoreFull: The disk is full; everything published so far is whole.
        """
        while True:
            for submission in self._machine.submit():
                self._started[submission.task.job.key] = self._now()
                self._pool.submit(submission.task.job, submission.attempt)
            if self._machine.finished:
                return self.outcome
            for event in self._pool.wait(WAIT_SECONDS):
                self._handle(event)
            self._progress.tick(len(self._machine.in_flight))

    def _handle(self, event: Done | Failed) -> None:
        task = self._machine.current(event.key, event.attempt)
        if task is None:
            return
        if isinstance(event, Failed):
            self._fail(task, event)
            return
        try:
            tables = {
                name: rows.replace_schema_metadata(self._metadata)
                for name, rows in event.output.tables.items()
            }
            self._store.commit(task.job.key, tables, event.output.blobs)
        except ValueError as error:
            text = f"its results were refused: {error}"
            self._fail(
                task, Failed(event.key, event.attempt, "error", text, event.seconds, event.node, event.device)
            )
            return
        self._follow(tables)
        self._finish(task, event)

    def _finish(self, task: Task, event: Done) -> None:
        self._machine.done(event.key)
        if task.job.kind == "train":
            for state in task.job.inputs:
                self._store.remove_blob(state)
        self._log(task, event, "done", "")
        self.outcome.done[task.job.kind] = self.outcome.done.get(task.job.kind, 0) + task.size
        self._progress.done(task, event.seconds)

    def _fail(self, task: Task, event: Failed) -> None:
        verdict = self._machine.failed(event.key, hopeless=event.reason == "hopeless")
        if verdict.again:
            self._log(task, event, "failed", event.error)
            self._progress.note(f"{task.label} failed ({event.error}); trying again")
            return
        diverged = event.error.startswith("Diverged:")
        self._log(task, event, "diverged" if diverged else "gave_up", event.error)
        self.outcome.failures.append(f"{task.label}: {event.error}")
        self._progress.failed(task, event.error)
        for skipped in verdict.skipped:
            nothing = Failed(skipped.task.job.key, 0, "error", f"needs what failed: {task.label}", 0.0)
            self._log(skipped.task, nothing, "skipped", nothing.error)
            self.outcome.skipped += skipped.units
            self._progress.skipped(skipped.task, skipped.units)

    def _log(self, task: Task, event: Done | Failed, outcome: str, error: str) -> None:
        start = self._started.get(task.job.key, self._now())
        self._store.append_job(job_row(task, event, start, outcome, error))


def job_row(
    task: Task, event: Done | Failed, start: datetime, outcome: str, error: str = ""
) -> dict[str, Any]:
    """The row of table `jobs` of an attempt that was submitted at `start`."""
    return {
        "key": task.job.key,
        "kind": task.job.kind,
        "label": task.label,
        "attempt": event.attempt,
        "node": event.node,
        "device": event.device,
        "start": start,
        "seconds": event.seconds,
        "flops": task.cost.flops,
        "bytes_in": task.cost.bytes_in,
        "outcome": outcome,
        "error": " ".join(error.split())[:2000],
    }
