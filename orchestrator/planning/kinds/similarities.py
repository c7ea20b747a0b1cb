"""The kind `similarity`: pairs of nets compared at every layer without a fit (docs/method.md, section 6)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

from espalier.cluster.pool import Job
from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.orchestrator.planning.identity import content_key, tile_key
from espalier.orchestrator.planning.kind import Ladder, Scope, UnitKind
from espalier.orchestrator.planning.kinds.pair_blocks import ladder_groups
from espalier.orchestrator.planning.kinds.similarity_cost import similarity_cost
from espalier.orchestrator.planning.task import Limits, Nets, Task
from espalier.tasks.data.images import DataFacts
from espalier.tasks.spec import Comparison, SimilarityTile, Snapshot
from espalier.tasks.tables.axes import setting
from espalier.tasks.tables.similarity_columns import SIMILARITY

SIMILARITY_SCHEMA = 2  # since 2 nulls of 199 permutations are shifts along several circles
"""Bumped when the rows of a pair change their meaning."""


@dataclass(frozen=True)
class WantedComparison:
    """Two snapshots and the measure that compares them."""

    key: str
    left: Snapshot
    right: Snapshot
    measure: str
    images: int
    permutations: int

    @property
    def reads(self) -> tuple[Snapshot, ...]:
        """The two nets."""
        return self.left, self.right


def wanted_comparisons(config: SweepConfig, ladders: Sequence[Ladder]) -> list[WantedComparison]:
    """Every unordered pair of differently seeded nets that `[similarity]` asks for, by each measure."""
    asked = config.similarity
    found: dict[str, WantedComparison] = {}
    for one, other in _pairs(config, ladders) if asked.measures else ():
        left, right = sorted((one, other), key=_order)
        for measure in asked.measures_between(left.epoch, right.epoch):
            parameters = {"measure": measure, "images": asked.images, "permutations": asked.permutations}
            key = content_key("similarity", parameters, [left.key, right.key], SIMILARITY_SCHEMA)
            wanted = WantedComparison(key, left, right, measure, asked.images, asked.permutations)
            found.setdefault(key, wanted)
    return list(found.values())


def _order(snap: Snapshot) -> tuple[int, int, int, str]:
    """Which of two is the first does not depend on the order of the config's seeds."""
    return snap.net.width, snap.epoch, snap.net.seed, snap.key


def _pairs(config: SweepConfig, ladders: Sequence[Ladder]) -> Iterator[tuple[Snapshot, Snapshot]]:
    groups = ladder_groups(ladders)
    for (kind, width), group in groups.items():
        widest = max(other for other_kind, other in groups if other_kind == kind)
        ends = list(combinations(group, 2))
        if config.similarity.widths == "widest" and width < widest:
            wide = groups[kind, widest]
            ends += [
                (one, other) for one, other in product(group, wide) if one[0].net.seed != other[0].net.seed
            ]
        for one, other in ends:
            for place, snap in enumerate(one):
                yield from (
                    (snap, there)
                    for there in (other if config.similarity.epochs == "all" else [other[place]])
                )


def comparison_tasks(
    units: Sequence[WantedComparison], facts: DataFacts, limits: Limits, where: Mapping[str, Any]
) -> list[Task]:
    """Jobs of blocks of nets by blocks of nets: as large as a slot's memory allows, but for idle slots."""
    alike: dict[object, list[WantedComparison]] = defaultdict(list)
    for unit in units:
        ends = [(setting(snap.net), snap.net.width, snap.epoch) for snap in unit.reads]
        alike[*ends, unit.images, unit.permutations].append(unit)
    work = sum(comparison_task(some, facts, where).cost.flops for some in alike.values()) / limits.slots
    return [task for some in alike.values() for task in _blocks(some, facts, limits, where, work)]


def _blocks(
    units: Sequence[WantedComparison],
    facts: DataFacts,
    limits: Limits,
    where: Mapping[str, Any],
    work: float,
) -> list[Task]:
    """Jobs for pairs that differ in their nets alone."""
    place = {
        key: number
        for number, key in enumerate(dict.fromkeys(snap.key for unit in units for snap in unit.reads))
    }
    size = len(place)
    while True:
        parts: dict[tuple[int, int], list[WantedComparison]] = defaultdict(list)
        for unit in units:
            parts[place[unit.left.key] // size, place[unit.right.key] // size].append(unit)
        tasks = [comparison_task(some, facts, where) for some in parts.values()]
        if size == 1 or all(t.cost.memory <= limits.memory and t.cost.flops <= work for t in tasks):
            return tasks
        size = -(-size // 2)


def comparison_task(units: Sequence[WantedComparison], facts: DataFacts, where: Mapping[str, Any]) -> Task:
    """One job."""
    # In their order, so that the first of a pair has the smaller index.
    nets = Nets(sorted((snap for unit in units for snap in unit.reads), key=_order))
    keys: dict[tuple[int, int], dict[str, str]] = defaultdict(dict)
    for unit in units:
        keys[nets.index(unit.left), nets.index(unit.right)][unit.measure] = unit.key
    pairs = tuple(Comparison(left, right, named) for (left, right), named in keys.items())
    tile = SimilarityTile(nets.snapshots, pairs, units[0].images, units[0].permutations)
    job = Job(tile_key([unit.key for unit in units]), "similarity", tile, nets.inputs, dict(where))
    left, right = units[0].reads
    ends = f"width {left.net.width} epoch {left.epoch}"
    if (left.net.width, left.epoch) != (right.net.width, right.epoch):
        ends += f" and width {right.net.width} epoch {right.epoch}"
    return Task(job, similarity_cost(tile, facts), f"similarity {ends}, {len(pairs)} pairs", size=len(units))


class Similarities(UnitKind[WantedComparison]):
    """Unordered pairs of nets, by each measure that the config names."""

    name, units, schema = "similarity", "values", SIMILARITY_SCHEMA
    work = "espalier.tasks.jobs.similarity_job:compare_nets"
    tables = ("similarity",)
    own_tables = (SIMILARITY,)
    gemm_share = 0.25  # 0.2 to 0.4 of the GEMM's rate at widths 16 and 32, 1,000 images
    may_change = frozenset(
        {"similarity.measures", "similarity.epochs", "similarity.map_measures", "similarity.widths"}
    )

    def wanted(self, scope: Scope) -> Sequence[WantedComparison]:
        """Every comparison that `[similarity]` asks for."""
        return wanted_comparisons(scope.config, scope.ladders)

    def jobs(self, units: Sequence[WantedComparison], scope: Scope) -> list[Task]:
        """Jobs of blocks of nets."""
        return comparison_tasks(units, scope.facts, scope.limits, scope.where)

    def job_of(self, units: Sequence[WantedComparison], facts: DataFacts, where: Mapping[str, Any]) -> Task:
        """One job."""
        return comparison_task(units, facts, where)

    def units_of(self, task: Task) -> Sequence[WantedComparison]:
        """The comparisons of a job."""
        tile: SimilarityTile = task.job.payload
        return [
            WantedComparison(
                key,
                tile.snapshots[pair.left],
                tile.snapshots[pair.right],
                name,
                tile.images,
                tile.permutations,
            )
            for pair in tile.pairs
            for name, key in pair.keys.items()
        ]

    def idle(self, config: SweepConfig) -> frozenset[str]:
        """What shapes comparisons, where none is asked for; measures of nets see the same images."""
        if config.similarity.measures:
            return frozenset()
        images = frozenset[str]() if config.sweep.measures else frozenset({"similarity.images"})
        return images | {"similarity.permutations"}


SIMILARITIES = Similarities()
