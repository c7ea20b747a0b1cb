"""When slots of a simulated cluster have nothing to do, and what they wait for."""

from __future__ import annotations

from dataclasses import dataclass

from espalier.orchestrator.planning.task import Task


@dataclass(frozen=True)
class Idle:
    """A time in which slots had nothing to do.

    Attributes:
        start: Seconds from the beginning.
        end: The same.
        slot_seconds: Of the slots that were idle, in all.
        held_up: Whether work was left, which waited for results of running jobs.
        last: Label of the job whose end ended this time; empty if none did.
    """

    start: float
    end: float
    slot_seconds: float
    held_up: bool
    last: str

    @property
    def slots(self) -> float:
        """How many were idle, on average."""
        return self.slot_seconds / (self.end - self.start)


class IdleWatch:
    """Joins the moments in which slots are idle for one reason."""

    def __init__(self) -> None:
        self.found: list[Idle] = []
        self._start, self._slot_seconds, self._held_up, self._last = 0.0, 0.0, False, ""

    def passed(self, start: float, end: float, idle: int, held_up: bool) -> None:
        """From `start` to `end` so many slots were idle, with or without work that was held up."""
        if not idle or held_up != self._held_up:
            self.stop(start)
        if idle and end > start:
            if not self._slot_seconds:
                self._start, self._held_up, self._last = start, held_up, ""
            self._slot_seconds += idle * (end - start)

    def ended(self, task: Task) -> None:
        """A job ended; others may have waited for what it produces."""
        if task.produces or not self._held_up:
            self._last = task.label

    def stop(self, now: float) -> None:
        """Idle slots found work, or there was nothing left to wait for."""
        if self._slot_seconds:
            self.found.append(Idle(self._start, now, self._slot_seconds, self._held_up, self._last))
        self._slot_seconds, self._held_up = 0.0, False
