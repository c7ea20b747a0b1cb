"""How the pairs of grafts are put together into jobs. It changes no row.

A tile holds some sources of one width, setting and epoch with all their targets, so that a source is
factorised in one job, and its factors never move. Targets are parted only where slots would wait otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from espalier.cluster.pool import Job
from espalier.orchestrator.planning.cost import Cost
from espalier.orchestrator.planning.identity import tile_key
from espalier.orchestrator.planning.kinds.tile_cost import ALL, graft_cost, loaded_cost
from espalier.orchestrator.planning.kinds.tile_pieces import TILES_PER_SLOT, pieces, well_used
from espalier.orchestrator.planning.kinds.wanted_pairs import WantedPairs
from espalier.orchestrator.planning.task import Limits, Task, halves
from espalier.orchestrator.planning.tile_load import Census, loads
from espalier.tasks.data.images import DataFacts
from espalier.tasks.grafting.pair_table import PairTable
from espalier.tasks.grafting.tile_parts import tile_cuts
from espalier.tasks.spec import AtOnce, GraftTile, Snapshot
from espalier.tasks.tables.axes import setting

Places = NDArray[np.intp]
"""Where some pairs stand among all, in order."""


@dataclass(frozen=True)
class _Tile:
    """Some pairs, and what they cost if that has been reckoned."""

    places: Places
    cost: Cost | None


@dataclass(frozen=True)
class _Costed(_Tile):
    cost: Cost


def graft_tasks(pairs: WantedPairs, facts: DataFacts, limits: Limits, where: Mapping[str, Any]) -> list[Task]:
    """Tiles of all pairs: the largest that fit a slot's memory and still leave work for every slot."""
    costs = _Costs(pairs, facts)
    groups = [costs.tile(places) for places in _alike(pairs)]
    most = sum(group.cost.flops for group in groups) / (TILES_PER_SLOT * limits.slots)
    tiles = [tile for group in groups for tile in _by_sources(group, costs, limits, most)]
    return [
        within(graft_task(pairs.that(tile.places), facts, where, tile.cost), facts, limits)
        for tile in _by_targets(costs, tiles, limits.slots)
    ]


class _Costs:
    """What tiles of some of the pairs cost, without the tiles."""

    def __init__(self, pairs: WantedPairs, facts: DataFacts) -> None:
        self.pairs, self._facts = pairs, facts
        self._nets = Census(pairs.snapshots)

    def tile(self, places: Places) -> _Costed:
        """The pairs at these places, which have the same options."""
        some = self.pairs.that(places)
        options = some.options[some.chosen[0]]
        by_layers = loads(some.table, self._nets, options)
        cost = loaded_cost(by_layers, self._nets.count(some.used), options, self._facts)
        return _Costed(places, cost)


def _alike(pairs: WantedPairs) -> list[Places]:
    """The pairs of each setting, width and epoch of the source, and options, in the order of their first."""
    kinds: dict[object, int] = {}
    of_net = np.array([kinds.setdefault(_kind(snap), len(kinds)) for snap in pairs.snapshots], np.int64)
    codes = of_net[pairs.table.sources] * len(pairs.options) + pairs.chosen
    return _parted(np.arange(len(pairs)), first_uses(codes)[1])


def _kind(snap: Snapshot) -> object:
    return setting(snap.net), snap.net.width, snap.epoch


def first_uses(values: NDArray[np.integer]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where each value stands first, in that order; and of every place which of these its value is."""
    _, first, which = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(first), np.intp)
    rank[order] = np.arange(len(first))
    return first[order], rank[which]


def _parted(places: Places, parts: NDArray[np.intp]) -> list[Places]:
    """The places of each part, of which there are as many as the largest number says, in order."""
    small = parts.astype(np.min_scalar_type(int(parts.max())))  # 16 bits are sorted by their digits
    ends = np.cumsum(np.bincount(parts))
    return np.split(places[np.argsort(small, kind="stable")], ends[:-1])


def _by_sources(group: _Costed, costs: _Costs, limits: Limits, work: float) -> list[_Costed]:
    """Tiles of the largest block of sources of which none exceeds the memory or that many operations."""
    _, sources = first_uses(costs.pairs.table.sources[group.places])
    for size in halves(int(sources.max()) + 1):
        tiles: list[_Costed] = []
        for places in _parted(group.places, sources // size):  # most often one is as good as another
            tile = group if len(places) == len(group.places) else costs.tile(places)
            tiles.append(tile)
            if size > 1 and (tile.cost.memory > limits.memory or tile.cost.flops > work):
                break
        else:
            return tiles
    raise AssertionError("unreachable: a tile of one source is taken as it is")


def _by_targets(costs: _Costs, tiles: Sequence[_Costed], slots: int) -> list[_Tile]:
    """Tiles cut by their targets too, where slots would wait for the last ones otherwise."""
    work = [tile.cost.flops for tile in tiles]
    if well_used(work, slots):
        return list(tiles)
    targets = [first_uses(costs.pairs.table.targets[tile.places])[1] for tile in tiles]
    whole = list(zip(tiles, targets, strict=True))
    halved = [_halved(costs, *some) for some in whole]
    again = [max(0.0, 2 * half[0].cost.flops - flops) for half, flops in zip(halved, work, strict=True)]
    counts = pieces(work, again, [int(some.max()) + 1 for some in targets], slots)
    return [
        part
        for some, half, count in zip(whole, halved, counts, strict=True)
        for part in (half if count == 2 else _cut(*some, int(count)))
    ]


def _halved(costs: _Costs, tile: _Costed, targets: NDArray[np.intp]) -> tuple[_Costed, *tuple[_Tile, ...]]:
    """The halves of a tile with the cost of the first; of one with a single target all of it."""
    first, *rest = _cut(tile, targets, 2)
    return costs.tile(first.places) if rest else tile, *rest


def _cut(tile: _Costed, targets: NDArray[np.intp], count: int) -> Sequence[_Tile]:
    """A tile as `count` tiles, or about as many, of some of its targets each."""
    most = -(-(int(targets.max()) + 1) // count)
    return [tile] if count == 1 else [_Tile(places, None) for places in _parted(tile.places, targets // most)]


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
    targets = len(np.unique(PairTable.of(tile.pairs).targets))
    ways = {
        -(-layers // some) * -(-targets // others): AtOnce(some, others)
        for some in halves(layers)
        for others in halves(targets)
    }
    return [ways[count] for count in sorted(ways)]


def graft_task(
    pairs: WantedPairs, facts: DataFacts, where: Mapping[str, Any], cost: Cost | None = None
) -> Task:
    """One tile as a task, whose `cost` need not be reckoned if it is known."""
    table, options = pairs.table, pairs.options[pairs.chosen[0]]
    ends = np.stack([table.sources, table.targets], axis=1).ravel()
    first, numbers = first_uses(ends)
    used = [int(net) for net in ends[first]]
    sources, targets = numbers.astype(np.int32).reshape(-1, 2).T.copy()
    own = PairTable(table.keys, sources, targets, table.nulls, table.names)
    tile = GraftTile(tuple(pairs.snapshots[net] for net in used), own, options)
    key = tile_key(table.keys.astype(np.str_).tolist())
    job = Job(key, "graft", tile, tuple(pairs.blobs[net] for net in used), dict(where))
    source = tile.snapshots[0]
    label = f"graft from width {source.net.width} epoch {source.epoch}, {len(pairs)} pairs"
    return Task(job, cost or graft_cost(tile, facts), label, size=len(pairs))


def pairs_of(task: Task) -> WantedPairs:
    """The pairs of a tile."""
    tile, table = task.job.payload, PairTable.of(task.job.payload.pairs)
    chosen = np.zeros(len(table), np.int16)
    return WantedPairs(table, chosen, tile.snapshots, task.job.inputs, (tile.options,))
