"""Networks as layer lists: their shapes, tensors and sizes (plain Python)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal

from espalier.tasks.spec import Architecture, Layer

Shape = tuple[int, int, int]
ConvEntry = int | Literal["pool"]

STATISTICS_OF_BN = ("running_mean", "running_var")
"""The tensors of a BN that training measures rather than trains."""


class ArchitectureError(ValueError):
    """A layer list that does not make a network."""

    hopeless = True


def checked(image: Shape, layers: Sequence[Layer]) -> Architecture:
    """The architecture of these layers, if its shapes fit."""
    architecture = Architecture(image, tuple(layers))
    input_shapes(architecture)
    return architecture


def shapes_of(architecture: Architecture) -> list[Shape]:
    """Shape (channels, height, width) of `h_0`, the image, to `h_L`; a dense layer gives (out, 1, 1).

    Raises:
        ArchitectureError: A layer's map is smaller than 1x1, or a shortcut does not fit what it is added to.
    """
    shapes = [architecture.input]
    for number, layer in enumerate(architecture.layers, start=1):
        height, width = output_size(layer, shapes[-1])
        _check_shortcut(number, layer, (layer.out, height, width), shapes)
        shape = (layer.out, height // layer.pool, width // layer.pool)
        if min(shape) < 1:
            raise ArchitectureError(
                f"layer {number} ({layer.kind}, {layer.out} channels, pool {layer.pool}) turns a map of "
                f"{height}x{width} into {shape[1]}x{shape[2]}: pool less often for images of "
                f"{architecture.input[1]}x{architecture.input[2]}"
            )
        shapes.append((layer.out, 1, 1) if layer.global_pool else shape)
    return shapes


def _check_shortcut(number: int, layer: Layer, output: Shape, shapes: Sequence[Shape]) -> None:
    shortcut = layer.shortcut
    if shortcut is None:
        return
    if not 0 <= shortcut.reads < number:
        raise ArchitectureError(
            f"the shortcut of layer {number} reads h of layer {shortcut.reads}: "
            f"it must lie below, 0 to {number - 1}"
        )
    given = shapes[shortcut.reads]
    if shortcut.projection:
        given = (layer.out, *output_size(shortcut_map(layer), given))
    if given != output:
        raise ArchitectureError(
            f"the shortcut of layer {number} gives {given} where the layer gives {output} "
            "(channels, height, width): a projection with the right stride would do"
        )


def input_shapes(architecture: Architecture) -> list[Shape]:
    """Shape (channels, height, width) of every layer's input.

    Raises:
        ArchitectureError: As `shapes_of`.
    """
    return shapes_of(architecture)[:-1]


def output_size(layer: Layer, shape: Shape) -> tuple[int, int]:
    """Height and width of `z_l`, before pooling, for an input of `shape`; 1x1 for a dense layer."""
    if layer.kind == "dense":
        return (1, 1)
    grown = [(size + 2 * layer.padding - layer.kernel) // layer.stride + 1 for size in shape[1:]]
    return grown[0], grown[1]


def shortcut_map(layer: Layer) -> Layer:
    """The projection of a layer's shortcut, as a linear map of its own."""
    if layer.shortcut is None or not layer.shortcut.projection:
        raise ArchitectureError("a layer without a projection has no map on its shortcut")
    return Layer("conv", layer.out, activation="none", stride=layer.shortcut.stride)


def weight_shape(layer: Layer, shape: Shape) -> tuple[int, ...]:
    """Shape of the weight for an input of `shape`: (out, in, k, k) of a conv, (out, in) of a dense layer."""
    channels, height, width = shape
    if layer.kind == "dense":
        return (layer.out, channels * height * width)
    return (layer.out, channels, layer.kernel, layer.kernel)


def patch_dim(layer: Layer, shape: Shape) -> int:
    """d, the number of inputs of one output channel."""
    return prod(weight_shape(layer, shape)[1:])


def parameter_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Every tensor of a net by its name (docs/checkpoints.md), in the order of the layers.

    >>> net = Architecture((1, 4, 4), (Layer("conv", 2, 3, 1, batch_norm=True),))
    >>> list(parameter_shapes(net))[2:]
    ['layers.1.bn.weight', 'layers.1.bn.bias', 'layers.1.bn.running_mean', 'layers.1.bn.running_var']
    """
    found: dict[str, tuple[int, ...]] = {}
    shapes = input_shapes(architecture)
    for number, (layer, shape) in enumerate(zip(architecture.layers, shapes, strict=True), start=1):
        name = f"layers.{number}"
        found |= _map_shapes(name, layer, shape, layer.batch_norm)
        if layer.shortcut is not None and layer.shortcut.projection:
            reads = shapes[layer.shortcut.reads]
            found |= _map_shapes(f"{name}.shortcut", shortcut_map(layer), reads, layer.shortcut.batch_norm)
    return found


def _map_shapes(name: str, layer: Layer, shape: Shape, batch_norm: bool) -> dict[str, tuple[int, ...]]:
    shapes = {f"{name}.weight": weight_shape(layer, shape), f"{name}.bias": (layer.out,)}
    parts = ("weight", "bias", *STATISTICS_OF_BN) if batch_norm else ()
    return shapes | {f"{name}.bn.{part}": (layer.out,) for part in parts}


def is_trained(name: str) -> bool:
    """Whether a tensor is a parameter, rather than a statistic of BN."""
    return not name.endswith(STATISTICS_OF_BN)


def is_map_weight(name: str) -> bool:
    """Whether a tensor is the weight of a linear map: these are what the regularizer acts on."""
    return name.endswith(".weight") and not name.endswith(".bn.weight")


def parameter_count(architecture: Architecture) -> int:
    """Trained numbers of all layers: weights and biases, of BN too."""
    return sum(prod(shape) for name, shape in parameter_shapes(architecture).items() if is_trained(name))


def stored_count(architecture: Architecture) -> int:
    """Numbers in a snapshot: the trained ones and BN's statistics."""
    return sum(prod(shape) for shape in parameter_shapes(architecture).values())


EVALUATION_BYTES = 2_500_000
"""Bytes of one layer's activations (a mean over layers) for a batch in evaluation: about what caches hold."""
EVALUATION_BATCHES = (64, 1024)
"""The least and the most images of such a batch."""


def evaluation_batch(architecture: Architecture) -> int:
    """How many images go through a net together where it is only evaluated.

    One core of an EPYC took twice as long for 1024 images of 28x28 at 16 channels as for batches of 64, and
    twice as long for batches of 64 images of 8x8 at 8 channels as for 1024. On a GPU it was not measured.
    """
    shapes = zip(architecture.layers, input_shapes(architecture), strict=True)
    bytes_each = 4 * sum(layer.out * prod(output_size(layer, shape)) for layer, shape in shapes)
    least, most = EVALUATION_BATCHES
    return min(most, max(least, EVALUATION_BYTES * architecture.depth // bytes_each))


MAP_NUMBERS = 1 << 20
"""Of a batch's largest map. Fits of nets of width 12 on CIFAR-10 take 0.88 of the time of batches of 16."""


def images_per_batch(architecture: Architecture) -> int:
    """How many images go through the nets of a tile together: a map of theirs takes 4 MB, as caches hold.

    At least 16 images, and at most 65,536 positions of the input: more would spare little time.
    """
    layers = zip(architecture.layers, input_shapes(architecture), strict=True)
    most = max(max(prod(shape), layer.out * prod(output_size(layer, shape))) for layer, shape in layers)
    _, height, width = architecture.input
    return max(16, min(MAP_NUMBERS // most, 65_536 // (height * width)))


def mixed_batch(architecture: Architecture) -> int:
    """Images of a batch on which BN's statistics are re-estimated: as many as in training, or more."""
    _, height, width = architecture.input
    return max(64, 16_384 // (height * width))
