"""How maps of 3x3 convs are cut in tiles for minimal filtering (`tasks.winograd`), and what that takes.

Legend: tiles of m x m outputs, P = (m+2)^2 planes, C channels read, O channels written.
"""

from __future__ import annotations

from tasks.architectures import Shape, input_shapes, output_size
from tasks.spec import Architecture, Layer
from tasks.toom_cook import TAPS

POINTS = {2: (0, 1, -1), 4: (0, 1, -1, 2, -2)}
"""By m: where polynomials are evaluated, beside infinity."""

SMALL = 2
"""Maps up to this height or width are cut in tiles of m = 2, others of m = 4."""

CHANNELS = 16
"""Numbers of channels are multiples of so many: a vector."""

FEWEST_CHANNELS = 32
"""Read and written: of fewer, the transforms take what the products spare (measured)."""


def suits(layer: Layer, shape: Shape) -> bool:
    """Whether a layer that reads `shape` (C, H, W) is such a conv, and wide enough to be faster so."""
    return (
        layer.kind == "conv"
        and (layer.kernel, layer.stride, layer.padding) == (TAPS, 1, 1)
        and all(size >= FEWEST_CHANNELS and size % CHANNELS == 0 for size in (shape[0], layer.out))
    )


def outputs_of(height: int, width: int) -> int:
    """m, for a map of this size."""
    return 2 if min(height, width) <= SMALL else 4


def planes_of(m: int) -> int:
    """P."""
    return (m + TAPS - 1) ** 2


def filter_bytes(architecture: Architecture) -> int:
    """What a step holds of filters as planes (P, O, C): every conv's, and two more of one in work."""
    each = [
        4 * planes_of(outputs_of(*output_size(layer, shape))) * shape[0] * layer.out
        for layer, shape in zip(architecture.layers, input_shapes(architecture), strict=True)
        if suits(layer, shape)
    ]
    return sum(each) + 2 * max(each, default=0)
