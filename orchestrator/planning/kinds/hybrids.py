"""Hybrid nets as jobs: one for each pair that `[hybrids]` asks for (docs/method.md, section 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from espalier.cluster.pool import Job
from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.planning.identity import hybrid_key
from espalier.orchestrator.planning.kinds.grafts import ladder_groups, mixture_options
from espalier.orchestrator.planning.kinds.mixture_cost import hybrid_cost
from espalier.orchestrator.planning.tiles import Limits, Task, blob_name, halves
from espalier.tasks.data.images import DataFacts
from espalier.tasks.spec import GraftOptions, HybridTile, Pair, Snapshot


@dataclass(frozen=True)
class WantedHybrid:
    """Two nets whose channels are mixed."""

    key: str
    source: Snapshot
    target: Snapshot
    shares: tuple[float, ...]
    options: GraftOptions


def wanted_hybrids(config: SweepConfig, ladders: Sequence[Sequence[Snapshot]]) -> list[WantedHybrid]:
    """Pairs of neighbouring seeds, each net in one pair alone, so that pairs are independent.

    Raises:
        ConfigError: More pairs than there are seeds for, or an epoch without a snapshot.
    """
    asked = config.hybrids
    epochs = asked.epochs or config.train.snapshots[-1:]
    _check(config, epochs)
    options = mixture_options(config, asked.ridge)
    found: list[WantedHybrid] = []
    for group in ladder_groups(ladders).values() if asked.pairs else ():
        for one, other in zip(group[0 : 2 * asked.pairs : 2], group[1 : 2 * asked.pairs : 2], strict=True):
            for source, target in zip(one, other, strict=True):
                if source.epoch in epochs:
                    key = hybrid_key(source, target, asked.shares, options)
                    found.append(WantedHybrid(key, source, target, asked.shares, options))
    return found


def _check(config: SweepConfig, epochs: Sequence[int]) -> None:
    seeds, pairs = len(config.sweep.seeds), config.hybrids.pairs
    if 2 * pairs > seeds:
        raise ConfigError(f"hybrids.pairs: {pairs} need {2 * pairs} seeds, found {seeds} in sweep.seeds")
    missing = sorted(set(epochs) - set(config.train.snapshots))
    if pairs and missing:
        raise ConfigError(
            f"hybrids.epochs: found {missing}, but train.snapshots has {list(config.train.snapshots)}"
        )


def hybrid_task(pair: WantedHybrid, facts: DataFacts, limits: Limits, where: Mapping[str, Any]) -> Task:
    """One pair as a job, of as many shares at once as its slot's memory holds."""
    snapshots = (pair.source, pair.target)
    tile = HybridTile(snapshots, (Pair(pair.key, 0, 1),), pair.shares, pair.options)
    at_once = next(
        (some for some in halves(len(pair.shares)) if hybrid_cost(tile, facts, some).memory <= limits.memory),
        1,
    )
    parted = {} if at_once == len(pair.shares) else {"shares_at_once": at_once}
    inputs = tuple(blob_name(snap.key) for snap in snapshots)
    job = Job(pair.key, "hybrid", tile, inputs, {**where, **parted})
    net = pair.target.net
    label = f"hybrid width {net.width} seeds {pair.source.net.seed} and {net.seed}, epoch {pair.target.epoch}"
    return Task(job, hybrid_cost(tile, facts, at_once), label)
