"""The kind `barrier`: the straight path between two nets, a job for each pair (docs/method.md, section 2)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from espalier.cluster.pool import Job
from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.orchestrator.planning.identity import content_key
from espalier.orchestrator.planning.kind import Ladder, Scope, UnitKind
from espalier.orchestrator.planning.kinds.barrier_cost import barrier_cost
from espalier.orchestrator.planning.kinds.neighbours import neighbours
from espalier.orchestrator.planning.task import Limits, Task
from espalier.tasks.data.images import DataFacts
from espalier.tasks.spec import (
    CORRECTIONS,
    MATCHINGS,
    BarrierOptions,
    BarrierPair,
    Correction,
    Matching,
    Snapshot,
    blob_name,
)
from espalier.tasks.tables.barrier_columns import BARRIER_CURVES, BARRIERS_TABLE

BARRIER_SCHEMA = 1
"""Bumped when the rows of a pair's paths change their meaning."""


@dataclass(frozen=True)
class WantedBarrier:
    """Two nets whose path is followed, and a third one that closes the cycle of matchings."""

    pair: BarrierPair

    @property
    def key(self) -> str:
        """That of all rows."""
        return self.pair.key

    @property
    def reads(self) -> tuple[Snapshot, ...]:
        """All of its nets."""
        return self.pair.snapshots


def barrier_options(config: SweepConfig) -> BarrierOptions:
    """What `[barriers]` says of the method; the order of its lists changes no key."""
    asked = config.barriers
    matchings: list[Matching] = [name for name in MATCHINGS if name in asked.matchings]
    corrections: list[Correction] = [name for name in CORRECTIONS if name in asked.corrections]
    return BarrierOptions(tuple(matchings), tuple(corrections), asked.points, asked.images)


def barrier_key(snapshots: Sequence[Snapshot], options: BarrierOptions) -> str:
    """Key of all rows of one pair's paths."""
    return content_key("barrier", {"options": options}, [snap.key for snap in snapshots], BARRIER_SCHEMA)


def wanted_barriers(
    config: SweepConfig, ladders: Sequence[Ladder], hopeless: Collection[str] = ()
) -> list[WantedBarrier]:
    """Pairs of neighbouring seeds, each with the first other net of its width whose training did not diverge.

    Where a matching is asked for: without one there is no cycle.

    Raises:
        ConfigError: As `neighbours`.
    """
    options = barrier_options(config)
    found: list[WantedBarrier] = []
    for source, target, others in neighbours("barriers", config.barriers, config, ladders):
        alive = [snap for snap in others if snap.key not in hopeless]
        third = alive[:1] if {*options.matchings} - {"none"} else []
        snapshots = (source, target, *third)
        found.append(WantedBarrier(BarrierPair(barrier_key(snapshots, options), snapshots, options)))
    return found


def barrier_task(pair: BarrierPair, facts: DataFacts, where: Mapping[str, Any]) -> Task:
    """One pair as a job, all matchings and corrections together."""
    inputs = tuple(blob_name(snap.key) for snap in pair.snapshots)
    job = Job(pair.key, "barrier", pair, inputs, dict(where))
    source, target, *_ = pair.snapshots
    seeds = f"seeds {source.net.seed} and {target.net.seed}"
    label = f"barrier width {target.net.width} {seeds}, epoch {target.epoch}"
    return Task(job, barrier_cost(pair, facts, where), label)


def within(task: Task, facts: DataFacts, limits: Limits) -> Task:
    """The job, with features computed anew for each layer where its slot's memory cannot hold them."""
    if task.cost.memory <= limits.memory:
        return task
    where = {**task.job.where, "recompute": True}
    cost = barrier_cost(task.job.payload, facts, where)
    return replace(task, job=replace(task.job, where=where), cost=cost)


class Barriers(UnitKind[WantedBarrier]):
    """Pairs of nets, and what lies between them."""

    name, units, schema = "barrier", "barriers", BARRIER_SCHEMA
    work = "espalier.tasks.jobs.barrier_job:follow_paths"
    tables = ("barrier_curves", "barriers")
    own_tables = (BARRIERS_TABLE, BARRIER_CURVES)
    gemm_share = 0.5  # of wide nets: 0.45 at width 32 on digits
    may_change = frozenset({"barriers.pairs", "barriers.epochs"})

    def wanted(self, scope: Scope) -> Sequence[WantedBarrier]:
        """Every pair that `[barriers]` asks for."""
        return wanted_barriers(scope.config, scope.ladders, scope.hopeless)

    def jobs(self, units: Sequence[WantedBarrier], scope: Scope) -> list[Task]:
        """A job for each pair."""
        facts, limits, where = scope.facts, scope.limits, scope.where
        return [within(barrier_task(unit.pair, facts, where), facts, limits) for unit in units]

    def job_of(self, units: Sequence[WantedBarrier], facts: DataFacts, where: Mapping[str, Any]) -> Task:
        """The one pair of a job."""
        (unit,) = units
        return barrier_task(unit.pair, facts, where)

    def units_of(self, task: Task) -> Sequence[WantedBarrier]:
        """The pair of a job."""
        return [WantedBarrier(task.job.payload)]

    def halves(self, task: Task, facts: DataFacts) -> tuple[Task, ...]:
        """The job with its features computed anew, where they were held."""
        again = within(task, facts, Limits(0, 1))
        return () if task.job.where.get("recompute") else (again,)

    def idle(self, config: SweepConfig) -> frozenset[str]:
        """What shapes paths, where none is asked for."""
        shaped_by = ("matchings", "corrections", "points", "images")
        return frozenset() if config.barriers.pairs else frozenset(f"barriers.{name}" for name in shaped_by)


BARRIERS = Barriers()
