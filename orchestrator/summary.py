"""What a run came to."""

from __future__ import annotations

from dataclasses import dataclass, field

from espalier.orchestrator.planning.plan import Plan
from espalier.orchestrator.running.driver import Outcome
from espalier.orchestrator.tuning.run_studies import Tuned


@dataclass(frozen=True)
class Summary:
    """What a run came to.

    Attributes:
        plan: What was missing when it began.
        outcome: Units done in this run, and failures.
        seconds: Wall time.
        repaired: Messages about broken files that were put aside and computed again.
        tuned: What running the studies of `[tune]` came to.
    """

    plan: Plan
    outcome: Outcome = field(default_factory=Outcome)
    seconds: float = 0.0
    repaired: tuple[str, ...] = ()
    tuned: Tuned = field(default_factory=Tuned)

    @property
    def complete(self) -> bool:
        """Everything that the config asks for is there."""
        failed = bool(
            self.outcome.failures or self.outcome.skipped or self.plan.hopeless or self.tuned.failures
        )
        return not failed and sum(self.outcome.done.values()) + sum(self.plan.done.values()) == sum(
            self.plan.total.values()
        )
