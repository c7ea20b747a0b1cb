"""How often a job may fail, cause by cause: a bug is no bad luck, and bad luck is no bug."""

from __future__ import annotations

from collections import Counter

BOUNDS = {"error": 1, "memory": 1, "late": 1, "store": 2, "lost": 2, "preempted": 20, "hopeless": 0}
"""Failures of each cause, in units of `run.attempts`, with which a job is given up.

A raised error, too little memory and a time limit speak of the job. A worker that cannot use the shared store
speaks of its node or of the store, and the next attempt needs neither (`orchestrator.running.straight_pool`).
A lost worker or node may speak of the job, if it is always the same one's. A node that is taken away (spot,
maintenance) never does: the bound makes the run end.
"""

TOO_LARGE = 2
"""Workers that died with one job: the system kills those that take too much memory; twice is no accident."""


class Failures:
    """The failed attempts at one job.

    >>> failures = Failures(attempts=2)
    >>> [failures.another(cause) for cause in ("lost", "preempted", "error", "lost", "error")]
    [True, True, True, True, False]
    """

    def __init__(self, attempts: int) -> None:
        self._attempts, self._counts = attempts, Counter[str]()

    def another(self, cause: str) -> bool:
        """Count a failure; whether another attempt is due."""
        self._counts[cause] += 1
        return self._counts[cause] < BOUNDS[cause] * self._attempts

    def count(self, cause: str) -> int:
        """Failures of that cause so far."""
        return self._counts[cause]

    @property
    def too_large(self) -> bool:
        """Whether the job seems to need more memory than a slot has."""
        return self._counts["memory"] > 0 or self._counts["lost"] >= TOO_LARGE
