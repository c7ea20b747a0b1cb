"""The driver of studies: asks for trials, runs them epoch by epoch on the pool, prunes and tells.

A trial in flight lives in this process: its nets' states travel with its jobs and go with it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from statistics import fmean
from typing import Any

from espalier.cluster.pool import Done, Failed, Pool
from espalier.orchestrator.planning.failures import Failures
from espalier.orchestrator.planning.kinds.trials import trial_task, whole_trial
from espalier.orchestrator.planning.task import Task
from espalier.orchestrator.running.attempts import keep_attempt, refuse
from espalier.orchestrator.running.driver import WAIT_SECONDS
from espalier.orchestrator.running.heartbeat import Heart
from espalier.orchestrator.running.progress import Progress, duration
from espalier.orchestrator.running.time_limits import TimeLimits, waited_for
from espalier.orchestrator.store.sweep_store import Store
from espalier.orchestrator.tuning.optuna_study import Asked, Book, Row, trial_row
from espalier.tasks.spec import NetSpec
from espalier.tasks.tables.axes import in_words
from espalier.tasks.tables.rows import table


@dataclass
class Running:
    """A trial in flight: one job at a time, whose attempts were submitted at `starts`."""

    book: Book
    asked: Asked
    nets: list[NetSpec]
    task: Task
    starts: list[datetime]
    failures: Failures
    epoch: int = 0
    attempt: int = 1
    seconds: float = 0.0
    value: float | None = None
    images: int | None = None
    curves: list[Row] = field(default_factory=list[Row])


def publisher(store: Store, origin: Mapping[str, Any]) -> Callable[[Row, list[Row]], None]:
    """How a trial's rows get into the store: its curves first, so that a trial that is there is whole."""
    metadata = {"espalier": json.dumps(dict(origin))}

    def commit(row: Row, curves: list[Row]) -> None:
        rows = {"trial_curves": table("trial_curves", curves), "trials": table("trials", [row])}
        tables = {name: part.replace_schema_metadata(metadata) for name, part in rows.items()}
        store.commit(f"{row['study']}-{row['number']}", tables)

    return commit


class Tuner:
    """Runs the open trials of all studies.

    Args:
        books: The studies.
        pool: Where jobs run; as many trials are in flight as it has slots.
        states: What the pool reads a trial's states from, by name; filled and emptied here.
        attempts: Tries of one job; also how many trials of a study may fail in a row.
        where: Goes into each job.
        now: The wall clock that labels attempts.
    """

    def __init__(
        self,
        books: list[Book],
        pool: Pool,
        store: Store,
        progress: Progress,
        states: dict[str, bytes],
        attempts: int,
        where: Mapping[str, Any],
        now: Callable[[], datetime],
    ) -> None:
        self._books, self._pool, self._store, self._progress = books, pool, store, progress
        self._states, self._attempts, self._where, self._now = states, attempts, where, now
        self._running: dict[str, Running] = {}
        self._failed: dict[str, int] = {}
        self._limits, self._heart = TimeLimits(), Heart(store, now)
        self.failures: list[str] = []
        self.ended = 0

    def run(self) -> None:
        """Go on until every study has its trials, or has been given up (`failures` says which).

        Raises:
            StoreFull: The disk is full; trials published so far are whole.
        """
        with self._heart:
            while True:
                self._fill()
                if not self._running:
                    return
                for event in self._pool.wait(WAIT_SECONDS):
                    self._handle(event)
                tasks = {key: trial.task for key, trial in self._running.items()}
                running = self._pool.running()
                self._heart.beat(self._pool.slots, running, tasks)
                self._progress.tick(len(tasks), waited_for(running, tasks, duration))

    def _fill(self) -> None:
        """Ask until all slots work, always of the study that has the fewest trials in flight.

        A study that is asked for one trial at a time learns most from those before.
        """
        while len(self._running) < self._pool.slots:
            ready = [book for book in self._books if book.open and not self._given_up(book)]
            if not ready:
                return
            self._begin(min(ready, key=lambda book: book.running))

    def _given_up(self, book: Book) -> bool:
        return self._failed.get(book.study.key, 0) >= self._attempts

    def _begin(self, book: Book) -> None:
        asked = book.ask()
        try:
            nets = book.study.nets(asked.parameters)
        except ValueError as error:
            row = trial_row(book.study, asked.number, asked.parameters, "refused", None, 0, 0.0, str(error))
            book.end(asked, row, [])
            self._count(book, asked.number, 0.0)
            return
        task = trial_task(book.study, asked.number, nets, 0, 1, self._where)
        self._submit(Running(book, asked, nets, task, [], Failures(self._attempts)))

    def _submit(self, trial: Running) -> None:
        trial.starts.append(self._now())
        self._running[trial.task.job.key] = trial
        self._pool.submit(self._limits.limited(trial.task, trial.failures.count("late")), trial.attempt)

    def _handle(self, event: Done | Failed) -> None:
        self._heart.moved()
        trial = self._running.get(event.key)
        if trial is None or trial.attempt != event.attempt:
            if trial and isinstance(event, Done) and event.attempt < trial.attempt:
                self._progress.note(refuse(self._store, trial.task, event, trial.starts[event.attempt - 1]))
            return
        del self._running[event.key]
        trial.seconds += event.seconds
        if isinstance(event, Done):
            self._limits.done(trial.task, event.seconds)
            self._log(trial, event, "done")
            self._reported(trial, event)
        else:
            self._broken(trial, event)

    def _reported(self, trial: Running, event: Done) -> None:
        """An epoch's rows: go on, or end the trial."""
        study = trial.book.study
        rows = event.output.answer
        for row in rows:
            trial.images = row.pop("images_validation")
        axes = {"study": study.key, "width": study.width, "number": trial.asked.number}
        trial.curves += [axes | row for row in rows]
        self._drop_states(trial)
        trial.epoch += 1
        value = fmean(row[f"{study.tune.objective}_validation"] for row in rows)
        if not math.isfinite(value):  # Optuna fails a trial that is told NaN, and completes one told inf
            self._end(trial, "diverged", f"the {study.tune.objective} on held-back images is {value}")
            return
        trial.value = value
        pruned = trial.book.report(trial.asked, trial.epoch, value)
        if trial.epoch >= study.epochs:
            self._end(trial, "complete")
        elif pruned:
            self._end(trial, "pruned")
        else:
            self._go_on(trial, event.output.blobs)

    def _go_on(self, trial: Running, blobs: Mapping[str, bytes]) -> None:
        study, number = trial.book.study, trial.asked.number
        self._states.update(blobs)
        trial.task = trial_task(study, number, trial.nets, trial.epoch, trial.epoch + 1, self._where)
        trial.attempt, trial.starts, trial.failures = 1, [], Failures(self._attempts)
        self._submit(trial)

    def _drop_states(self, trial: Running) -> None:
        for name in trial.task.job.inputs:
            self._states.pop(name, None)

    def _broken(self, trial: Running, event: Failed) -> None:
        """A try that failed: another one, or the trial ends and its values are asked for again."""
        if event.reason == "hopeless" and event.error.startswith("Diverged:"):
            self._log(trial, event, "diverged")
            self._drop_states(trial)
            self._end(trial, "diverged", event.error)
            return
        if trial.failures.another(event.reason):
            self._log(trial, event, "failed")
            self._progress.note(f"{trial.task.label} failed ({event.error}); trying again")
            trial.attempt += 1
            self._submit(trial)
            return
        self._log(trial, event, "gave_up")
        self._drop_states(trial)
        self._end(trial, "failed", event.error)
        trial.book.again(trial.asked.parameters)

    def _end(self, trial: Running, state: str, error: str = "") -> None:
        book, asked = trial.book, trial.asked
        row = trial_row(
            book.study, asked.number, asked.parameters, state, trial.value, trial.epoch, trial.seconds, error,
            trial.images,
        )  # fmt: skip
        book.end(asked, row, trial.curves)
        key = book.study.key
        if state != "failed":
            self._failed[key] = 0
            self._count(book, asked.number, trial.seconds)
            return
        self._failed[key] = self._failed.get(key, 0) + 1
        self._progress.note(f"{trial.task.label} failed with {in_words(asked.parameters)}: {error}")
        if self._given_up(book):
            self.failures.append(
                f"study {book.study.name}: {self._failed[key]} trials failed in a row: {error}"
            )

    def _count(self, book: Book, number: int, seconds: float) -> None:
        self.ended += 1
        self._progress.done(whole_trial(book.study, number, self._where), seconds)

    def _log(self, trial: Running, event: Done | Failed, outcome: str) -> None:
        error = event.error if isinstance(event, Failed) else ""
        keep_attempt(self._store, trial.task, event, trial.starts[event.attempt - 1], outcome, error)
