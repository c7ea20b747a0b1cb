"""Families of networks as layer lists, and the shapes that follow from one (plain Python)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tasks.spec import Architecture, Layer

Shape = tuple[int, int, int]
ConvEntry = int | Literal["pool"]


class ArchitectureError(ValueError):
    """A layer list that makes no network."""

    hopeless = True


def conv(entries: Sequence[ConvEntry], width: int, image: Shape, classes: int) -> Architecture:
    """The family `conv`: 3x3 convs with bias, padding 1 and ReLU, 2x2 max-pools, a dense classifier.

    Args:
        entries: Width multiples of the convs in order; `"pool"` pools the layer before it.
        width: A conv with entry m has m x width channels.
        image: Shape (channels, height, width) of the input.
        classes: Outputs of the classifier.

    Raises:
        ArchitectureError: No conv, a pool with nothing to pool, or pooling below 1x1.

    >>> [layer.out for layer in conv([1, "pool", 2], width=4, image=(1, 8, 8), classes=10).layers]
    [4, 8, 10]
    """
    layers: list[Layer] = []
    for position, entry in enumerate(entries, start=1):
        if entry != "pool":
            layers.append(Layer("conv", entry * width, kernel=3, padding=1))
        elif not layers or layers[-1].pool > 1:
            raise ArchitectureError(f"entry {position} of {list(entries)} is a pool that follows no conv")
        else:
            last = layers[-1]
            layers[-1] = Layer(last.kind, last.out, last.kernel, last.padding, pool=2)
    if not layers:
        raise ArchitectureError(
            f"{list(entries)} has no conv: give at least one width multiple, as in [1, 'pool', 2]"
        )
    layers.append(Layer("dense", classes, activation="none"))
    architecture = Architecture(image, tuple(layers))
    input_shapes(architecture)
    return architecture


def conv_label(entries: Sequence[ConvEntry]) -> str:
    """The family and its list without the width, as the tables' `architecture` column has it.

    >>> conv_label([1, 1, "pool", 2])
    'conv-1-1-p-2'
    """
    return "-".join(["conv", *("p" if entry == "pool" else str(entry) for entry in entries)])


def input_shapes(architecture: Architecture) -> list[Shape]:
    """Shape (channels, height, width) of every layer's input; a dense layer gives (out, 1, 1).

    Raises:
        ArchitectureError: A layer's map is smaller than 1x1.
    """
    shape, shapes = architecture.input, []
    for number, layer in enumerate(architecture.layers, start=1):
        shapes.append(shape)
        height, width = output_size(layer, shape)
        shape = (layer.out, height // layer.pool, width // layer.pool)
        if min(shape) < 1:
            raise ArchitectureError(
                f"layer {number} ({layer.kind}, {layer.out} channels, pool {layer.pool}) turns a map of "
                f"{height}x{width} into {shape[1]}x{shape[2]}: pool less often for images of "
                f"{architecture.input[1]}x{architecture.input[2]}"
            )
    return shapes


def output_size(layer: Layer, shape: Shape) -> tuple[int, int]:
    """Height and width of `z_l`, before pooling, for an input of `shape`; 1x1 for a dense layer."""
    if layer.kind == "dense":
        return (1, 1)
    grown = [size + 2 * layer.padding - layer.kernel + 1 for size in shape[1:]]
    return grown[0], grown[1]


def weight_shape(layer: Layer, shape: Shape) -> tuple[int, ...]:
    """Shape of the weight for an input of `shape`: (out, in, k, k) of a conv, (out, in) of a dense layer."""
    channels, height, width = shape
    if layer.kind == "dense":
        return (layer.out, channels * height * width)
    return (layer.out, channels, layer.kernel, layer.kernel)


def patch_dim(layer: Layer, shape: Shape) -> int:
    """d, the number of inputs of one output channel."""
    size = 1
    for extent in weight_shape(layer, shape)[1:]:
        size *= extent
    return size


def parameter_count(architecture: Architecture) -> int:
    """Weights and biases of all layers."""
    shapes = input_shapes(architecture)
    return sum(
        layer.out * (patch_dim(layer, shape) + 1)
        for layer, shape in zip(architecture.layers, shapes, strict=True)
    )


def images_per_batch(architecture: Architecture) -> int:
    """How many images go through the nets of a tile together: about 16,000 positions of the input.

    The patches of a 3x3 conv on 64 channels then take 75 MB in float64.
    """
    return max(16, 16_384 // (architecture.input[1] * architecture.input[2]))
