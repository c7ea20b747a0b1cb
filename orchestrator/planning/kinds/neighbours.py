"""Pairs of neighbouring seeds, each net in one pair alone, so that pairs are independent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from espalier.orchestrator.config.sections import BarriersConfig, HybridsConfig
from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.planning.kind import Ladder
from espalier.orchestrator.planning.kinds.pair_blocks import ladder_groups
from espalier.tasks.spec import Snapshot


class Neighbours(NamedTuple):
    """Two nets at one epoch, and the other nets of their setting and width at that epoch."""

    source: Snapshot
    target: Snapshot
    others: tuple[Snapshot, ...]


def neighbours(
    section: str, asked: HybridsConfig | BarriersConfig, config: SweepConfig, ladders: Sequence[Ladder]
) -> Iterator[Neighbours]:
    """So many pairs of each setting and width at the epochs that a section of the config asks for.

    Raises:
        ConfigError: More pairs than there are seeds for, or an epoch without a snapshot.
    """
    epochs = asked.epochs or config.train.snapshots[-1:]
    _check(section, asked.pairs, epochs, config)
    for group in ladder_groups(ladders).values() if asked.pairs else ():
        for first in range(0, 2 * asked.pairs, 2):
            rest = [*group[:first], *group[first + 2 :]]
            for position, (source, target) in enumerate(zip(*group[first : first + 2], strict=True)):
                if source.epoch in epochs:
                    yield Neighbours(source, target, tuple(ladder[position] for ladder in rest))


def _check(section: str, pairs: int, epochs: Sequence[int], config: SweepConfig) -> None:
    seeds = len(config.sweep.seeds)
    if 2 * pairs > seeds:
        raise ConfigError(f"{section}.pairs: {pairs} need {2 * pairs} seeds, found {seeds} in sweep.seeds")
    missing = sorted(set(epochs) - set(config.train.snapshots))
    if pairs and missing:
        raise ConfigError(
            f"{section}.epochs: found {missing}, but train.snapshots has {list(config.train.snapshots)}"
        )
