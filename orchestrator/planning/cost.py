"""What a job costs, by a model: floating-point operations, bytes read, peak memory.

The operations are checked against PyTorch's own counter in the tests, the memory against measured peaks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from espalier.orchestrator.planning.row_memory import row_bytes
from espalier.tasks.data.images import DataFacts
from espalier.tasks.grafting.tile_parts import Part, Source, gram_source, parts, whole
from espalier.tasks.kernels.compiled import work_bytes
from espalier.tasks.networks.architectures import (
    Shape,
    evaluation_batch,
    images_per_batch,
    input_shapes,
    mixed_batch,
    output_size,
    parameter_count,
    parameter_shapes,
    patch_dim,
    shapes_of,
    shortcut_map,
    stored_count,
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
from espalier.tasks.spec import (
    ALONE,
    Architecture,
    AtOnce,
    GraftOptions,
    GraftTile,
    Layer,
    TrainMode,
    TrainSegment,
    in_float32,
)

ALL = AtOnce()

BASE_BYTES = 500_000_000
"""A Ray worker that has trained and grafted next to nothing: 492 MB measured, PyTorch 2.13 for CPUs."""


@dataclass(frozen=True)
class Cost:
    """Operations (a multiply-add is 2), bytes of snapshots read, bytes of memory at the peak.

    `seconds` of a core go by whatever the operations: each step of training takes some.
    """

    flops: float
    bytes_in: int
    memory: int
    seconds: float = 0.0


@dataclass(frozen=True)
class LayerSizes:
    """Sizes of one layer.

    Attributes:
        dim: d, inputs of one output channel.
        out: Output channels.
        positions: Positions of `z`.
        inputs: Channels x positions of the input.
        gram_flops: Operations of one image's patch Gram matrix, by lags for a conv
        (`tasks.grafting.lag_gram`).
    """

    dim: int
    out: int
    positions: int
    inputs: int
    gram_flops: float


@cache
def layer_sizes(architecture: Architecture) -> list[LayerSizes]:
    """Sizes of layers 1 to L."""
    shapes = input_shapes(architecture)
    return [map_sizes(layer, shape) for layer, shape in zip(architecture.layers, shapes, strict=True)]


def map_sizes(layer: Layer, shape: Shape) -> LayerSizes:
    """Sizes of a linear map that reads `shape`."""
    height, width = output_size(layer, shape)
    dim, inputs = patch_dim(layer, shape), shape[0] * shape[1] * shape[2]
    return LayerSizes(dim, layer.out, height * width, inputs, gram_flops(layer, shape))


def projection_sizes(architecture: Architecture) -> dict[int, LayerSizes]:
    """Sizes of the projections on shortcuts, by the layer that they go into."""
    shapes, described = shapes_of(architecture), enumerate(architecture.layers, start=1)
    projected = {n: layer for n, layer in described if layer.shortcut and layer.shortcut.projection}
    return {
        number: map_sizes(shortcut_map(layer), shapes[layer.shortcut.reads])
        for number, layer in projected.items()
        if layer.shortcut
    }


def gram_flops(layer: Layer, shape: Shape) -> float:
    """Operations of one image's Gram matrix of patches; borders, which are small, left out."""
    channels, height, width = shape
    if layer.kind == "dense" or layer.stride > 1:
        rows, columns = output_size(layer, shape)
        return 2.0 * patch_dim(layer, shape) ** 2 * rows * columns
    down, right = min(layer.kernel, height) - 1, min(layer.kernel, width) - 1
    lags = right + 1 + down * (2 * right + 1)
    return 2.0 * lags * channels**2 * (height + down) * (width + right)


@cache
def forward_flops(architecture: Architecture, first: int = 1) -> float:
    """Operations of one image's linear maps, from h of layer `first` - 1 on: layers and projections."""
    total = sum(map_flops(sizes) for sizes in layer_sizes(architecture)[first - 1 :])
    for number, sizes in projection_sizes(architecture).items():
        shortcut = architecture.layers[number - 1].shortcut
        if shortcut is not None and shortcut.reads >= first - 1:
            total += map_flops(sizes)
    return total


def map_flops(sizes: LayerSizes) -> float:
    """Operations of a linear map for one image."""
    return 2.0 * sizes.dim * sizes.out * sizes.positions


def snapshot_bytes(architecture: Architecture) -> int:
    """Bytes of a snapshot: float32 numbers, a line of the header for each tensor, a page of metadata."""
    return 4 * stored_count(architecture) + 96 * len(parameter_shapes(architecture)) + 4096


def image_bytes(facts: DataFacts) -> int:
    """Bytes of all normalised images, float32."""
    return 4 * (facts.train + facts.test) * facts.channels * facts.height * facts.width


def train_cost(segments: Sequence[TrainSegment], facts: DataFacts, mode: TrainMode = ALONE) -> Cost:
    """Cost of a job that trains nets of one architecture and recipe, all of them together.

    Three forward passes' worth per image and epoch, and the evaluations, one net at a time. A net alone that
    is trained `grouped` has a copy of itself beside it, which is left out of the operations; so is what
    compiled kernels spare.
    """
    first, nets = segments[0], max(len(segments), 2 if mode.grouped else 1)
    architecture = first.snapshot.net.architecture
    flops = sum(_segment_flops(segment, facts) for segment in segments)
    # The images may be there in another layout too.
    memory = BASE_BYTES + 3 * image_bytes(facts) + 20 * nets * parameter_count(architecture)
    memory += max(nets * _step_bytes(first, facts), _evaluation_bytes(architecture, facts))
    memory += work_bytes(architecture) if mode.compiled else 0
    bytes_in = 0 if first.start is None else 2 * len(segments) * snapshot_bytes(architecture)
    return Cost(flops, bytes_in, memory, sum(_step_seconds(segment, facts) for segment in segments))


def _segment_flops(segment: TrainSegment, facts: DataFacts) -> float:
    architecture = segment.snapshot.net.architecture
    epochs, forward = _epochs(segment), forward_flops(architecture)
    evaluations = max(1, epochs) * facts.test + facts.train
    # The first layer's input needs no gradient.
    step = 3 * forward - map_flops(layer_sizes(architecture)[0])
    return epochs * facts.train * step + forward * evaluations


def _epochs(segment: TrainSegment) -> int:
    return segment.snapshot.epoch - (segment.start or 0)


STEP_SECONDS, STEP_RATE = 1.5e-3, 5e10
"""Of a core: what a step takes at least, and operations per second. Rough: they weigh jobs, no more."""


def train_seconds(segment: TrainSegment, facts: DataFacts) -> float:
    """About the seconds that a segment takes one core."""
    return _step_seconds(segment, facts) + _segment_flops(segment, facts) / STEP_RATE


def _step_seconds(segment: TrainSegment, facts: DataFacts) -> float:
    steps = _epochs(segment) * -(-facts.train // segment.snapshot.net.recipe.batch_size)
    return STEP_SECONDS * (1 + steps)


def _step_bytes(segment: TrainSegment, facts: DataFacts) -> int:
    """Bytes of one step: what every layer keeps of a batch, and the gradients on the way back."""
    architecture, batch = segment.snapshot.net.architecture, segment.snapshot.net.recipe.batch_size
    features = sum(
        size.inputs + 2 * size.out * size.positions * (1 + layer.batch_norm + (layer.shortcut is not None))
        for layer, size in zip(architecture.layers, layer_sizes(architecture), strict=True)
    )
    return 4 * 2 * min(batch, facts.train) * features


def _evaluation_bytes(architecture: Architecture, facts: DataFacts) -> int:
    """Bytes of a batch in evaluation at its largest layer: what it reads, gives, and gives after the ReLU."""
    images = min(evaluation_batch(architecture), max(facts.train, facts.test))
    return 4 * images * max(size.inputs + 2 * size.out * size.positions for size in layer_sizes(architecture))


def graft_cost(tile: GraftTile, facts: DataFacts, at_once: AtOnce = ALL) -> Cost:
    """Cost of a tile: Gram matrices once per source, forward passes, cross terms and tops in every part.

    Fits that turn out to be ill-conditioned and are made from their rows take a pass more
    (`tasks.grafting.row_fit`); their memory is counted, their operations are not.
    """
    flops, peak = 0.0, 0
    for some_layers in parts(tile, at_once):
        factored: set[Source] = set()
        for part in some_layers:
            flops += part_flops(tile, part, facts)
            new = {gram_source(source) for source in part.sources} - factored
            flops += sum(gram_part(tile, source, part, facts) for source in new)
            factored |= new
            peak = max(peak, part_memory(tile, part, facts, len(factored)))
    parameters = sum(parameter_count(snapshot.net.architecture) for snapshot in tile.snapshots)
    copies = 2 + bool(tile.options.ridges) + 2 * (tile.options.augment != "none")
    images = image_bytes(facts) * copies
    memory = BASE_BYTES + 8 * parameters + images + peak
    return Cost(flops, sum(snapshot_bytes(snapshot.net.architecture) for snapshot in tile.snapshots), memory)


def part_flops(tile: GraftTile, part: Part, facts: DataFacts) -> float:
    """Operations of a part without its Gram matrices."""
    images = facts.train + facts.test
    flops = sum(count * images * forward_flops(net) for net, count in passes(tile, part))
    ends = pair_ends(tile, part)
    if any(reestimated(tile, target, cut) for _, target in ends for cut in part.cuts):
        flops += facts.train * sum(forward_flops(_net(tile, source.snapshot)) for source in part.sources)
    arms = all_arms(part.cuts)
    for (source, target), count in ends.items():
        flops += count * facts.train * sum(arm_flops(source, target, arm) for arm in arms)
        flops += count * sum(trial_flops(tile, source, target, arm) for arm in arms)
        flops += count * sum(top_flops(tile, source, target, cut, facts) for cut in part.cuts)
    return flops + adam_flops(tile, part)


def pair_ends(tile: GraftTile, part: Part) -> Counter[tuple[Architecture, Architecture]]:
    """How many pairs there are of each source's and target's architecture."""
    return Counter((_net(tile, pair.source), _net(tile, pair.target)) for pair in part.pairs)


def trial_flops(tile: GraftTile, source: Architecture, target: Architecture, arm: Arm) -> float:
    """Operations of the ridges tried for one map: each solution, and both its errors."""
    sizes = arm_sizes(source, target, arm)
    return len(tile.options.ridges) * 8.0 * sizes.dim**2 * sizes.out


def adam_flops(tile: GraftTile, part: Part) -> float:
    """Operations of Adam's steps: all nets forward, and each map forward and its gradient, for every batch.

    The gradient of a weight takes as many as the map itself; what follows on each number is left out.
    """
    arms = all_arms([cut for cut in part.cuts if cut.by_adam])
    ends = pair_ends(tile, part).items()
    maps = sum(2 * count * arm_flops(*nets, arm) for nets, count in ends for arm in arms)
    forward = sum(count * forward_flops(net) for net, count in passes(tile, part))
    shown = tile.options.adam_epochs * tile.options.adam_batches * ADAM_BATCH
    return shown * (forward + maps) if arms else 0.0


def passes(tile: GraftTile, part: Part) -> list[tuple[Architecture, int]]:
    """How many nets go forward, each as it is and in each variant that the part has of it."""
    plain = {source.snapshot for source in map(gram_source, part.sources) if source.variant == "plain"}
    varied = [source.snapshot for source in part.sources if source.variant != "plain"]
    return list(Counter(_net(tile, index) for index in [*(plain | set(part.targets)), *varied]).items())


def top_flops(
    tile: GraftTile, source: Architecture, target: Architecture, cut: Cut, facts: DataFacts
) -> float:
    """Operations of one graft's joint and top: on held-out images, and where BN is re-estimated on all."""
    chosen = len(tile.options.statistics) if norms_from(target, cut.layer) else 1
    again = facts.train if reestimated(tile, target, cut) else 0
    joints = (facts.test + again) * joint_flops(source, target, cut)
    return joints + (chosen * facts.test + again) * forward_flops(target, cut.layer + 1)


def reestimated(tile: GraftTile, target: Architecture, cut: Cut) -> bool:
    """Whether BN statistics are re-estimated for a graft."""
    return "reestimated" in tile.options.statistics and bool(norms_from(target, cut.layer))


def gram_part(tile: GraftTile, source: Source, part: Part, facts: DataFacts) -> float:
    """Operations of one source's Gram matrices and their factorisations."""
    sizes = _readings(tile, source, part).values()
    return sum(spectrum_flops(size, facts.train) for size in sizes)


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


def _readings(tile: GraftTile, source: Source, part: Part) -> dict[Reading, ArmSizes]:
    """The sizes of what is read of a source."""
    net, target = _net(tile, source.snapshot), _net(tile, part.targets[0])
    return {reading(target, arm): arm_sizes(net, target, arm) for arm in all_arms(part.cuts)}


def widest_reading(tile: GraftTile) -> int:
    """The largest d of any fit in a tile."""
    part = whole(tile)
    return max(size.dim for source in part.sources for size in _readings(tile, source, part).values())


def _net(tile: GraftTile, index: int) -> Architecture:
    return tile.snapshots[index].net.architecture


def arm_flops(source: Architecture, target: Architecture, arm: Arm) -> float:
    """Operations of one image's cross term, or of its prediction."""
    sizes = arm_sizes(source, target, arm)
    return 2.0 * sizes.dim * sizes.out * sizes.positions


def joint_flops(source: Architecture, target: Architecture, cut: Cut) -> float:
    """Operations that give one image's `z_l` and shortcuts of a grafted net, from the source's features."""
    fitted = sum(arm_flops(source, target, arm) for arm in cut.arms)
    if cut.method != "stitch":
        return fitted
    projected = projection_sizes(target)
    own = [projected[n] for n in shortcuts_past(target, cut.layer) if n in projected]
    return fitted + sum(map_flops(sizes) for sizes in [layer_sizes(target)[cut.layer - 1], *own])


def part_memory(tile: GraftTile, part: Part, facts: DataFacts, factored: int) -> int:
    """Bytes at the peak of a part: Gram matrices and factors, cross terms and weights, a batch's features.

    `factored` counts the sources whose factors are held, those of earlier parts included.
    """
    sources = {gram_source(source) for source in part.sources}
    read = [size for source in sources for size in _readings(tile, source, part).values()]
    grams = [size.dim * kept_rank(size, facts.train) for size in read]
    ridges = bool(tile.options.ridges)  # then the held-back images have sums of their own
    squares = (2 + ridges) * sum(grams) * factored / len(sources) + 4 * max(grams)
    ends, arms = pair_ends(tile, part), all_arms(part.cuts)
    solved = [(arm_sizes(*nets, arm), count) for nets, count in ends.items() for arm in arms]
    by_adam = any(cut.by_adam for cut in part.cuts)
    # Of a map of Adam's: weight, two moments and their copy in float64.
    crosses = (2 + ridges + 3 * by_adam) * sum(count * size.dim * size.out for size, count in solved)
    again = any(reestimated(tile, target, cut) for _, target in ends for cut in part.cuts)
    frame = _net(tile, part.targets[0])
    images = mixed_batch(frame) if again else images_per_batch(frame)
    images = min(max(images, ADAM_BATCH) if by_adam else images, max(facts.train, facts.test))
    unfolded = images * unfolded_bytes(tile.options, read[: len(read) // len(sources)])
    variants = 1 + len({source.variant for source in part.sources if source.variant != "plain"})
    goals = [(size, min(count, variants * len(part.targets))) for size, count in solved]
    by_rows = row_bytes(tile.options, facts.train, variants * read, goals, factored / len(sources))
    features = sum(
        count * sum(size.inputs + size.out * size.positions for size in layer_sizes(net))
        for net, count in passes(tile, part)
    )
    return int(8 * (squares + crosses) + by_rows + unfolded + 4 * images * features)


def unfolded_bytes(options: GraftOptions, read: Sequence[ArmSizes]) -> int:
    """Bytes for one image of what the fits of one source make of its features.

    Each reading keeps its patches in float64 while the batch lasts, or its maps where nothing is unfolded;
    two copies more of the largest are in the making.
    """
    kept = [8 * size.positions * size.dim for size in read]
    for place, size in enumerate(read):
        if size.map.kind == "conv" and size.map.stride == 1 and in_float32(options.products, size.shape[0]):
            kept[place] = 4 * size.shape[0] * size.shape[1] * size.shape[2]
    return sum(kept) + 2 * max(kept)
