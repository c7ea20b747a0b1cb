"""How the pairs of grafts are put together into jobs. It changes no row.

A tile holds some sources of one width, setting and epoch with all their targets, so that a source is
factorised in one job, and its factors never move. Targets are parted only where slots would wait otherwise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from espalier.cluster.pool import Job
from espalier.orchestrator.planning.cost import ALL, graft_cost
from espalier.orchestrator.planning.identity import tile_key
from espalier.orchestrator.planning.kinds.pairings import WantedPair
from espalier.orchestrator.planning.kinds.tile_pieces import TILES_PER_SLOT, pieces, well_used
from espalier.orchestrator.planning.task import Limits, Nets, Task, halves, largest_blocks
from espalier.tasks.data.images import DataFacts
from espalier.tasks.grafting.tile_parts import groups, tile_cuts
from espalier.tasks.spec import AtOnce, GraftTile, Pair
from espalier.tasks.tables.axes import setting


def graft_tasks(
    pairs: Sequence[WantedPair], facts: DataFacts, limits: Limits, where: Mapping[str, Any]
) -> list[Task]:
    """Tiles of all pairs: the largest that fit a slot's memory and still leave work for every slot."""
    by_source: dict[object, list[WantedPair]] = defaultdict(list)
    for pair in pairs:
        net = pair.source.net
        by_source[setting(net), net.width, pair.source.epoch, pair.options].append(pair)
    work = sum(graft_task(group, facts, where).cost.flops for group in by_source.values())
    tasks = [
        task
        for group in by_source.values()
        for task in _by_sources(group, facts, limits, where, work / (TILES_PER_SLOT * limits.slots))
    ]
    return [within(task, facts, limits) for task in _by_targets(tasks, facts, limits.slots)]


def _by_sources(
    pairs: Sequence[WantedPair], facts: DataFacts, limits: Limits, where: Mapping[str, Any], work: float
) -> list[Task]:
    """Tiles of the largest block of sources of which none exceeds the memory or that many operations."""

    def task_of(some: Sequence[str]) -> Task:
        return graft_task([pair for pair in pairs if pair.source.key in some], facts, where)

    return largest_blocks(list(dict.fromkeys(pair.source.key for pair in pairs)), task_of, limits, work)


def _by_targets(tasks: Sequence[Task], facts: DataFacts, slots: int) -> list[Task]:
    """Tiles cut by their targets too, where slots would wait for the last ones otherwise."""
    work = [task.cost.flops for task in tasks]
    if well_used(work, slots):
        return list(tasks)
    whole = [(task, list(dict.fromkeys(pair.target.key for pair in pairs_of(task)))) for task in tasks]
    again = [max(0.0, 2 * _part(*some, facts, 2)[0].cost.flops - some[0].cost.flops) for some in whole]
    counts = pieces(work, again, [len(targets) for _, targets in whole], slots)
    return [part for some, count in zip(whole, counts, strict=True) for part in _part(*some, facts, count)]


def _part(task: Task, targets: Sequence[str], facts: DataFacts, count: int) -> list[Task]:
    """A tile as `count` tiles, or about as many, of some of its targets each."""
    if count == 1:
        return [task]
    parts: list[Task] = []
    for some in groups(targets, -(-len(targets) // count)):
        kept = [pair for pair in pairs_of(task) if pair.target.key in some]
        parts.append(graft_task(kept, facts, task.job.where))
    return parts


def within(task: Task, facts: DataFacts, limits: Limits) -> Task:
    """The tile in as few passes over the images as its slot's memory allows."""
    tile = task.job.payload
    if task.cost.memory <= limits.memory:
        return task
    cost, chosen = task.cost, ALL
    for at_once in _passes(tile):
        cost, chosen = graft_cost(tile, facts, at_once), at_once
        if cost.memory <= limits.memory:
            break
    where = {**task.job.where, "at_once": (chosen.layers, chosen.targets)}
    return replace(task, job=replace(task.job, where=where), cost=cost)


def _passes(tile: GraftTile) -> list[AtOnce]:
    """Ways to part a tile, those of few passes over the images first."""
    layers = len({cut.layer for cut in tile_cuts(tile)})
    targets = len({pair.target for pair in tile.pairs})
    ways = {
        -(-layers // some) * -(-targets // others): AtOnce(some, others)
        for some in halves(layers)
        for others in halves(targets)
    }
    return [ways[count] for count in sorted(ways)]


def graft_task(pairs: Sequence[WantedPair], facts: DataFacts, where: Mapping[str, Any]) -> Task:
    """One tile as a task."""
    nets = Nets(snap for pair in pairs for snap in (pair.source, pair.target))
    plain = tuple(Pair(p.key, nets.index(p.source), nets.index(p.target), p.null) for p in pairs)
    tile = GraftTile(nets.snapshots, plain, pairs[0].options)
    job = Job(tile_key([pair.key for pair in plain]), "graft", tile, nets.inputs, dict(where))
    source = pairs[0].source
    label = f"graft from width {source.net.width} epoch {source.epoch}, {len(pairs)} pairs"
    return Task(job, graft_cost(tile, facts), label, size=len(pairs))


def pairs_of(task: Task) -> list[WantedPair]:
    """The pairs of a tile."""
    tile = task.job.payload
    snapshots, options = tile.snapshots, tile.options
    return [WantedPair(p.key, snapshots[p.source], snapshots[p.target], p.null, options) for p in tile.pairs]
