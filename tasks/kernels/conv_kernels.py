"""The kernels of `tasks.kernels.winograd`: transforms, products and what is fused with them, all in one pass.

A few rows of tiles are in work at once. Their numbers go from the map to strips (`tasks.kernels.strips`),
from there to planes, through the products (`tasks.kernels.plane_products`) and back, and never leave the
cache between.

Legend: m x m outputs of a tile, P planes, N images, H x W positions, C channels read, O written; matrices as
in `tasks.kernels.toom_cook`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache
from math import inf

from espalier.tasks.kernels.plane_products import Block, Matrices, Planes, add_products, times_matrices
from espalier.tasks.kernels.strips import BORDER, OVERLAP, Group, Map, Row, Strip, Tiles
from espalier.tasks.kernels.tile_transforms import both_sides
from espalier.tasks.kernels.tiling import CHANNELS, POINTS, planes_of
from espalier.tasks.kernels.toom_cook import TAPS, matrices, transposed
from espalier.tasks.kernels.vector_code import Code, Kernel, Value
from espalier.tasks.kernels.zero_patches import ZeroPatches

SIZES = 10
"""N, H, W, rows and columns of tiles, rows of tiles in work at once, C, O, and 1 or 0: rectified, pooled."""

FILTER_SIZES = 4
"""Rows, columns, and how many numbers lie from a row to the next and from one of the 9 taps to the next."""


@cache
def forward(m: int, size: Block) -> Kernel:
    """`(h, filters, bias, z, winners, zeros, beyond, *work)`.

    `filters` are matrices C x O (`tasks.kernels.plane_products`, of blocks of `size`). `z` and `winners` are
    (N, H, W, O), or of half the height and width when pooled; `winners` are written then alone. There are C
    `zeros`, and room for O numbers `beyond`. `work`: strips of h, zeros, and of z; planes of h and of z;
    `tasks.kernels.zero_patches.room`.
    """
    code = Code(13, SIZES, CHANNELS)
    h, filters, bias, z, winners, zeros, beyond, *work = code.arguments[:13]
    cut = _Arguments(code, m)
    strip_h, strip_z = (Strip(cut.tiles, start) for start in work[:2])
    planes_h, planes_z = (Planes(start, planes_of(m)) for start in work[2:4])
    zero_patches = ZeroPatches(cut.tiles, *work[4:])
    map_h, (map_z, won) = cut.read(h), cut.written(z, winners)
    factors = Matrices(filters, cut.channels, cut.outputs, size)
    a_t, _, b_t = (_floats(matrix) for matrix in matrices(POINTS[m]))
    for group in cut.tiles.groups(cut.together):
        for row in group.rows():
            zero_patches.find(map_h, row, zeros, cut.floor)
        for row, vector in cut.parts(group, cut.channels):
            strip_h.read(map_h, row, vector, zeros, BORDER, cut.floor)
            strip_h.to_planes(b_t, row, planes_h, vector)
        times_matrices(code, planes_h, factors, planes_z, group.size)
        for row, vector in cut.parts(group, cut.outputs):
            strip_z.from_planes(a_t, row, planes_z, vector)
            zero_patches.clear(strip_z, row, map_z.width)
            offset = code.load(bias + vector * CHANNELS)
            with code.when(cut.pooled.exceeds(0)):
                strip_z.pool(map_z.pooled(), won.pooled(), row, vector, beyond, offset)
            with code.when(cut.pooled.below(1)):
                strip_z.write(map_z, row, vector, beyond, offset)
    return code.compile()


@cache
def compared(m: int, size: Block) -> Kernel:
    """As `forward`, compared with a map: `(h, filters, bias, own, made, errors, zeros, beyond, *work)`.

    `own` is (N, H, W, O); `made` is z, or when pooled the ReLU of the largest of each square. To `errors`
    (groups, O) the squares of z - own are added, apart for each group of tiles in work at once. There are
    zeros for C or O numbers, whichever is more. `work`: strips of h, zeros, and of z; planes of h and of z.
    """
    code = Code(12, SIZES, CHANNELS)
    h, filters, bias, own, made, errors, zeros, beyond, *work = code.arguments[:12]
    cut = _Arguments(code, m)
    strip_h, strip_z = (Strip(cut.tiles, start) for start in work[:2])
    planes_h, planes_z = (Planes(start, planes_of(m)) for start in work[2:])
    map_h, (map_own, map_z) = cut.read(h), cut.written(own, made)
    factors = Matrices(filters, cut.channels, cut.outputs, size)
    a_t, _, b_t = (_floats(matrix) for matrix in matrices(POINTS[m]))
    for group in cut.tiles.groups(cut.together):
        for row, vector in cut.parts(group, cut.channels):
            strip_h.read(map_h, row, vector, zeros, BORDER, cut.floor)
            strip_h.to_planes(b_t, row, planes_h, vector)
        times_matrices(code, planes_h, factors, planes_z, group.size)
        sums = errors + group.start.over(cut.together) * cut.outputs
        for row, vector in cut.parts(group, cut.outputs):
            strip_z.from_planes(a_t, row, planes_z, vector)
            strip_z.compare(map_own, row, vector, sums + vector * CHANNELS, bias, zeros)
            offset = code.load(bias + vector * CHANNELS)
            with code.when(cut.pooled.exceeds(0)):
                strip_z.pool(map_z.pooled(), None, row, vector, beyond, offset)
            with code.when(cut.pooled.below(1)):
                strip_z.write(map_z, row, vector, beyond, offset)
    return code.compile()


@cache
def backward(m: int, size: Block) -> Kernel:
    """The adjoint of `forward`: `(h, filters, g, winners, g_h, g_filters, g_bias, zeros, beyond, *work)`.

    `filters` and `g_filters` are matrices O x C; `g` and `winners` are like `z`. Gradients of filters and
    bias are added to what is there. There are C or O `zeros`, whichever is more, and room for C numbers
    `beyond`. `work`: strips of h and of g, zeros; C / 16 more for the gradient of h; planes of h and of g.
    """
    code = Code(14, SIZES, CHANNELS)
    h, filters, g, winners, g_h, g_filters, g_bias, zeros, beyond, *work = code.arguments[:14]
    cut = _Arguments(code, m)
    strip_h, strip_g, below = (Strip(cut.tiles, start) for start in work[:3])
    planes_h, planes_g = (Planes(start, planes_of(m)) for start in work[3:])
    map_h, map_g_h, (map_g, won) = cut.read(h), cut.read(g_h), cut.written(g, winners)
    factors, sums = (Matrices(start, cut.outputs, cut.channels, size) for start in (filters, g_filters))
    a_t, _, b_t = matrices(POINTS[m])
    for group in cut.tiles.groups(cut.together):
        for row, vector in cut.parts(group, cut.outputs):
            with code.when(cut.pooled.exceeds(0)):
                strip_g.spread(map_g.pooled(), won.pooled(), row, vector, zeros)
            with code.when(cut.pooled.below(1)):
                strip_g.read(map_g, row, vector, zeros, 0, code.number(-inf))
            strip_g.to_planes(_floats(transposed(a_t)), row, planes_g, vector)
        _add_sums(code, planes_g, _plane_of_sums(m), g_bias, cut.outputs, group.size)
        for row, vector in cut.parts(group, cut.channels):
            strip_h.read(map_h, row, vector, zeros, BORDER, cut.floor)
            strip_h.to_planes(_floats(b_t), row, planes_h, vector)
        add_products(code, planes_g, planes_h, sums, group.size)
        times_matrices(code, planes_g, factors, planes_h, group.size)
        for row, vector in cut.parts(group, cut.channels):
            strip = below.numbered(vector)
            strip.open(row)
            strip.from_planes(_floats(transposed(b_t)), row, planes_h, vector, OVERLAP)
            strip.close(map_g_h, map_h, row, vector, (zeros, beyond), cut.floor)
    return code.compile()


@cache
def to_filters(m: int, size: Block) -> Kernel:
    """`(weights, filters)`: matrices of rows x columns from weights, which lie as `FILTER_SIZES` says."""
    code = Code(2, FILTER_SIZES, CHANNELS)
    for taps, matrices_ in _filters(code, planes_of(m), size):
        planes = both_sides(_floats(matrices(POINTS[m]).g), [code.load(place) for place in taps])
        for place, value in zip(matrices_, planes, strict=True):
            code.store(place, value)
    return code.compile()


@cache
def from_filters(m: int, size: Block) -> Kernel:
    """`(weights, filters)`: the adjoint of `to_filters`."""
    code = Code(2, FILTER_SIZES, CHANNELS)
    for taps, matrices_ in _filters(code, planes_of(m), size):
        planes = [code.load(place) for place in matrices_]
        values = both_sides(_floats(transposed(matrices(POINTS[m]).g)), planes)
        for place, value in zip(taps, values, strict=True):
            code.store(place, value)
    return code.compile()


def _filters(code: Code, count: int, size: Block) -> Iterator[tuple[list[Value], list[Value]]]:
    """The body of a loop over 16 filters at once, where their taps and their planes lie: yields once."""
    weights, filters, rows, columns, row_apart, tap_apart = code.arguments
    made = Matrices(filters, rows, columns, size)
    with code.loop(made.panels) as panel, code.loop(rows) as row, code.loop(size.vectors) as vector:
        first = weights + (row * row_apart + (panel * size.vectors + vector) * CHANNELS)
        taps = [first + tap_apart * number for number in range(TAPS**2)]
        yield taps, [made.at(number, row, panel) + vector * CHANNELS for number in range(count)]


def _floats(rows: Sequence[Sequence[Fraction]]) -> list[list[float]]:
    return [[float(value) for value in row] for row in rows]


def _plane_of_sums(m: int) -> int:
    """The plane of a written map's gradient that is the sum of each tile: that of the point 1, twice."""
    one = POINTS[m].index(1)
    return one * (m + OVERLAP) + one


def _add_sums(code: Code, planes: Planes, plane: int, sums: Value, channels: Value, tiles: Value) -> None:
    """Add up a plane's tiles for each channel."""
    with code.loop(channels.over(CHANNELS)) as vector:
        total, place = code.total(), sums + vector * CHANNELS
        with code.loop(tiles) as tile:
            total.add(code.load(planes.at(vector, plane, tile)))
        code.store(place, code.load(place) + total.value)


class _Arguments:
    """A kernel's sizes, and what follows from them."""

    def __init__(self, code: Code, m: int) -> None:
        images, self._height, self._width, rows, columns, *more = code.arguments[-SIZES:]
        self.together, self.channels, self.outputs, rectified, self.pooled = more
        self.tiles = Tiles(code, m, images, rows, columns)
        self.floor = rectified.exceeds(0).choose(code.number(0.0), -inf)
        """Of what is read of `h`: 0 with the ReLU."""

    def read(self, start: Value) -> Map:
        """A map like `h`."""
        return Map(start, self._height, self._width, self.channels)

    def written(self, *starts: Value) -> list[Map]:
        """Maps like `z` without pooling."""
        return [Map(start, self._height, self._width, self.outputs) for start in starts]

    def parts(self, group: Group, channels: Value) -> Iterator[tuple[Row, Value]]:
        """The body of a loop over vectors of channels and the group's rows: yields once."""
        with self.tiles.code.loop(channels.over(CHANNELS)) as vector:
            for row in group.rows():
                yield row, vector
