"""How maps of 3x3 convs are cut in tiles for minimal filtering (`tasks.kernels.winograd`), and its memory.

Legend: tiles of m x m outputs, P = (m+2)^2 planes, C channels read, O channels written.
"""

from __future__ import annotations

from math import prod

from espalier.tasks.kernels.toom_cook import TAPS
from espalier.tasks.networks.architectures import Shape, input_shapes, output_size
from espalier.tasks.spec import Architecture, Layer

POINTS = {2: (0, 1, -1), 4: (0, 1, -1, 2, -2)}
"""By m: where polynomials are evaluated, beside infinity."""

SMALL = 2
"""Maps up to this height or width are cut in tiles of m = 2, others of m = 4."""

CHANNELS = 16
"""Numbers of channels are multiples of this, the length of a vector."""

AT_ONCE = 64
"""Tiles whose planes are in use, and in the cache, at once: whole rows of tiles."""

CROSS_TILES = 128
"""Tiles whose planes are in use at once where many pairs of maps share them (`tasks.kernels.cross_sums`)."""

POOL = 2
"""Side of the squares that are pooled."""


def suits(layer: Layer, shape: Shape) -> bool:
    """Whether a layer that reads `shape` (C, H, W) is such a conv, of channels and a size for kernels."""
    return (
        layer.kind == "conv"
        and (layer.kernel, layer.stride, layer.padding) == (TAPS, 1, 1)
        and all(size and size % CHANNELS == 0 for size in (shape[0], layer.out))
        and tiles_of(*output_size(layer, shape))[1] <= AT_ONCE
    )


def outputs_of(height: int, width: int) -> int:
    """m, for a map of this size."""
    return 2 if min(height, width) <= SMALL else 4


def tiles_of(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of tiles."""
    m = outputs_of(height, width)
    return -(-height // m), -(-width // m)


def strip_of(height: int, width: int) -> tuple[int, int]:
    """Lines, and pixels of a line, of what a row of tiles reads."""
    m, (_, columns) = outputs_of(height, width), tiles_of(height, width)
    return m + TAPS - 1, columns * m + TAPS - 1


def marks_of(height: int, width: int) -> tuple[int, int]:
    """Length of a line of marks (`tasks.kernels.zero_patches`), and how many rows in work have at most."""
    m, (_, columns) = outputs_of(height, width), tiles_of(height, width)
    pitch = columns * m + TAPS - 1
    # Vectors of outputs may read so many more.
    return -(-(pitch + CHANNELS) // CHANNELS) * CHANNELS, AT_ONCE // columns * m


def planes_of(m: int) -> int:
    """P."""
    return (m + TAPS - 1) ** 2


def work_bytes(architecture: Architecture) -> int:
    """Bytes that a step holds beside maps: a conv's filters and their gradients, planes, strips and marks."""
    convs = [
        (shape[0], layer.out, output_size(layer, shape))
        for layer, shape in zip(architecture.layers, input_shapes(architecture), strict=True)
        if suits(layer, shape)
    ]
    filters = [2 * planes_of(outputs_of(*size)) * read * out for read, out, size in convs]
    # Room for planes is kept from one conv to the next.
    room = [planes_of(outputs_of(*size)) * (AT_ONCE + 1) * (read + out) for read, out, size in convs]
    strips = [prod(strip_of(*size)) * (read + 2 * CHANNELS) for read, _, size in convs]
    marks = [prod(marks_of(*size)) for _, _, size in convs]
    return 4 * sum(max(numbers, default=0) for numbers in (filters, room, strips, marks))


def cross_bytes(size: tuple[int, int], read: int, written: int, products: int) -> int:
    """Bytes of work beside the sums of cross terms (`tasks.kernels.cross_sums`), for maps of `size` (H, W).

    `read` and `written` count the channels of all nets, `products` C x O of all pairs.
    """
    planes, (_, columns) = planes_of(outputs_of(*size)), tiles_of(*size)
    tiles = max(1, CROSS_TILES // columns) * columns + 1
    return 4 * (planes * tiles * (read + written) + (planes + TAPS**2) * products)


def filter_bytes(architecture: Architecture) -> int:
    """Bytes of the filters of all convs that are taken."""
    layers = zip(architecture.layers, input_shapes(architecture), strict=True)
    return 4 * sum(
        planes_of(outputs_of(*output_size(layer, shape))) * shape[0] * layer.out
        for layer, shape in layers
        if suits(layer, shape)
    )
