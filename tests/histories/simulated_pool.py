"""A pool whose slots, answers and faults are those of a history; its clock stands still between two waits.

Each call of `wait` takes the next act of the history. When those are over, the oldest job at work is done,
and the pool is as quiet as can be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from espalier.cluster.pool import Done, Failed, Fetch, Job, failure
from espalier.orchestrator.planning.state_machine import JOBS_IN_FLIGHT_PER_SLOT
from espalier.tasks.spec import segments_of
from tests.histories import synthetic
from tests.histories.asked import ATTEMPTS, SLOTS, Doomed
from tests.histories.power import Power

Act = tuple[str, int]
"""What happens during one wait, and to which of the jobs at work (modulo their number)."""

BOUNDS = {"error": ATTEMPTS, "memory": ATTEMPTS, "late": ATTEMPTS, "lost": 2 * ATTEMPTS}
"""Failures of a cause with which a job is given up, as docs/reliability.md and sweep.md promise."""
QUIET = 400
"""Waits after the last act of a history within which a run must end."""
SPEECH = "said something"


@dataclass
class Clock:
    """Seconds that pass when a history says so."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Book:
    """What a pool has seen of one run: for the judgement of how it ended, and for the campaign's figures."""

    seen: Counter[str]
    attempts: dict[str, int] = field(default_factory=dict)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    given_up: dict[str, Job] = field(default_factory=dict)

    def failed(self, job: Job, cause: str) -> None:
        """A try failed; note if that was one too many."""
        self.seen[f"failed: {cause}"] += 1
        self.failures[job.key, cause] += 1
        if cause == "hopeless" or self.failures[job.key, cause] == BOUNDS.get(cause):
            self.given_up[job.key] = job

    @property
    def lost(self) -> set[str]:
        """Keys of the units that were given up."""
        return {key for job in self.given_up.values() for key in units(job)}


def units(job: Job) -> list[str]:
    """Keys of a job's snapshots or pairs."""
    if job.kind == "train":
        return [segment.snapshot.key for segment in segments_of(job.payload)]
    return [pair.key for pair in job.payload.pairs]


class SimulatedPool:
    """See the module; `look` is what a reader beside the run does, `needed` judges each job that is given."""

    memories = ()

    def __init__(
        self,
        fetch: Fetch,
        acts: Sequence[Act],
        doomed: Doomed,
        power: Power,
        clock: Clock,
        book: Book,
        look: Callable[[], None],
        needed: Callable[[Job], bool],
    ) -> None:
        self._fetch, self._acts, self._doomed = fetch, list(acts), doomed
        self._power, self._clock, self._book, self._look, self._needed = power, clock, book, look, needed
        self.slots, self._waits, self._most = SLOTS, 0, len(acts) + QUIET
        self._queue: list[tuple[Job, int]] = []
        self._ghosts: list[tuple[Job, int]] = []

    # What the driver calls

    def submit(self, job: Job, attempt: int) -> None:
        assert job.key not in {other.key for other, _ in self._queue}, "a job was given twice at once"
        assert len(self._queue) < JOBS_IN_FLIGHT_PER_SLOT * max(1, self.slots), "too many jobs in flight"
        assert job.key not in self._book.given_up, "a job that was given up was tried again"
        assert attempt == self._book.attempts.get(job.key, 0) + 1, "an attempt was left out or given twice"
        assert self._needed(job), f"{job.kind} {job.key}: all that it gives is there already"
        self._book.attempts[job.key] = attempt
        self._book.seen[f"given: {job.kind}"] += 1
        self._queue.append((job, attempt))

    def running(self) -> dict[str, float]:
        return {job.key: 1.0 for job, _ in self._working}

    def close(self) -> None:
        self._queue = []

    def wait(self, timeout: float) -> list[Done | Failed]:
        self._waits += 1
        assert self._waits <= self._most, "the run does not end"
        self._clock.now += timeout
        if not self._acts:
            self.slots = max(1, self.slots)
            return [self._done(0)] if self._queue else []
        name, number = self._acts.pop(0)
        self._book.seen[f"act: {name}"] += 1
        return ACTS[name](self, number)

    # What may happen

    @property
    def _working(self) -> list[tuple[Job, int]]:
        return self._queue[: self.slots]

    def _take(self, number: int) -> tuple[Job, int]:
        return self._queue.pop(number % len(self._working))

    def _done(self, number: int) -> Done | Failed:
        return self._answer(*self._take(number))

    def _answer(self, job: Job, attempt: int) -> Done | Failed:
        for name in job.inputs:
            assert self._fetch(name) == synthetic.blob(name), f"{name}: a checkpoint of other content"
        try:
            output = synthetic.answer(job, self._doomed)
        except synthetic.Diverged as error:
            self._book.failed(job, "hopeless")
            return failure(job, attempt, error, 1.0)
        return Done(job.key, attempt, output, 1.0, "node", "cpu", SPEECH * (attempt > 1))

    def _fail(self, number: int, cause: Literal["lost", "preempted", "late", "error", "memory"]) -> Failed:
        job, attempt = self._take(number)
        self._book.failed(job, cause)
        if cause in ("lost", "late", "preempted"):  # whoever had it may go on with it, and answer after all
            self._ghosts.append((job, attempt))
        return Failed(job.key, attempt, cause, f"{cause}, as the history has it", 1.0, "node")

    def done(self, number: int) -> list[Done | Failed]:
        return [self._done(number)] if self._working else []

    def all_done(self, number: int) -> list[Done | Failed]:
        events = [self._done(number) for _ in range(len(self._working))]
        return events[::-1] if number % 2 else events

    def fail(self, number: int) -> list[Done | Failed]:
        causes: tuple = ("error", "memory", "lost", "preempted")
        return [self._fail(number // len(causes), causes[number % len(causes)])] if self._working else []

    def all_fail(self, number: int) -> list[Done | Failed]:
        cause: Literal["lost", "preempted"] = "preempted" if number % 2 else "lost"
        return [self._fail(0, cause) for _ in range(len(self._working))]

    def overdue(self, number: int) -> list[Done | Failed]:
        if not self._working:
            return []
        self._clock.now += self._working[number % len(self._working)][0].limit
        return [self._fail(number, "late")]

    def ghost(self, number: int) -> list[Done | Failed]:
        """An attempt that was given up answers after all, and with what nobody may ever see."""
        if not self._ghosts:
            return []
        job, attempt = self._ghosts.pop(number % len(self._ghosts))
        return [_poisoned(job, attempt)]

    def another(self, number: int) -> list[Done | Failed]:
        """An answer for an attempt, or a job, that there never was."""
        if not self._working:
            return []
        job, attempt = self._working[number % len(self._working)]
        if number % 3 == 0:
            return [Failed("nobody", attempt, "error", "a job that nobody gave", 1.0)]
        wrong = attempt + 1 if number % 3 == 1 else attempt - 1
        return [_poisoned(job, wrong), Failed(job.key, wrong, "hopeless", "of no attempt", 1.0)]

    def twice(self, number: int) -> list[Done | Failed]:
        """An attempt answers, and then again, with something else."""
        if not self._working:
            return []
        job, attempt = self._take(number)
        return [self._answer(job, attempt), _poisoned(job, attempt)]

    def unfit(self, number: int) -> list[Done | Failed]:
        """An answer whose tables lack a column: refused, which is an error of the job."""
        if not self._working:
            return []
        job, attempt = self._take(number)
        event = self._answer(job, attempt)
        if isinstance(event, Done):
            tables = {
                name: rows.drop_columns([rows.column_names[-1]]) for name, rows in event.output.tables.items()
            }
            event = replace(event, output=replace(event.output, tables=tables))
            self._book.failed(job, "error")
        return [event]

    def join(self, number: int) -> list[Done | Failed]:
        self.slots = min(4, self.slots + 1)
        return []

    def leave(self, number: int) -> list[Done | Failed]:
        """A node goes away with the job that it has, suddenly or as it was announced."""
        events = [self._fail(number, "preempted" if number % 2 else "lost")] if self._working else []
        self.slots = max(0, self.slots - 1)
        return events

    def drain(self, number: int) -> list[Done | Failed]:
        """A slot gets no more jobs: it ends what it has and is gone."""
        events = [self._done(number)] if self._working else []
        self.slots = max(0, self.slots - 1)
        return events

    def pause(self, number: int) -> list[Done | Failed]:
        self._clock.now += 10.0 * number
        return []

    def read(self, number: int) -> list[Done | Failed]:
        self._look()
        return []

    def stop(self, number: int) -> list[Done | Failed]:
        raise KeyboardInterrupt

    def kill(self, number: int) -> list[Done | Failed]:
        return self._power.cut()


def _poisoned(job: Job, attempt: int) -> Done:
    return Done(job.key, attempt, synthetic.poisoned(job), 1.0, "node", "cpu")


ACTS = {
    "done": SimulatedPool.done,
    "all done": SimulatedPool.all_done,
    "fail": SimulatedPool.fail,
    "all fail": SimulatedPool.all_fail,
    "overdue": SimulatedPool.overdue,
    "ghost": SimulatedPool.ghost,
    "another": SimulatedPool.another,
    "twice": SimulatedPool.twice,
    "unfit": SimulatedPool.unfit,
    "join": SimulatedPool.join,
    "leave": SimulatedPool.leave,
    "drain": SimulatedPool.drain,
    "pause": SimulatedPool.pause,
    "read": SimulatedPool.read,
    "stop": SimulatedPool.stop,
    "kill": SimulatedPool.kill,
}
"""What a history is made of, by name."""
