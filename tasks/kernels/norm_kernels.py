"""The passes over a map that batch normalisation takes with the ReLU and pooling after it, as machine code.

Maps are (N, H, W, C), channels last. Of each square of `side` x `side` positions one number is left after
pooling; `side` is 1 without. Kernels take their pointers, then N, rows and columns of squares, and C, a
multiple of `lanes`. Pointers to statistics and factors are to C numbers. A ReLU is on where `scale z + shift`
is above 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from espalier.tasks.kernels.vector_code import Code, Kernel, Value

Ends = Literal["plain", "relu", "pooled"]
"""BN alone, with the ReLU after it, or with the largest of each 2 x 2 square and its ReLU."""

SIZES = 4


def side_of(ends: Ends) -> int:
    """Side of the squares."""
    return 2 if ends == "pooled" else 1


def moments(lanes: int) -> Kernel:
    """`(map, sums, squares, share)`: of each image sum z and sum (z - mean)^2, (N, C).

    `share` is 1 / (H W).
    """
    code = Code(4, SIZES, lanes)
    map_, sums, squares, share, *sizes = code.arguments
    images, rows, columns, channels = sizes
    with code.loop(images) as image, code.loop(channels.over(lanes)) as block:
        channel = block * lanes
        start = map_ + (image * rows * columns * channels + channel)
        total, spread = code.total(), code.total()
        with code.loop(rows * columns) as pixel:
            total.add(code.load(start + pixel * channels))
        mean = total.value * code.load(share + channel)
        with code.loop(rows * columns) as pixel:
            off = code.load(start + pixel * channels) - mean
            spread.add(off * off)
        to = image * channels + channel
        code.store(sums + to, total.value)
        code.store(squares + to, spread.value)
    return code.compile()


def normalise(lanes: int, ends: Ends) -> Kernel:
    """`(map, made, scale, shift)`: `scale z + shift` and what follows.

    With pooling also `winners`, like `made`: which of a square was the largest, the first of equal ones, by 0
    to 3, row by row, and -1 where the ReLU is 0.
    """
    code = Code(4 + (ends == "pooled"), SIZES, lanes)
    map_, made, scale, shift, *more = code.arguments
    winners, sizes = more[:-SIZES], more[-SIZES:]
    with _squares(code, sizes, side_of(ends)) as at, code.loop(at.channels.over(lanes)) as block:
        channel = block * lanes
        factor, offset = code.load(scale + channel), code.load(shift + channel)
        z = [code.load(map_ + (pixel + channel)) * factor + offset for pixel in at.pixels]
        pooled, winner = code.pooled_relu(z)
        to = at.square + channel
        for mark in winners:
            code.store(mark + to, winner)
        code.store(made + to, z[0] if ends == "plain" else pooled)
    return code.compile()


def gradient_sums(lanes: int, ends: Ends) -> Kernel:
    """`(map, gradient, scale, shift, mean, sums, products)`: of each image sum g and sum g (z - mean).

    The sums are (N, C). g is the gradient of BN's own result, `gradient` that of what follows it. With
    pooling also `winners`.
    """
    code = Code(7 + (ends == "pooled"), SIZES, lanes)
    map_, gradient, scale, shift, mean, sums, products, *more = code.arguments
    winners, sizes = more[:-SIZES], more[-SIZES:]
    images, rows, columns, channels = sizes
    with code.loop(images) as image, code.loop(channels.over(lanes)) as block:
        channel = block * lanes
        factor, offset, centre = (code.load(part + channel) for part in (scale, shift, mean))
        total, product = code.total(), code.total()
        with code.loop(rows) as row, code.loop(columns) as column:
            at = _Square(sizes, (image, row, column), side_of(ends))
            z = [code.load(map_ + (pixel + channel)) for pixel in at.pixels]
            marks = [code.load(mark + (at.square + channel)) for mark in winners]
            whole = code.load(gradient + (at.square + channel))
            for value, g in zip(z, _shares(code, ends, whole, z, (factor, offset), marks), strict=True):
                total.add(g)
                product.add(g * (value - centre))
        to = image * channels + channel
        code.store(sums + to, total.value)
        code.store(products + to, product.value)
    return code.compile()


def gradient(lanes: int, ends: Ends) -> Kernel:
    """`(map, gradient, scale, shift, mean, slope, level, below)`: scale g + slope (z - mean) + level.

    With pooling also `winners`.
    """
    code = Code(8 + (ends == "pooled"), SIZES, lanes)
    map_, gradient_, scale, shift, mean, slope, level, below, *more = code.arguments
    winners, sizes = more[:-SIZES], more[-SIZES:]
    with _squares(code, sizes, side_of(ends)) as at, code.loop(at.channels.over(lanes)) as block:
        channel = block * lanes
        factor, offset, centre, tilt, base = (
            code.load(part + channel) for part in (scale, shift, mean, slope, level)
        )
        z = [code.load(map_ + (pixel + channel)) for pixel in at.pixels]
        marks = [code.load(mark + (at.square + channel)) for mark in winners]
        whole = code.load(gradient_ + (at.square + channel))
        shares = _shares(code, ends, whole, z, (factor, offset), marks)
        for pixel, value, g in zip(at.pixels, z, shares, strict=True):
            code.store(below + (pixel + channel), g * factor + (value - centre) * tilt + base)
    return code.compile()


def _shares(
    code: Code,
    ends: Ends,
    whole: Value,
    z: Sequence[Value],
    line: tuple[Value, Value],
    marks: Sequence[Value],
) -> list[Value]:
    """The gradient of what BN gives at each pixel of a square."""
    nothing = code.number(0.0)
    if ends == "pooled":
        return code.spread(whole, marks[0], len(z))
    if ends == "relu":
        factor, offset = line
        return [(value * factor + offset).exceeds(0.0).choose(whole, nothing) for value in z]
    return [whole]


class _Square:
    """Where a square's pixels begin in a map, and its own number in what is left of it."""

    def __init__(self, sizes: Sequence[Value], place: Sequence[Value], side: int) -> None:
        _, rows, columns, self.channels = sizes
        image, row, column = place
        line = image * rows + row
        self.square = (line * columns + column) * self.channels
        wide = columns * side
        self.pixels = [
            ((line * side + i) * wide + column * side + j) * self.channels
            for i in range(side)
            for j in range(side)
        ]


@contextmanager
def _squares(code: Code, sizes: Sequence[Value], side: int) -> Iterator[_Square]:
    """A loop over all squares."""
    images, rows, columns, _ = sizes
    with code.loop(images) as image, code.loop(rows) as row, code.loop(columns) as column:
        yield _Square(sizes, (image, row, column), side)
