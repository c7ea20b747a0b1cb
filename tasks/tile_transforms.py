"""Linear maps between small tiles of channels-last maps and planes, as machine code.

A map is (N, H, W, C). Its tiles, T in all, are squares whose corners lie `stride` apart, the first one
`offset` from the map's; they may overlap and reach past the border. A plane holds one number of each tile: P
planes are (P, T, C). With a matrix L, gathering makes planes L d L^T of tiles d, and scattering adds up tiles
L p L^T from planes p; each is the adjoint of the other with L transposed. A ReLU, or ReLU and pooling, may be
taken on the way.

Every kernel takes its pointers, then N, H, W (of its maps), rows and columns of tiles, C, a multiple of
`CHANNELS`, and how many numbers lie from one plane to the next. `zeros` are C of them, read past a map's
border; what would be written there goes to `beyond`, of C numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import pairwise

from tasks.tiling import CHANNELS
from tasks.vector_code import Code, Kernel, Value

Matrix = Sequence[Sequence[float]]

SIZES = 7
POOL = 2
"""Side of the squares that are pooled."""


def gather(matrix: Matrix, stride: int, offset: int, *, rectified: bool = False) -> Kernel:
    """A kernel `(map, planes, zeros)` that writes planes L d L^T; `rectified`: of the ReLU of the map."""
    code = Code(pointers=3, sizes=SIZES, lanes=CHANNELS)
    image, planes, zeros, *sizes = code.arguments
    side = len(matrix[0])
    for tile in _tiles(code, sizes, stride, offset):
        pixels = code.kept([tile.pixel(image, i, j, zeros) for i, j in _square(side)])
        with code.loop(tile.channels.over(CHANNELS)) as block:
            channel = block * CHANNELS
            d = [code.load(pixels(number) + channel) for number in range(side**2)]
            d = [_relu(code, value) for value in d] if rectified else d
            for number, value in enumerate(_both_sides(matrix, d)):
                code.store(tile.plane(planes, number) + channel, value)
    return code.compile()


def scatter(matrix: Matrix, stride: int, offset: int, *, masked: bool = False) -> Kernel:
    """A kernel `(map, planes, beyond, bias)` that writes tiles L p L^T plus `bias`, of C numbers.

    The map need not be cleared before. Where tiles overlap, the bias must be zeros. `masked`: the kernel is
    `(map, planes, beyond, bias, gate)` and writes zeros where the map `gate` is not above 0.
    """
    code = Code(pointers=4 + masked, sizes=SIZES, lanes=CHANNELS)
    image, planes, beyond, bias, *gate = code.arguments[: 4 + masked]
    side = len(matrix)
    for tile in _tiles(code, code.arguments[4 + masked :], stride, offset):
        places = [tile.pixel(image, i, j, beyond) for i, j in _square(side)]
        # Tiles come in rows from the top: what those before have written is added to, not replaced.
        written = [tile.written(i, j, overlap=side - stride) for i, j in _square(side)]
        before = [
            bias if seen is None else seen.choose(place, bias)
            for seen, place in zip(written, places, strict=True)
        ]
        place, there = code.kept(places), code.kept(before)
        gates = [code.kept([tile.pixel(map_, i, j, bias) for i, j in _square(side)]) for map_ in gate]
        with code.loop(tile.channels.over(CHANNELS)) as block:
            channel = block * CHANNELS
            p = [code.load(tile.plane(planes, k) + channel) for k in range(len(matrix[0]) ** 2)]
            for number, value in enumerate(_both_sides(matrix, p)):
                for at in gates:
                    value = code.load(at(number) + channel).exceeds(0.0).choose(value, code.number(0.0))
                code.store(place(number) + channel, value + code.load(there(number) + channel))
    return code.compile()


def scatter_pooled(matrix: Matrix, stride: int) -> Kernel:
    """A kernel `(map, planes, beyond, bias, winners)`: tiles L p L^T plus `bias`, pooled, then their ReLU.

    The maps are of half the tiles' height and width. `winners` (N, H, W, C) says by 0 to 3 which of a square,
    row by row, was the largest, the first of equal ones, and by -1 that the ReLU is 0 there.
    """
    code = Code(pointers=5, sizes=SIZES, lanes=CHANNELS)
    image, planes, beyond, bias, winners, *sizes = code.arguments
    side = stride // POOL
    for tile in _tiles(code, sizes, side, 0):
        places = code.kept([tile.pixel(image, i, j, beyond) for i, j in _square(side)])
        marks = code.kept([tile.pixel(winners, i, j, beyond) for i, j in _square(side)])
        with code.loop(tile.channels.over(CHANNELS)) as block:
            channel = block * CHANNELS
            p = [code.load(tile.plane(planes, k) + channel) for k in range(len(matrix[0]) ** 2)]
            z, offset = _both_sides(matrix, p), code.load(bias + channel)
            for number, members in enumerate(_pools(side)):
                pooled, winner = code.pooled_relu([z[k] + offset for k in members])
                code.store(marks(number) + channel, winner)
                code.store(places(number) + channel, pooled)
    return code.compile()


def gather_spread(matrix: Matrix, stride: int) -> Kernel:
    """A kernel `(map, planes, zeros, winners)`: planes L d L^T of what `scatter_pooled` made the map from.

    Each number goes to the winner of its square, and the others are zeros: the adjoint.
    """
    code = Code(pointers=4, sizes=SIZES, lanes=CHANNELS)
    image, planes, zeros, winners, *sizes = code.arguments
    side = stride // POOL
    for tile in _tiles(code, sizes, side, 0):
        pixels = code.kept([tile.pixel(image, i, j, zeros) for i, j in _square(side)])
        marks = code.kept([tile.pixel(winners, i, j, zeros) for i, j in _square(side)])
        with code.loop(tile.channels.over(CHANNELS)) as block:
            channel = block * CHANNELS
            d: dict[int, Value] = {}
            for number, members in enumerate(_pools(side)):
                value, winner = (code.load(at(number) + channel) for at in (pixels, marks))
                d |= zip(members, code.spread(value, winner, len(members)), strict=True)
            for number, value in enumerate(_both_sides(matrix, [d[k] for k in range(stride**2)])):
                code.store(tile.plane(planes, number) + channel, value)
    return code.compile()


def _square(side: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(side) for j in range(side)]


def _pools(side: int) -> list[list[int]]:
    """The numbers, in a tile, of each pooled square, row by row."""
    return [[(POOL * i + k) * POOL * side + POOL * j + m for k, m in _square(POOL)] for i, j in _square(side)]


def _relu(code: Code, value: Value) -> Value:
    """0 where it is below 0; NaN stays."""
    return code.number(0.0).exceeds(value).choose(code.number(0.0), value)


class _Tile:
    """One tile in a loop over all."""

    def __init__(self, sizes: Sequence[Value], place: Sequence[Value], stride: int, offset: int) -> None:
        _, self._height, self._width, rows, columns, self.channels, self._apart = sizes
        self._image, self._row, self._column = place
        self._top, self._left = self._row * stride + offset, self._column * stride + offset
        self._start = ((self._image * rows + self._row) * columns + self._column) * self.channels

    def pixel(self, map_: Value, i: int, j: int, outside: Value) -> Value:
        """Where the tile's pixel (i, j) lies in a map, or `outside`."""
        y, x = self._top + i, self._left + j
        at = map_ + ((self._image * self._height + y) * self._width + x) * self.channels
        return (y.below(self._height) & x.below(self._width)).choose(at, outside)

    def written(self, i: int, j: int, overlap: int) -> Value | None:
        """Whether a tile before this one has written its pixel (i, j); None if none can have."""
        said = [place.exceeds(0) for place, at in ((self._row, i), (self._column, j)) if at < overlap]
        return reduce(Value.__or__, said) if said else None

    def plane(self, planes: Value, number: int) -> Value:
        """The tile's numbers in a plane."""
        return planes + (self._apart * number + self._start)


def _tiles(code: Code, sizes: Sequence[Value], stride: int, offset: int) -> Iterator[_Tile]:
    """The body of a loop over all tiles: yields once."""
    images, _, _, rows, columns, *_ = sizes
    with code.loop(images) as image, code.loop(rows) as row, code.loop(columns) as column:
        yield _Tile(sizes, (image, row, column), stride, offset)


def _both_sides(matrix: Matrix, square: Sequence[Value]) -> list[Value]:
    """L d L^T, both squares row by row."""
    side = len(matrix[0])
    lines = [_product(matrix, square[j::side]) for j in range(side)]
    return [value for line in zip(*lines, strict=True) for value in _product(matrix, line)]


def _product(matrix: Matrix, values: Sequence[Value]) -> list[Value]:
    """L d, where columns or rows of L that differ in signs alone share what they can."""
    columns, values = [list(column) for column in zip(*matrix, strict=True)], list(values)
    for j in _alike(columns):
        columns[j], columns[j + 1] = _halves(columns[j], columns[j + 1])
        values[j], values[j + 1] = values[j] + values[j + 1], values[j] - values[j + 1]
    rows = [list(row) for row in zip(*columns, strict=True)]
    pairs = _alike(rows)
    for i in pairs:
        rows[i], rows[i + 1] = _halves(rows[i], rows[i + 1])
    made = [_combined(row, values) for row in rows]
    for i in pairs:
        made[i], made[i + 1] = made[i] + made[i + 1], made[i] - made[i + 1]
    return made


def _alike(lines: Sequence[Sequence[float]]) -> list[int]:
    """The first of each two neighbours that have the same numbers but for signs, not all of them the same."""
    found: list[int] = []
    for i, (one, other) in enumerate(pairwise(lines)):
        same = [abs(a) == abs(b) for a, b in zip(one, other, strict=True)]
        if all(same) and any(_halves(one, other)[0]) and any(_halves(one, other)[1]) and i - 1 not in found:
            found.append(i)
    return found


def _halves(one: Sequence[float], other: Sequence[float]) -> tuple[list[float], list[float]]:
    """Half of the sum and of the difference."""
    both = list(zip(one, other, strict=True))
    return [(a + b) / 2 for a, b in both], [(a - b) / 2 for a, b in both]


def _combined(weights: Sequence[float], values: Sequence[Value]) -> Value:
    """The sum of weights times values; zeros and ones cost nothing."""
    terms = [(weight, value) for weight, value in zip(weights, values, strict=True) if weight]
    (first, value), *others = sorted(terms, key=lambda term: term[0] != 1)
    total = value if first == 1 else value * first
    for weight, value in others:
        if abs(weight) == 1:
            total = total + value if weight == 1 else total - value
        else:
            total = total + value * weight
    return total
