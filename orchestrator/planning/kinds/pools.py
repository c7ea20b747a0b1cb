"""The kind `pool`: the nulls `pooled` and `wider_subset`, a job for each setting, width, epoch and null.

The targets of a job share one Gram matrix of all nets' channels (`tasks.mixing.exchangeability`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from espalier.cluster.pool import Job
from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.orchestrator.planning.identity import content_key, tile_key
from espalier.orchestrator.planning.kind import Ladder, Scope, UnitKind
from espalier.orchestrator.planning.kinds.mixture_cost import pool_cost, widest_mixed
from espalier.orchestrator.planning.kinds.pair_blocks import alive, ladder_groups
from espalier.orchestrator.planning.kinds.pairings import mixture_options
from espalier.orchestrator.planning.task import Limits, Nets, Task, largest_blocks
from espalier.tasks.data.images import DataFacts
from espalier.tasks.spec import POOL_NULLS, GraftOptions, Pool, PoolNull, PoolTile, Snapshot
from espalier.tasks.tables.axes import setting

POOL_SCHEMA = 1
"""Bumped when the rows of a pool change their meaning."""


@dataclass(frozen=True)
class WantedPool:
    """A target and the nets whose channels are to serve it."""

    key: str
    target: Snapshot
    sources: tuple[Snapshot, ...]
    wide: tuple[Snapshot, ...]
    null: PoolNull
    options: GraftOptions
    partitions: int

    @property
    def reads(self) -> tuple[Snapshot, ...]:
        """All that it needs."""
        return (self.target, *self.sources, *self.wide)


def pool_key(null: str, partitions: int, options: GraftOptions, nets: Sequence[Snapshot]) -> str:
    """Key of all rows of one pool: its target, then its nets."""
    parameters = {"null": null, "partitions": partitions, "options": options}
    return content_key("pool", parameters, [snap.key for snap in nets], POOL_SCHEMA)


def wanted_pools(
    config: SweepConfig, ladders: Sequence[Ladder], hopeless: Collection[str]
) -> list[WantedPool]:
    """Every pool that the config asks for, of nets whose training did not diverge.

    A target's sources are the first others of its width by seed, always `graft.pool_nets` of them: one more
    seed then adds pools and doubles none.
    """
    groups = ladder_groups(ladders)
    found: list[WantedPool] = []
    for (kind, width), group in groups.items():
        widest = max(other for other_kind, other in groups if other_kind == kind)
        for position in range(len(group[0])):
            here, wide = (alive(some, position, hopeless) for some in (group, groups[kind, widest]))
            asked = config.graft.nulls_at(group[0][position].epoch)
            if "pooled" in asked:
                found += _pools(config, "pooled", here, here)
            if "wider_subset" in asked and width < widest:
                found += _pools(config, "wider_subset", here, wide)
    return found


def pool_options(config: SweepConfig) -> GraftOptions:
    """What counts for pools: they see the images that the grafts of single nets see."""
    return replace(mixture_options(config, config.graft.pool_ridge), augment=config.graft.augment)


def _pools(
    config: SweepConfig, null: PoolNull, here: Sequence[Snapshot], wide: Sequence[Snapshot]
) -> Iterator[WantedPool]:
    options, partitions = pool_options(config), config.graft.partitions
    for target in here:
        others = [snap for snap in here if snap is not target]
        count = config.graft.pool_nets
        if min(len(others), len(wide)) >= count:  # fewer are left where nets diverged
            sources = tuple(others[:count])
            wider = tuple(wide[:count]) if null == "wider_subset" else ()
            key = pool_key(null, partitions, options, (target, *sources, *wider))
            yield WantedPool(key, target, sources, wider, null, options, partitions)


def pool_tasks(
    pools: Sequence[WantedPool], facts: DataFacts, limits: Limits, where: Mapping[str, Any]
) -> list[Task]:
    """Jobs for all pools: of as many targets as a slot's memory holds, and no more if slots would be idle."""
    tiles: dict[object, list[WantedPool]] = defaultdict(list)
    for pool in pools:
        net = pool.target.net
        place = setting(net), net.width, pool.target.epoch, pool.null, len(pool.sources), len(pool.wide)
        tiles[place].append(pool)

    def task_of(some: Sequence[WantedPool]) -> Task:
        return pool_task(some, facts, where)

    work = sum(task_of(tile).cost.flops for tile in tiles.values()) / limits.slots
    return [task for tile in tiles.values() for task in largest_blocks(tile, task_of, limits, work)]


def pool_task(pools: Sequence[WantedPool], facts: DataFacts, where: Mapping[str, Any]) -> Task:
    """One job for some pools of one setting, width, epoch and null."""
    nets = Nets(snap for pool in pools for snap in pool.reads)
    made = tuple(
        Pool(
            pool.key,
            nets.index(pool.target),
            tuple(map(nets.index, pool.sources)),
            pool.null,
            tuple(map(nets.index, pool.wide)),
        )
        for pool in pools
    )
    tile = PoolTile(nets.snapshots, made, pools[0].options, pools[0].partitions)
    job = Job(tile_key([pool.key for pool in pools]), "pool", tile, nets.inputs, dict(where))
    target = pools[0].target
    label = f"{pools[0].null} width {target.net.width} epoch {target.epoch}, {len(pools)} targets"
    return Task(job, pool_cost(tile, facts), label, size=len(pools))


def pools_of(tile: PoolTile) -> list[WantedPool]:
    """The pools of a job."""

    def of(indices: Sequence[int]) -> tuple[Snapshot, ...]:
        return tuple(tile.snapshots[index] for index in indices)

    return [
        WantedPool(
            pool.key,
            tile.snapshots[pool.target],
            of(pool.sources),
            of(pool.wide),
            pool.null,
            tile.options,
            tile.partitions,
        )
        for pool in tile.pools
    ]


class Pools(UnitKind[WantedPool]):
    """Targets, each with the nets whose channels are dealt anew to serve it."""

    name, units, schema = "pool", "pools", POOL_SCHEMA
    work = "espalier.tasks.jobs.pool_job:deal_pools"
    tables = ("downstream", "grafts", "exchangeability")
    gemm_share = 0.4  # of wide nets: 0.35 at widths 48 and 64 on mnist5k

    def wanted(self, scope: Scope) -> Sequence[WantedPool]:
        """Every pool that `graft.nulls` asks for."""
        return wanted_pools(scope.config, scope.ladders, scope.hopeless)

    def jobs(self, units: Sequence[WantedPool], scope: Scope) -> list[Task]:
        """Jobs of as many targets as a slot's memory holds."""
        return pool_tasks(units, scope.facts, scope.limits, scope.where)

    def job_of(self, units: Sequence[WantedPool], facts: DataFacts, where: Mapping[str, Any]) -> Task:
        """One job of pools of one setting, width, epoch and null."""
        return pool_task(units, facts, where)

    def units_of(self, task: Task) -> Sequence[WantedPool]:
        """The pools of a job."""
        return pools_of(task.job.payload)

    def idle(self, config: SweepConfig) -> frozenset[str]:
        """What shapes pools, where none is asked for."""
        asked = {*config.graft.nulls} & {*POOL_NULLS}
        return frozenset() if asked else frozenset(f"graft.{name}" for name in SHAPED_BY)

    def widest(self, task: Task) -> int:
        """The largest d of the channels of all nets side by side."""
        return widest_mixed(task.job.payload)


SHAPED_BY = ("pool_nets", "partitions", "pool_ridge")
"""Fields of `[graft]` that count for pools alone."""

POOLS = Pools()
