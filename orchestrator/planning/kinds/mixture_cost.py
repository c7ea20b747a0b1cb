"""What jobs that mix channels of nets cost, by a model: pools (`tasks.mixing.exchangeability`) and hybrids.

Checked against PyTorch's counter and measured peaks as `orchestrator.planning.cost` is.
"""

from __future__ import annotations

from collections.abc import Sequence

from espalier.orchestrator.planning.cost import BASE_BYTES, Cost
from espalier.orchestrator.planning.kinds.tile_cost import fitted_flops, kept_rank, unfolded_bytes
from espalier.orchestrator.planning.net_cost import (
    forward_flops,
    gram_flops,
    image_bytes,
    layer_sizes,
    narrowness,
    snapshot_bytes,
)
from espalier.tasks.data.images import DataFacts
from espalier.tasks.grafting.row_rule import shrunk
from espalier.tasks.networks.architectures import Shape, images_per_batch, parameter_count
from espalier.tasks.networks.cuts import Arm, ArmSizes, Cut, arm_sizes, cuts
from espalier.tasks.spec import Architecture, HybridTile, PoolTile, Snapshot, in_float32

CLASSIFIER_STEPS = 150
"""Evaluations of a hybrid's re-fitted classifier, about: 50 to 200 on digits."""


def pool_cost(tile: PoolTile, facts: DataFacts) -> Cost:
    """Cost of a job of pools: it goes over the images once for each cut, up to it, and once to score."""
    target = tile.snapshots[tile.pools[0].target].net.architecture
    made, images = cuts(target), facts.train + facts.test
    nets = _used(tile)
    used = [tile.snapshots[index].net.architecture for index in nets]
    lasts = [1 + max(arm.reads for arm in cut.arms) for cut in made]
    flops = images * sum(forward_flops(net, last=last) for net in used for last in lasts)
    flops += facts.test * sum(forward_flops(net) for net in used)
    flops += sum(_cut_flops(tile, target, cut, facts) for cut in made)
    features = sum(_feature_count(net) for net in used)
    peak = max(_cut_memory(tile, target, cut, facts) for cut in made)
    memory = _held(tile.snapshots, facts) + peak + 4 * images_per_batch(target) * features
    return Cost(flops, _bytes_in(tile.snapshots), int(memory), slower=narrowness(target))


def _used(tile: PoolTile) -> list[int]:
    return sorted({index for pool in tile.pools for index in (pool.target, *pool.sources, *pool.wide)})


def _members(tile: PoolTile) -> int:
    """Nets whose channels lie side by side."""
    return len({index for pool in tile.pools for index in (*pool.sources, *pool.wide)})


def _cut_flops(tile: PoolTile, target: Architecture, cut: Cut, facts: DataFacts) -> float:
    members, images = _members(tile), facts.train + facts.test
    sizes = arm_sizes(target, target, cut.arms[0])
    side_by_side: Shape = (sizes.shape[0] * members, *sizes.shape[1:])
    flops = images * gram_flops(sizes.map, side_by_side)
    targets = len({pool.target for pool in tile.pools})
    crosses = sum(fitted_flops(tile.options, target, target, arm) for arm in cut.arms)
    flops += targets * members * images * crosses
    for pool in tile.pools:
        groups = len(pool.sources) + len(pool.wide)
        flops += groups * _trial_flops(tile, sizes, facts)
        top = fitted_flops(tile.options, target, target, cut.arms[0]) + forward_flops(target, cut.layer + 1)
        flops += len(pool.sources) * facts.test * top
    return flops


def _trial_flops(tile: PoolTile, sizes: ArmSizes, facts: DataFacts) -> float:
    """Operations of the fits of the real partition and the random ones, for one net of them.

    Where a ridge rules, only the first two partitions have a spectrum (`tasks.mixing.channel_groups`).
    """
    fits, single = tile.partitions + 1, in_float32(tile.options.products, sizes.shape[0])
    many = kept_rank(sizes, facts.train) == sizes.dim
    if not (sizes.map.kind == "conv" and single) and many and shrunk(tile.options.ridge, sizes.dim):
        return 2 * fit_flops(sizes) + fits * (sizes.dim**3 / 3 + 8.0 * sizes.dim**2 * sizes.out)
    return fits * fit_flops(sizes)


def fit_flops(sizes: ArmSizes) -> float:
    """Operations of one fit from its sums: a factorisation, a solution and its errors."""
    return 9.0 * sizes.dim**3 + 8.0 * sizes.dim**2 * sizes.out


def _cut_memory(tile: PoolTile, target: Architecture, cut: Cut, facts: DataFacts) -> float:
    """Bytes of both splits' sums of one cut, and of a group's factorisation."""
    members, images = _members(tile), images_per_batch(target)
    sizes = [arm_sizes(target, target, arm) for arm in cut.arms]
    side_by_side = [size._replace(dim=size.dim * members) for size in sizes]
    # The sums by lag, the matrix put together of them, and a copy in the making.
    wide = 0
    for size in side_by_side:
        train, test = (size.dim * kept_rank(size, count) for count in (facts.train, facts.test))
        wide += 2 * (train + test) + max(train, test)
    targets = len({pool.target for pool in tile.pools})
    crosses = 2 * targets * sum(size.dim * size.out for size in side_by_side)
    draws = sum(len(pool.sources) for pool in tile.pools) * sum(size.dim * size.out for size in sizes)
    group = 5 * max(size.dim * kept_rank(size, facts.train) for size in sizes)
    return 8 * (wide + crosses + draws + group) + images * members * unfolded_bytes(tile.options, sizes)


def widest_mixed(tile: PoolTile | HybridTile) -> int:
    """The largest d of any Gram matrix: of a job of pools, of all its nets' channels side by side."""
    if isinstance(tile, HybridTile):
        return max(size.dim for size in layer_sizes(tile.snapshots[0].net.architecture)[:-1])
    target = tile.snapshots[tile.pools[0].target].net.architecture
    widest = max(arm_sizes(target, target, arm).dim for cut in cuts(target) for arm in cut.arms)
    return widest * _members(tile)


def hybrid_cost(tile: HybridTile, facts: DataFacts, at_once: int = 0) -> Cost:
    """Cost of hybrids: each layer's fit goes over the images, through the layers of parents and hybrids.

    `at_once` shares are fitted in one pass over the images of each layer, 0 for all.
    """
    net, shares = tile.snapshots[0].net.architecture, len(tile.shares)
    together = min(at_once or shares, shares)
    layers = layer_sizes(net)
    forward = [2.0 * size.dim * size.out * size.positions for size in layers]
    below = sum(sum(forward[:layer]) for layer in range(len(layers)))
    fits = sum(
        facts.train * (size.gram_flops + one) + 9.0 * size.dim**3
        for size, one in zip(layers, forward, strict=True)
    )
    classified = CLASSIFIER_STEPS * 4.0 * facts.train * layers[-1].dim * layers[-1].out
    scored = (2 * facts.train + 3 * facts.test) * sum(forward)
    flops = len(tile.pairs) * (
        shares * (facts.train * below + fits + classified + scored)
        + 2 * -(-shares // together) * facts.train * below
    )
    sizes = [arm_sizes(net, net, Arm(layer, "z", layer + 1)) for layer in range(net.depth - 1)]
    grams = [size.dim * kept_rank(size, facts.train) for size in sizes]
    squares = (together + 5) * max(grams)
    crosses = 2 * together * max(size.dim * size.out for size in sizes)
    images, last = images_per_batch(net), layers[-1].dim
    unfolded = images * max(unfolded_bytes(tile.options, [size]) for size in sizes)
    classified = 4 * facts.train * last + 16 * min(facts.train, 2048) * last
    memory = _held(tile.snapshots, facts) + 4 * (shares + 2) * parameter_count(net)
    memory += 8 * (squares + crosses) + unfolded + classified + 4 * 3 * images * _feature_count(net)
    return Cost(flops, _bytes_in(tile.snapshots), int(memory), slower=narrowness(net))


def _feature_count(net: Architecture) -> int:
    """Numbers that one image's features of all layers hold."""
    return sum(size.inputs + size.out * size.positions for size in layer_sizes(net))


def _held(snapshots: Sequence[Snapshot], facts: DataFacts) -> int:
    parameters = sum(parameter_count(snapshot.net.architecture) for snapshot in snapshots)
    return BASE_BYTES + 8 * parameters + 2 * image_bytes(facts)


def _bytes_in(snapshots: Sequence[Snapshot]) -> int:
    return sum(snapshot_bytes(snapshot.net.architecture) for snapshot in snapshots)
