"""The kind `hybrid`: nets made of the channels of two, a job for each pair (docs/method.md, section 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from espalier.cluster.pool import Job
from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.orchestrator.planning.identity import content_key
from espalier.orchestrator.planning.kind import Ladder, Scope, UnitKind
from espalier.orchestrator.planning.kinds.mixture_cost import hybrid_cost, widest_mixed
from espalier.orchestrator.planning.kinds.neighbours import neighbours
from espalier.orchestrator.planning.kinds.pairings import mixture_options
from espalier.orchestrator.planning.task import Limits, Task, halves
from espalier.tasks.data.images import DataFacts
from espalier.tasks.spec import GraftOptions, HybridTile, Pair, Snapshot, blob_name

HYBRID_SCHEMA = 1
"""Bumped when the rows of a pair's hybrids change their meaning."""


@dataclass(frozen=True)
class WantedHybrid:
    """Two nets whose channels are mixed."""

    key: str
    source: Snapshot
    target: Snapshot
    shares: tuple[float, ...]
    options: GraftOptions

    @property
    def reads(self) -> tuple[Snapshot, ...]:
        """The two nets."""
        return self.source, self.target


def hybrid_key(source: Snapshot, target: Snapshot, shares: Sequence[float], options: GraftOptions) -> str:
    """Key of all rows of one pair's hybrids."""
    parameters = {"shares": shares, "options": options}
    return content_key("hybrid", parameters, [source.key, target.key], HYBRID_SCHEMA)


def wanted_hybrids(config: SweepConfig, ladders: Sequence[Ladder]) -> list[WantedHybrid]:
    """Pairs of neighbouring seeds.

    Raises:
        ConfigError: As `neighbours`.
    """
    shares, options = config.hybrids.shares, mixture_options(config, config.hybrids.ridge)
    return [
        WantedHybrid(hybrid_key(source, target, shares, options), source, target, shares, options)
        for source, target, _ in neighbours("hybrids", config.hybrids, config, ladders)
    ]


def hybrid_task(pair: WantedHybrid, facts: DataFacts, where: Mapping[str, Any]) -> Task:
    """One pair as a job, all shares at once."""
    snapshots = (pair.source, pair.target)
    tile = HybridTile(snapshots, (Pair(pair.key, 0, 1),), pair.shares, pair.options)
    inputs = tuple(blob_name(snap.key) for snap in snapshots)
    job = Job(pair.key, "hybrid", tile, inputs, dict(where))
    net = pair.target.net
    label = f"hybrid width {net.width} seeds {pair.source.net.seed} and {net.seed}, epoch {pair.target.epoch}"
    return Task(job, hybrid_cost(tile, facts, where.get("shares_at_once", 0)), label)


def within(task: Task, facts: DataFacts, limits: Limits) -> Task:
    """The job of as many shares at once as its slot's memory holds."""
    tile = task.job.payload
    every = len(tile.shares)
    costs = {some: hybrid_cost(tile, facts, some) for some in halves(every)}
    at_once = next((some for some, cost in costs.items() if cost.memory <= limits.memory), 1)
    if at_once == every:
        return task
    where = {**task.job.where, "shares_at_once": at_once}
    return replace(task, job=replace(task.job, where=where), cost=costs[at_once])


class Hybrids(UnitKind[WantedHybrid]):
    """Pairs of nets whose channels are mixed in several shares."""

    name, units, schema = "hybrid", "hybrid pairs", HYBRID_SCHEMA
    work = "espalier.tasks.jobs.hybrid_job:make_hybrids"
    tables = ("hybrids",)
    gemm_share = 0.3  # of wide nets: 0.08 of the GEMM's rate on digits at widths 8 and 16
    may_change = frozenset({"hybrids.pairs", "hybrids.epochs"})

    def wanted(self, scope: Scope) -> Sequence[WantedHybrid]:
        """Every pair that `[hybrids]` asks for."""
        return wanted_hybrids(scope.config, scope.ladders)

    def jobs(self, units: Sequence[WantedHybrid], scope: Scope) -> list[Task]:
        """A job for each pair."""
        facts, limits, where = scope.facts, scope.limits, scope.where
        return [within(hybrid_task(pair, facts, where), facts, limits) for pair in units]

    def job_of(self, units: Sequence[WantedHybrid], facts: DataFacts, where: Mapping[str, Any]) -> Task:
        """The one pair of a job."""
        (pair,) = units
        return hybrid_task(pair, facts, where)

    def units_of(self, task: Task) -> Sequence[WantedHybrid]:
        """The pair of a job."""
        tile = task.job.payload
        source, target = tile.snapshots
        return [WantedHybrid(tile.pairs[0].key, source, target, tile.shares, tile.options)]

    def idle(self, config: SweepConfig) -> frozenset[str]:
        """What shapes hybrids, where none is asked for."""
        return frozenset() if config.hybrids.pairs else frozenset({"hybrids.shares", "hybrids.ridge"})

    def widest(self, task: Task) -> int:
        """The largest d of a layer's fit."""
        return widest_mixed(task.job.payload)


HYBRIDS = Hybrids()
