"""What one net costs, by a model: sizes of its layers, operations of a forward pass, bytes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from espalier.tasks.data.images import DataFacts
from espalier.tasks.networks.architectures import (
    Shape,
    evaluation_batch,
    input_shapes,
    output_size,
    parameter_shapes,
    patch_dim,
    shapes_of,
    shortcut_map,
    stored_count,
)
from espalier.tasks.spec import Architecture, Layer


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
def forward_flops(architecture: Architecture, first: int = 1, last: int | None = None) -> float:
    """Operations of one image's linear maps, from h of layer `first` - 1 to z of layer `last`, or of L.

    Layers, and projections on the shortcuts that start there.
    """
    end = last or architecture.depth
    total = sum(map_flops(sizes) for sizes in layer_sizes(architecture)[first - 1 : end])
    for number, sizes in projection_sizes(architecture).items():
        shortcut = architecture.layers[number - 1].shortcut
        if shortcut is not None and first - 1 <= shortcut.reads < end:
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


def evaluation_bytes(architecture: Architecture, facts: DataFacts) -> int:
    """Bytes of a batch in evaluation at its largest layer: what it reads, gives, and gives after the ReLU."""
    images = min(evaluation_batch(architecture), max(facts.train, facts.test))
    return 4 * images * max(size.inputs + 2 * size.out * size.positions for size in layer_sizes(architecture))


HALF_CHANNELS = 24
"""Mean channels of a layer at which operations take twice as long as in wide nets.

Passes over maps do not shrink with the products: grafts of the family `conv` on digits at widths 4 to 32,
with 300 and 1,000 images, are met within a factor of two (an Intel Xeon).
"""


@cache
def narrowness(architecture: Architecture) -> float:
    """How many times as long an operation takes as in a wide net."""
    hidden = [layer.out for layer in architecture.layers[:-1]] or [architecture.layers[-1].out]
    return 1.0 + (HALF_CHANNELS * len(hidden) / sum(hidden)) ** 2
