"""What a user sees while a sweep runs: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars

from espalier.orchestrator.planning.kinds.registry import kind_of
from espalier.orchestrator.planning.plan import Plan
from espalier.orchestrator.planning.task import Task
from espalier.orchestrator.planning.time_left import Worked, flops_left, seconds_left

LINE_SECONDS = 10.0
STILL_SECONDS = 60.0
"""After which it is said that no job has ended."""


class Progress(Protocol):
    """What the driver tells of its work. What its units are called, each kind of work says."""

    def done(self, task: Task, seconds: float) -> None:
        """A task's results are published; `seconds` of work inside the worker."""
        ...

    def failed(self, task: Task, error: str) -> None:
        """A task was given up."""
        ...

    def skipped(self, task: Task, units: int) -> None:
        """Units of a task can never be had, since something that it needs failed."""
        ...

    def note(self, text: str) -> None:
        """A line for the user."""
        ...

    def tick(self, in_flight: int, waits: str = "") -> None:
        """The driver is alive, with so many jobs in flight; what it `waits` for if that takes long."""
        ...


class Tally:
    """Counts and rates behind every display; the clock is given, in seconds."""

    def __init__(self, plan: Plan, slots: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self.units = dict(plan.total), dict(plan.done)
        self.failed = dict.fromkeys(plan.total, 0)
        self.in_flight, self.waits = 0, ""
        self._slots, self._clock, self._start = slots, clock, clock()
        self._begun_with = dict(plan.done)
        self._flops_left = flops_left(plan)
        self._worked = {kind: Worked() for kind in plan.total}
        self._moved = self._start

    def done(self, task: Task, seconds: float) -> None:
        """Count a finished task."""
        kind = task.job.kind
        self.units[kind] += task.size
        self._worked[kind] += Worked(1, task.cost.flops, seconds)
        self._flops_left[kind] -= task.cost.flops
        self._moved = self._clock()

    def recall(self, worked: Mapping[str, Worked]) -> None:
        """Count what ended in earlier runs of the folder towards the speed."""
        for kind in self._worked.keys() & worked.keys():
            self._worked[kind] += worked[kind]

    def lose(self, task: Task, units: int) -> None:
        """Count units that can never be had."""
        self._moved = self._clock()
        self.failed[task.job.kind] += units
        self._flops_left[task.job.kind] -= task.cost.flops * units / task.size

    def rate(self, kind: str) -> float:
        """Units per second of wall time since the start."""
        return (self.units[kind] - self._begun_with[kind]) / max(self._clock() - self._start, 1e-9)

    def seconds_left(self) -> float | None:
        """See `orchestrator.planning.time_left`."""
        return seconds_left(self._flops_left, self._worked, self._slots)

    def line(self) -> str:
        """The state in one line."""
        parts = [
            f"{kind} {self.units[kind]}/{self.total[kind]} {kind_of(kind).units} ({self.rate(kind):.1f}/s)"
            for kind in self.total
        ]
        lost = sum(self.failed.values())
        if lost:
            parts.append(f"{lost} failed or skipped")
        return ", ".join([*parts, self.rest()])

    def rest(self) -> str:
        """The time left, for how long no job has ended if that is long, and what is being waited for."""
        still = self._clock() - self._moved
        parts = [f"{duration(self.seconds_left())} left"]
        if still >= STILL_SECONDS and self.in_flight:
            parts.append(f"no job has ended for {duration(still)}")
        if self.waits:
            parts.append(f"waiting for {self.waits}")
        return ", ".join(parts)


def duration(seconds: float | None) -> str:
    """A time span for people.

    >>> [duration(s) for s in (None, 4.2, 75, 7260)]
    ['?', '4 s', '1 min 15 s', '2 h 1 min']
    """
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Lines:
    """Plain log lines, one every ten seconds: for log files and machines. Also a context manager."""

    def __init__(
        self, tally: Tally, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tally, self._write, self._clock = tally, write, clock
        self._last = clock()

    def __enter__(self) -> Self:
        """Say where we start."""
        self._write(self._tally.line())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say where we stopped."""
        self._write(self._tally.line())

    def recall(self, worked: Mapping[str, Worked]) -> None:
        """Count what ended in earlier runs of the folder towards the speed."""
        self._tally.recall(worked)

    def done(self, task: Task, seconds: float) -> None:
        """Count."""
        self._tally.done(task, seconds)

    def failed(self, task: Task, error: str) -> None:
        """Count and say."""
        self._tally.lose(task, task.size)
        self.note(f"FAILED {task.label}: {error}")

    def skipped(self, task: Task, units: int) -> None:
        """Count and say."""
        self._tally.lose(task, units)
        self.note(f"skipped {units} {kind_of(task.job.kind).units} of: {task.label}")

    def note(self, text: str) -> None:
        """Say."""
        self._write(text)

    def tick(self, in_flight: int, waits: str = "") -> None:
        """Write a line if the last is long ago."""
        self._tally.in_flight, self._tally.waits = in_flight, waits
        if self._clock() - self._last >= LINE_SECONDS:
            self._last = self._clock()
            self._write(self._tally.line())


class Live(Lines):
    """Live bars by kind, with rate, failures and the time left."""

    def __init__(self, tally: Tally, console: Console) -> None:
        super().__init__(tally, plain_writer(console))
        self._bars = Bars(
            TextColumn("{task.description:>6}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self._rows = {
            kind: self._bars.add_task(kind, total=total, completed=tally.units[kind], note="")
            for kind, total in tally.total.items()
        }

    def __enter__(self) -> Self:
        """Show the bars."""
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last state on the screen."""
        self._refresh()
        self._bars.stop()

    def tick(self, in_flight: int, waits: str = "") -> None:
        """Redraw."""
        self._tally.in_flight, self._tally.waits = in_flight, waits
        self._refresh()

    def _refresh(self) -> None:
        for kind, row in self._rows.items():
            failed = self._tally.failed[kind]
            note = f"{kind_of(kind).units}, {self._tally.rate(kind):.1f}/s" + (
                f", [red]{failed} lost[/red]" if failed else ""
            )
            self._bars.update(row, completed=self._tally.units[kind], note=note)
        last = list(self._rows.values())[-1]
        text = f"{self._bars.tasks[-1].fields['note']}, {escape(self._tally.rest())}"
        self._bars.update(last, note=text)


def display(plan: Plan, slots: int, console: Console | None = None) -> Lines:
    """Bars where a terminal shows them, lines elsewhere."""
    screen = console or Console()
    tally = Tally(plan, slots)
    if screen.is_terminal and sys.stdout.isatty():
        return Live(tally, screen)
    return Lines(tally, plain_writer(screen))


def plain_writer(console: Console) -> Callable[[str], None]:
    """Prints texts as they are: a path in brackets in an error is no markup."""
    return lambda text: console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)
