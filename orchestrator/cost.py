"""What a job costs, by a model: floating-point operations, bytes read, peak memory.

The operations are checked against PyTorch's own counter in the tests, the memory against measured peaks.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.architectures import (
    Shape,
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
from tasks.cuts import ADAM_BATCH, Arm, Cut, all_arms, arm_sizes, cuts, norms_from, reading, shortcuts_past
from tasks.images import DataFacts
from tasks.spec import Architecture, GraftTile, Layer, TrainSegment

BASE_BYTES = 700_000_000
"""A worker with Python, PyTorch and its optimizers, scikit-learn and Ray loaded, and nothing else."""


@dataclass(frozen=True)
class Cost:
    """Operations (a multiply-add is 2), bytes of snapshots read, and bytes of memory at the peak."""

    flops: float
    bytes_in: int
    memory: int


@dataclass(frozen=True)
class LayerSizes:
    """Sizes of one layer.

    Attributes:
        dim: d, inputs of one output channel.
        out: Output channels.
        positions: Positions of `z`.
        inputs: Channels x positions of the input.
        gram_flops: Operations of one image's patch Gram matrix, by lags for a conv (`tasks.lag_gram`).
    """

    dim: int
    out: int
    positions: int
    inputs: int
    gram_flops: float


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


def train_cost(segment: TrainSegment, facts: DataFacts) -> Cost:
    """Cost of a segment: three forward passes' worth per image and epoch, and the evaluations."""
    architecture = segment.snapshot.net.architecture
    epochs = segment.snapshot.epoch - (segment.start or 0)
    forward = forward_flops(architecture)
    flops = epochs * forward * (3 * facts.train + facts.test) + forward * (facts.train + facts.test)
    first = layer_sizes(architecture)[0]
    # The first layer's input needs no gradient.
    flops -= epochs * facts.train * map_flops(first)
    features = sum(2 * s.out * s.positions + s.inputs for s in layer_sizes(architecture))
    features += sum(
        2 * s.out * s.positions * (layer.batch_norm + (layer.shortcut is not None))
        for layer, s in zip(architecture.layers, layer_sizes(architecture), strict=True)
    )
    images = max(segment.snapshot.net.recipe.batch_size * 2, 1024)
    memory = BASE_BYTES + 2 * image_bytes(facts) + 20 * parameter_count(architecture) + 4 * images * features
    bytes_in = 0 if segment.start is None else 2 * snapshot_bytes(architecture)
    return Cost(flops, bytes_in, memory)


def graft_cost(tile: GraftTile, facts: DataFacts) -> Cost:
    """Cost of a tile: forward passes, Gram matrices once per source, cross terms and tops once per pair.

    A net that is both source and target goes forward in both roles.
    """
    architecture = tile.snapshots[0].net.architecture
    made = cuts(architecture, tile.options.methods)
    sources = {
        (p.source, p.null if p.null in ("permuted", "shuffled_images") else "plain") for p in tile.pairs
    }
    # Shuffled images have the Gram matrix of the plain ones, which go forward for it.
    with_gram = {(source, "permuted" if variant == "permuted" else "plain") for source, variant in sources}
    grams, passes = len(with_gram), len(sources | with_gram) + len({p.target for p in tile.pairs})
    flops = passes * (facts.train + facts.test) * forward_flops(architecture)
    flops += grams * gram_part(architecture, made, facts)
    for arm in all_arms(made):
        flops += len(tile.pairs) * facts.train * _arm_flops(architecture, arm)
        flops += len(tile.pairs) * len(tile.options.ridges) * trial_flops(architecture, arm)
    flops += adam_flops(tile, made, passes)
    again = [cut for cut in made if reestimated(tile, cut)]
    if again:
        flops += len(sources) * facts.train * forward_flops(architecture)
    for cut in made:
        chosen = len(tile.options.statistics) if norms_from(architecture, cut.layer) else 1
        joints = facts.test + (facts.train if cut in again else 0)
        suffixes = chosen * facts.test + (facts.train if cut in again else 0)
        flops += len(tile.pairs) * joints * joint_flops(architecture, cut)
        flops += len(tile.pairs) * suffixes * forward_flops(architecture, cut.layer + 1)
    bytes_in = len(tile.snapshots) * snapshot_bytes(architecture)
    return Cost(flops, bytes_in, graft_memory(tile, facts, grams, passes))


def reestimated(tile: GraftTile, cut: Cut) -> bool:
    """Whether the tile re-estimates BN statistics for a cut."""
    architecture = tile.snapshots[0].net.architecture
    return "reestimated" in tile.options.statistics and bool(norms_from(architecture, cut.layer))


def gram_part(architecture: Architecture, made: list[Cut], facts: DataFacts) -> float:
    """Operations of one source's Gram matrices and their factorisations."""
    shapes = {reading(architecture, arm): arm_sizes(architecture, arm) for arm in all_arms(made)}
    return sum(gram_flops(s.map, s.shape) * facts.train + 9.0 * s.dim**3 for s in shapes.values())


def trial_flops(architecture: Architecture, arm: Arm) -> float:
    """Operations of one ridge tried for one map: its solution, and both errors."""
    sizes = arm_sizes(architecture, arm)
    return 8.0 * sizes.dim**2 * sizes.out


def adam_flops(tile: GraftTile, made: list[Cut], passes: int) -> float:
    """Operations of Adam's steps: all nets forward, and each map forward and its gradient, for every batch.

    The gradient of a weight takes as many as the map itself; what follows on each number is left out.
    """
    architecture, options = tile.snapshots[0].net.architecture, tile.options
    arms = all_arms([cut for cut in made if cut.by_adam])
    maps = len(tile.pairs) * sum(2 * _arm_flops(architecture, arm) for arm in arms)
    shown = options.adam_epochs * options.adam_batches * ADAM_BATCH
    return shown * (passes * forward_flops(architecture) + maps) if arms else 0.0


def _arm_flops(architecture: Architecture, arm: Arm) -> float:
    sizes = arm_sizes(architecture, arm)
    return 2.0 * sizes.dim * sizes.out * sizes.positions


def joint_flops(architecture: Architecture, cut: Cut) -> float:
    """Operations that give one image's `z_l` and shortcuts of a grafted net, from the source's features."""
    fitted = sum(_arm_flops(architecture, arm) for arm in cut.arms)
    if cut.method != "stitch":
        return fitted
    projected = projection_sizes(architecture)
    own = [projected[n] for n in shortcuts_past(architecture, cut.layer) if n in projected]
    return fitted + sum(map_flops(sizes) for sizes in [layer_sizes(architecture)[cut.layer - 1], *own])


def graft_memory(tile: GraftTile, facts: DataFacts, grams: int, passes: int) -> int:
    """Bytes at the peak: Gram matrices and their factors, cross terms and weights, one batch's features."""
    architecture = tile.snapshots[0].net.architecture
    made = cuts(architecture, tile.options.methods)
    arms = [arm_sizes(architecture, arm) for arm in all_arms(made)]
    dims = {reading(architecture, arm): arm_sizes(architecture, arm).dim for arm in all_arms(made)}
    ridges = bool(tile.options.ridges)  # then the held-back images have sums of their own
    squares = (2 + ridges) * grams * sum(dim**2 for dim in dims.values()) + 4 * max(dims.values()) ** 2
    crosses = (2 + ridges) * len(tile.pairs) * sum(s.dim * s.out for s in arms)
    if any(cut.by_adam for cut in made):  # weight, two moments and their copy in float64
        crosses += 3 * len(tile.pairs) * sum(s.dim * s.out for s in arms)
    images = max(images_per_batch(architecture), ADAM_BATCH if any(cut.by_adam for cut in made) else 0)
    if any(reestimated(tile, cut) for cut in made):
        images = mixed_batch(architecture)
    patches = 3 * max(images * s.positions * s.dim for s in arms)
    features = passes * images * sum(s.inputs + s.out * s.positions for s in layer_sizes(architecture))
    held = passes * 4 * parameter_count(architecture) + image_bytes(facts) * (2 + ridges)
    return BASE_BYTES + held + 8 * (squares + crosses + patches) + 4 * features
