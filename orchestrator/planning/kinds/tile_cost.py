"""What a tile of grafts costs, by a model: operations, bytes read, and memory at the peak of its parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from espalier.orchestrator.planning.cost import BASE_BYTES, Cost
from espalier.orchestrator.planning.kernel_memory import kernel_bytes
from espalier.orchestrator.planning.net_cost import (
    forward_flops,
    gram_flops,
    image_bytes,
    layer_sizes,
    map_flops,
    narrowness,
    projection_sizes,
    snapshot_bytes,
)
from espalier.orchestrator.planning.row_memory import row_bytes
from espalier.orchestrator.planning.tile_load import Census, Load, loads
from espalier.tasks.data.images import DataFacts
from espalier.tasks.grafting.nulls.null import SAMPLE
from espalier.tasks.grafting.pair_table import PairTable
from espalier.tasks.grafting.row_rule import by_taps
from espalier.tasks.networks.architectures import (
    images_per_batch,
    mixed_batch,
    output_size,
    parameter_count,
)
from espalier.tasks.networks.cuts import (
    ADAM_BATCH,
    Arm,
    ArmSizes,
    Cut,
    Reading,
    all_arms,
    arm_sizes,
    norms_from,
    reading,
    shortcuts_past,
)
from espalier.tasks.spec import Architecture, AtOnce, GraftOptions, GraftTile, in_float32

ALL = AtOnce()
FIT_SECONDS = 0.002
"""Of a core: what a graft of one layer takes at least."""


def graft_cost(tile: GraftTile, facts: DataFacts, at_once: AtOnce = ALL) -> Cost:
    """Cost of a tile: Gram matrices once per source, forward passes, cross terms and tops in every part.

    Fits that turn out to be ill-conditioned and are made from their rows take a pass more
    (`tasks.grafting.row_fit`); their memory is counted, their operations are not.
    """
    nets = Census(tile.snapshots)
    by_layers = loads(PairTable.of(tile.pairs), nets, tile.options, at_once)
    return loaded_cost(by_layers, nets.count(range(len(tile.snapshots))), tile.options, facts)


def loaded_cost(
    by_layers: Sequence[Sequence[Load]],
    nets: Iterable[tuple[Architecture, int]],
    options: GraftOptions,
    facts: DataFacts,
) -> Cost:
    """Cost of a tile of these `nets`, from what its parts hold, by group of layers."""
    flops, peak, fits = 0.0, 0, 0
    for some_loads in by_layers:
        factored = 0
        for load in some_loads:
            fits += len(load.cuts) * sum(count for _, count in load.ends)
            factored += sum(count for _, count in load.new)
            flops += part_flops(load, facts)
            flops += sum(count * gram_part(load, net, facts) for net, count in load.new)
            peak = max(peak, part_memory(load, facts, factored))
    parameters, bytes_in, slower = 0, 0, 1.0
    for net, count in nets:
        parameters += count * parameter_count(net)
        bytes_in += count * snapshot_bytes(net)
        slower = max(slower, narrowness(net))
    copies = 2 + bool(options.ridges) + 2 * (options.augment != "none")
    memory = BASE_BYTES + 8 * parameters + image_bytes(facts) * copies + peak
    return Cost(flops, bytes_in, memory, FIT_SECONDS * fits, slower)


def part_flops(load: Load, facts: DataFacts) -> float:
    """Operations of a part without its Gram matrices."""
    images, options = facts.train + facts.test, load.options
    flops = sum(count * images * forward_flops(net) for net, count in load.passes)
    flops += min(SAMPLE, facts.train) * sum(count * forward_flops(net) for net, count in load.made)
    if any(reestimated(options, target, cut) for (_, target), _ in load.ends for cut in load.cuts):
        flops += facts.train * sum(count * forward_flops(net) for net, count in load.sources)
    arms = all_arms(load.cuts)
    for (source, target), count in load.ends:
        flops += count * facts.train * sum(fitted_flops(options, source, target, arm) for arm in arms)
        flops += count * sum(trial_flops(options, source, target, arm) for arm in arms)
        flops += count * sum(top_flops(options, source, target, cut, facts) for cut in load.cuts)
    return flops + adam_flops(load)


def trial_flops(options: GraftOptions, source: Architecture, target: Architecture, arm: Arm) -> float:
    """Operations of the ridges tried for one map: each solution, and both its errors."""
    sizes = arm_sizes(source, target, arm)
    return len(options.ridges) * 8.0 * sizes.dim**2 * sizes.out


def adam_flops(load: Load) -> float:
    """Operations of Adam's steps: all nets forward, and each map forward and its gradient, for every batch.

    The gradient of a weight takes as many as the map itself; what follows on each number is left out.
    """
    arms = all_arms([cut for cut in load.cuts if cut.by_adam])
    maps = sum(2 * count * arm_flops(*nets, arm) for nets, count in load.ends for arm in arms)
    forward = sum(count * forward_flops(net) for net, count in load.passes)
    shown = load.options.adam_epochs * load.options.adam_batches * ADAM_BATCH
    return shown * (forward + maps) if arms else 0.0


def top_flops(
    options: GraftOptions, source: Architecture, target: Architecture, cut: Cut, facts: DataFacts
) -> float:
    """Operations of one graft's joint and top: on held-out images, and where BN is re-estimated on all."""
    chosen = len(options.statistics) if norms_from(target, cut.layer) else 1
    again = facts.train if reestimated(options, target, cut) else 0
    joints = (facts.test + again) * joint_flops(options, source, target, cut)
    return joints + (chosen * facts.test + again) * forward_flops(target, cut.layer + 1)


def reestimated(options: GraftOptions, target: Architecture, cut: Cut) -> bool:
    """Whether BN statistics are re-estimated for a graft."""
    return "reestimated" in options.statistics and bool(norms_from(target, cut.layer))


def gram_part(load: Load, source: Architecture, facts: DataFacts) -> float:
    """Operations of one source's Gram matrices and their factorisations."""
    return sum(spectrum_flops(size, facts.train) for size in _readings(load, source).values())


def spectrum_flops(size: ArmSizes, images: int) -> float:
    """Operations of a Gram matrix and its eigendecomposition: of few rows that of `U U^T`, and back."""
    rank = kept_rank(size, images)
    if rank < size.dim:
        return 4.0 * size.dim * rank**2 + 9.0 * rank**3
    return gram_flops(size.map, size.shape) * images + 9.0 * size.dim**3


def kept_rank(size: ArmSizes, images: int) -> int:
    """d, or the number of rows where these are kept since they are fewer (`tasks.grafting.row_gram`)."""
    by_rows = size.map.kind == "dense" or size.map.stride > 1
    return min(size.dim, images * size.positions) if by_rows else size.dim


def _readings(load: Load, source: Architecture) -> dict[Reading, ArmSizes]:
    """The sizes of what is read of a source."""
    arms = all_arms(load.cuts)
    return {reading(load.frame, arm): arm_sizes(source, load.frame, arm) for arm in arms}


def widest_reading(tile: GraftTile) -> int:
    """The largest d of any fit in a tile."""
    ((load,),) = loads(PairTable.of(tile.pairs), Census(tile.snapshots), tile.options)
    return max(size.dim for net, _ in load.sources for size in _readings(load, net).values())


def arm_flops(source: Architecture, target: Architecture, arm: Arm) -> float:
    """Operations of one image's cross term, or of its prediction."""
    sizes = arm_sizes(source, target, arm)
    return 2.0 * sizes.dim * sizes.out * sizes.positions


def fitted_flops(options: GraftOptions, source: Architecture, target: Architecture, arm: Arm) -> float:
    """As `arm_flops`, as fits take it: by taps (`tasks.grafting.tap_products`) the border counts, too."""
    sizes = arm_sizes(source, target, arm)
    if not by_taps(sizes.map, single=in_float32(options.products, sizes.shape[0])):
        return arm_flops(source, target, arm)
    height, width = output_size(sizes.map, sizes.shape)
    border = sizes.map.kernel - 1
    return 2.0 * sizes.dim * sizes.out * (height + border) * (width + border)


def joint_flops(options: GraftOptions, source: Architecture, target: Architecture, cut: Cut) -> float:
    """Operations that give one image's `z_l` and shortcuts of a grafted net, from the source's features."""
    fitted = sum(fitted_flops(options, source, target, arm) for arm in cut.arms)
    if cut.method != "stitch":
        return fitted
    projected = projection_sizes(target)
    own = [projected[n] for n in shortcuts_past(target, cut.layer) if n in projected]
    return fitted + sum(map_flops(sizes) for sizes in [layer_sizes(target)[cut.layer - 1], *own])


def part_memory(load: Load, facts: DataFacts, factored: int) -> int:
    """Bytes at the peak of a part: Gram matrices and factors, cross terms and weights, a batch's features.

    `factored` counts the sources whose factors are held, those of earlier parts included.
    """
    options, sources = load.options, sum(count for _, count in load.grams)
    read = [size for net, count in load.grams for size in [*_readings(load, net).values()] * count]
    grams = [size.dim * kept_rank(size, facts.train) for size in read]
    ridges = bool(options.ridges)  # then the held-back images have sums of their own
    squares = (2 + ridges) * sum(grams) * factored / sources + 4 * max(grams)
    arms = all_arms(load.cuts)
    solved = [(arm_sizes(*nets, arm), count) for nets, count in load.ends for arm in arms]
    by_adam = any(cut.by_adam for cut in load.cuts)
    # Of a map of Adam's: weight, two moments and their copy in float64.
    crosses = (2 + ridges + 3 * by_adam) * sum(count * size.dim * size.out for size, count in solved)
    again = any(reestimated(options, target, cut) for (_, target), _ in load.ends for cut in load.cuts)
    images = mixed_batch(load.frame) if again else images_per_batch(load.frame)
    images = min(max(images, ADAM_BATCH) if by_adam else images, max(facts.train, facts.test))
    unfolded = images * unfolded_bytes(options, read[: len(read) // sources])
    goals = [(size, min(count, load.variants * load.targets)) for size, count in solved]
    by_rows = row_bytes(options, facts.train, load.variants * read, goals, factored / sources)
    features = sum(
        count * sum(size.inputs + size.out * size.positions for size in layer_sizes(net))
        for net, count in load.passes
    )
    kernels = kernel_bytes(load)
    return int(8 * (squares + crosses) + by_rows + unfolded + kernels + 4 * images * features)


def unfolded_bytes(options: GraftOptions, read: Sequence[ArmSizes]) -> int:
    """Bytes for one image of what the fits of one source make of its features.

    Each reading keeps its patches in float64 while the batch lasts, or its maps where nothing is unfolded: of
    narrow convs in float64, as they are and with a border. Two copies more of the largest are in the making.
    """
    return sum(kept := [_kept_bytes(options, size) for size in read]) + 2 * max(kept)


def _kept_bytes(options: GraftOptions, size: ArmSizes) -> int:
    if size.map.kind == "dense" or size.map.stride > 1:
        return 8 * size.positions * size.dim
    channels, height, width = size.shape
    if not by_taps(size.map, single=in_float32(options.products, channels)):
        return 4 * channels * height * width
    border = size.map.kernel - 1
    return 8 * channels * (height * width + (height + border) * (width + border))
