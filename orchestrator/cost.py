"""What a job costs, by a model: floating-point operations, bytes read, peak memory.

The operations are checked against PyTorch's own counter in the tests, the memory against measured peaks.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.architectures import (
    Shape,
    images_per_batch,
    input_shapes,
    output_size,
    parameter_count,
    patch_dim,
)
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
    sizes: list[LayerSizes] = []
    for layer, shape in zip(architecture.layers, input_shapes(architecture), strict=True):
        height, width = output_size(layer, shape)
        dim, inputs = patch_dim(layer, shape), shape[0] * shape[1] * shape[2]
        sizes.append(LayerSizes(dim, layer.out, height * width, inputs, gram_flops(layer, shape)))
    return sizes


def gram_flops(layer: Layer, shape: Shape) -> float:
    """Operations of one image's Gram matrix of patches; borders, which are small, left out."""
    channels, height, width = shape
    if layer.kind == "dense":
        return 2.0 * (channels * height * width) ** 2
    down, right = min(layer.kernel, height) - 1, min(layer.kernel, width) - 1
    lags = right + 1 + down * (2 * right + 1)
    return 2.0 * lags * channels**2 * (height + down) * (width + right)


def forward_flops(architecture: Architecture, first: int = 1) -> float:
    """Operations of the linear maps of layers `first` to L for one image."""
    return sum(2.0 * s.dim * s.out * s.positions for s in layer_sizes(architecture)[first - 1 :])


def snapshot_bytes(architecture: Architecture) -> int:
    """Bytes of a snapshot: float32 parameters and about a page of metadata."""
    return 4 * parameter_count(architecture) + 4096


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
    flops -= epochs * facts.train * 2.0 * first.dim * first.out * first.positions
    features = sum(2 * s.out * s.positions + s.inputs for s in layer_sizes(architecture))
    images = max(segment.snapshot.net.recipe.batch_size * 2, 1024)
    memory = BASE_BYTES + 2 * image_bytes(facts) + 20 * parameter_count(architecture) + 4 * images * features
    bytes_in = 0 if segment.start is None else 2 * snapshot_bytes(architecture)
    return Cost(flops, bytes_in, memory)


def graft_cost(tile: GraftTile, facts: DataFacts) -> Cost:
    """Cost of a tile: forward passes, Gram matrices once per source, cross terms and tops once per pair.

    A net that is both source and target goes forward in both roles.
    """
    architecture = tile.snapshots[0].net.architecture
    sizes = layer_sizes(architecture)[1:]
    sources = {
        (p.source, p.null if p.null in ("permuted", "shuffled_images") else "plain") for p in tile.pairs
    }
    # Shuffled images have the Gram matrix of the plain ones, which go forward for it.
    with_gram = {(source, "permuted" if variant == "permuted" else "plain") for source, variant in sources}
    grams, passes = len(with_gram), len(sources | with_gram) + len({p.target for p in tile.pairs})
    images = facts.train + facts.test
    flops = passes * images * forward_flops(architecture)
    for number, s in enumerate(sizes, start=2):
        flops += grams * (s.gram_flops * facts.train + 9.0 * s.dim**3)
        flops += len(tile.pairs) * 2.0 * s.dim * s.out * s.positions * images
        if number < architecture.depth:
            flops += len(tile.pairs) * facts.test * forward_flops(architecture, number + 1)
    bytes_in = len(tile.snapshots) * snapshot_bytes(architecture)
    return Cost(flops, bytes_in, graft_memory(tile, facts, grams, passes))


def graft_memory(tile: GraftTile, facts: DataFacts, grams: int, passes: int) -> int:
    """Bytes at the peak: Gram matrices and their factors, cross terms and weights, one batch's features."""
    architecture = tile.snapshots[0].net.architecture
    sizes = layer_sizes(architecture)[1:]
    squares = 2 * grams * sum(s.dim**2 for s in sizes) + 4 * max(s.dim**2 for s in sizes)
    crosses = 2 * len(tile.pairs) * sum(s.dim * s.out for s in sizes)
    images = images_per_batch(architecture)
    patches = 3 * max(images * s.positions * s.dim for s in sizes)
    features = passes * images * sum(s.inputs + s.out * s.positions for s in layer_sizes(architecture))
    held = passes * 4 * parameter_count(architecture) + image_bytes(facts) * 2
    return BASE_BYTES + held + 8 * (squares + crosses + patches) + 4 * features
