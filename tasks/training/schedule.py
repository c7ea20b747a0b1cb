"""The learning rate over training."""

from __future__ import annotations

import math

from espalier.tasks.spec import Schedule


def factor(schedule: Schedule, epoch: float) -> float:
    """The learning rate at `epoch` (a real number) as a share of the recipe's.

    >>> cosine = Schedule("cosine", warmup_epochs=1.0, epochs=10)
    >>> [round(factor(cosine, epoch), 3) for epoch in (0.5, 5.0, 10.0)]
    [0.497, 0.5, 0.0]
    """
    warm = min(1.0, epoch / schedule.warmup_epochs) if schedule.warmup_epochs else 1.0
    if schedule.kind == "cosine":
        if schedule.epochs is None:
            raise ValueError("a cosine schedule needs its number of epochs")
        return warm * 0.5 * (1.0 + math.cos(math.pi * min(1.0, epoch / schedule.epochs)))
    passed = sum(epoch > milestone for milestone in schedule.milestones)
    return warm * schedule.gamma**passed
