"""The kernels of `tasks.kernels.cross_sums`: maps to planes, products for many pairs, taps.

Legend: m x m positions of a tile, P planes, K tiles, N images, H x W positions, C channels read, O written;
matrices as in `tasks.kernels.toom_cook`.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import inf
from typing import Literal

from espalier.tasks.kernels.plane_products import Block, Stacks, add
from espalier.tasks.kernels.strips import BORDER, Group, Map, Strip, Tiles
from espalier.tasks.kernels.tile_transforms import both_sides
from espalier.tasks.kernels.tiling import CHANNELS, POINTS, planes_of
from espalier.tasks.kernels.toom_cook import TAPS, matrices, transposed
from espalier.tasks.kernels.vector_code import Code, Kernel

ENTRY = 5
"""Sizes of a pair in the table of `products`: where its C channels begin in a plane of what is read, C, where
its O channels begin in a plane of what is written, O, and where its sums begin."""


@cache
def to_planes(m: int, side: Literal["read", "written"]) -> Kernel:
    """`(map, planes, zeros, strip)`: planes of some rows of tiles.

    Sizes: N, H, W, rows and columns of tiles, the first row of all images' and how many, C, and how many
    numbers lie from a plane to the next and from 16 channels to the next (`Stacks`). Of what is read, tiles
    overlap and lie in zeros; of what is written they do not.
    """
    code = Code(4, 10, CHANNELS)
    map_, planes, zeros, strip = code.arguments[:4]
    images, height, width, rows, columns, first, count, channels, apart, line = code.arguments[4:]
    tiles, stacks = Tiles(code, m, images, rows, columns), Stacks(planes, apart, line)
    a_t, _, b_t = matrices(POINTS[m])
    matrix, border = (b_t, BORDER) if side == "read" else (transposed(a_t), 0)
    source, strip_ = Map(map_, height, width, channels), Strip(tiles, strip)
    group = Group(tiles, first, count)
    with code.loop(channels.over(CHANNELS)) as vector:
        for row in group.rows():
            strip_.read(source, row, vector, zeros, border, code.number(-inf))
            strip_.to_planes(_floats(matrix), row, stacks, vector)
    return code.compile()


@cache
def products(count: int, size: Block) -> Kernel:
    """`(read, written, sums, table)`: adds `sum_k read[k, c] written[k, o]` of each plane and pair.

    Sizes: K, pairs, and how many numbers lie from a plane to the next of `read`, of `written` and of `sums`,
    and from 16 channels to the next. `sums` of a pair are (C, O) in each plane.
    """
    code = Code(4, 6, CHANNELS)
    read, written, sums, table = code.arguments[:4]
    tiles, pairs, apart_read, apart_written, apart, line = code.arguments[4:]
    with code.loop(count) as plane, code.loop(pairs) as pair:
        entry = [code.load_size(table, pair * ENTRY + number) for number in range(ENTRY)]
        first, channels, second, outputs, place = entry
        ones = Stacks(read + first, apart_read, line)
        others = Stacks(written + second, apart_written, line)
        whole = sums + (apart * plane + place)
        with (
            code.loop(channels.over(CHANNELS)) as vector,
            code.loop(CHANNELS // size.rows) as part,
            code.loop(outputs.over(size.vectors * CHANNELS)) as panel,
        ):
            totals, row = size.totals(code), part * size.rows
            with code.loop(tiles) as tile:
                places = [others.at(panel * size.vectors + n, plane, tile) for n in range(size.vectors)]
                add(code, totals, ones.at(vector, plane, tile) + row, 1, places)
            for below, values in enumerate(totals):
                to = whole + (vector * CHANNELS + row + below) * outputs + panel * (size.vectors * CHANNELS)
                for number, total in enumerate(values):
                    at = to + number * CHANNELS
                    code.store(at, code.load(at) + total.value)
    return code.compile()


@cache
def to_taps(m: int) -> Kernel:
    """`(sums, taps)`: the 9 taps of each number from its P planes. Size: vectors of a plane."""
    code = Code(2, 1, CHANNELS)
    sums, taps, vectors = code.arguments
    matrix, apart = _floats(transposed(matrices(POINTS[m]).g)), vectors * CHANNELS
    with code.loop(vectors) as vector:
        planes = [code.load(sums + (apart * plane + vector * CHANNELS)) for plane in range(planes_of(m))]
        values = both_sides(matrix, planes)
        for tap in range(TAPS**2):
            code.store(taps + (apart * tap + vector * CHANNELS), values[tap])
    return code.compile()


def _floats(rows: list[list[Fraction]]) -> list[list[float]]:
    return [[float(value) for value in row] for row in rows]
