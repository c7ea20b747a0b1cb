"""Matrix products of planes, as machine code (`tasks.kernels.vector_code`).

A plane holds one number of each tile and channel. Planes of `AT_ONCE` tiles at most are kept in the cache,
with 16 channels of a tile side by side: (channels / 16, P, AT_ONCE + 1, 16). Matrices are (P, panels, rows,
columns of a panel), with 16 numbers more before the next plane's, for the reason of `LINE`. A block of
results stays in registers while its terms are added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from espalier.tasks.kernels.tiling import AT_ONCE, CHANNELS
from espalier.tasks.kernels.vector_code import REGISTERS, Code, Total, Value

LINE = (AT_ONCE + 1) * CHANNELS
"""Numbers from one plane to the next: an odd number of lines of the cache, since planes that lie a power of 2
apart would share few of them."""

SPARE = 16
"""Registers for factors, where there are more."""


@dataclass(frozen=True)
class Planes:
    """Where planes begin, and how many there are of a channel."""

    start: Value
    count: int

    def at(self, vector: Value, plane: Value | int, tile: Value) -> Value:
        """Where the `vector`-th 16 channels of a tile lie in one plane."""
        return self.start + vector * (self.count * LINE) + tile * CHANNELS + plane * LINE

    @property
    def apart(self) -> int:
        """Numbers from one plane to the next."""
        return LINE

    @staticmethod
    def numbers(channels: int, count: int) -> int:
        """How many numbers such planes are."""
        return channels // CHANNELS * count * LINE


@dataclass(frozen=True)
class Stacks:
    """Planes one after another, each of the channels of many nets: (P, channels / 16, tiles and one, 16).

    `apart` numbers lie from one plane to the next, `line` from 16 channels to the next.
    """

    start: Value
    apart: Value
    line: Value

    def at(self, vector: Value, plane: Value | int, tile: Value) -> Value:
        """Where the `vector`-th 16 channels of a tile lie in one plane."""
        return self.start + self.apart * plane + self.line * vector + tile * CHANNELS


@dataclass(frozen=True)
class Block:
    """Results that are added up in registers at once: `rows` of `vectors` vectors."""

    rows: int
    vectors: int

    def over(self, tiles: Value) -> Value:
        """How many blocks so many rows take."""
        return (tiles + (self.rows - 1)).over(self.rows)

    def totals(self, code: Code) -> list[list[Total]]:
        """Zeros to begin with, by row."""
        return [[code.total() for _ in range(self.vectors)] for _ in range(self.rows)]


@dataclass(frozen=True)
class Matrices:
    """Where matrices begin, one for each plane, in panels of as many columns as a block has."""

    start: Value
    rows: Value
    columns: Value
    size: Block

    @property
    def panels(self) -> Value:
        """How many."""
        return self.columns.over(self.size.vectors * CHANNELS)

    def at(self, plane: Value | int, row: Value, panel: Value) -> Value:
        """Where a row begins in a panel."""
        apart = self.rows * self.columns + CHANNELS
        line = (panel * self.rows + row) * (self.size.vectors * CHANNELS)
        return self.start + apart * plane + line

    @staticmethod
    def numbers(count: int, rows: int, columns: int) -> int:
        """How many numbers such matrices are."""
        return count * (rows * columns + CHANNELS)


def block(channels: int) -> Block:
    """The block for results of so many channels a row; its rows divide `CHANNELS` and `AT_ONCE`."""
    if REGISTERS <= SPARE:
        return Block(REGISTERS // 2, 1)
    totals = REGISTERS - SPARE
    return Block(totals // 2, 2) if channels % (2 * CHANNELS) == 0 else Block(totals, 1)


def times_matrices(code: Code, planes: Planes, matrices: Matrices, made: Planes, tiles: Value) -> None:
    """`made[t, o] = sum_c planes[t, c] matrices[c, o]` in every plane.

    Blocks may have more tiles than there are: `planes` are made zeros there, and so is what is made.
    """
    size = matrices.size
    blocks = size.over(tiles)
    _clear(code, planes, matrices.rows, tiles, blocks * size.rows - tiles)
    with code.loop(planes.count) as plane, code.loop(matrices.panels) as panel, code.loop(blocks) as down:
        totals, tile = size.totals(code), down * size.rows
        with code.loop(matrices.rows.over(CHANNELS)) as vector, code.loop(CHANNELS) as channel:
            line = matrices.at(plane, vector * CHANNELS + channel, panel)
            places = [line + number * CHANNELS for number in range(size.vectors)]
            add(code, totals, planes.at(vector, plane, tile) + channel, CHANNELS, places)
        for number in range(size.vectors):
            to = made.at(panel * size.vectors + number, plane, tile)
            for row, line in enumerate(totals):
                code.store(to + row * CHANNELS, line[number].value)


def add_products(code: Code, ones: Planes, others: Planes, sums: Matrices, tiles: Value) -> None:
    """`sums[o, c] += sum_t ones[t, o] others[t, c]` in every plane."""
    size = sums.size
    down = sums.rows.over(CHANNELS), CHANNELS // size.rows
    with (
        code.loop(ones.count) as plane,
        code.loop(down[0]) as vector,
        code.loop(down[1]) as part,
        code.loop(sums.panels) as panel,
    ):
        totals, row, first = size.totals(code), part * size.rows, panel * size.vectors
        with code.loop(tiles) as tile:
            places = [others.at(first + number, plane, tile) for number in range(size.vectors)]
            add(code, totals, ones.at(vector, plane, tile) + row, 1, places)
        for below, line in enumerate(totals):
            to = sums.at(plane, vector * CHANNELS + row + below, panel)
            for number, total in enumerate(line):
                place = to + number * CHANNELS
                code.store(place, code.load(place) + total.value)


def _clear(code: Code, planes: Planes, channels: Value, first: Value, count: Value) -> None:
    """Zeros where there are no tiles: other numbers might be denormal, with which processors are slow."""
    with (
        code.when(count.exceeds(0)),
        code.loop(channels.over(CHANNELS)) as vector,
        code.loop(planes.count) as plane,
        code.loop(count) as number,
    ):
        code.store(planes.at(vector, plane, first + number), code.number(0.0))


def add(
    code: Code, totals: Sequence[Sequence[Total]], ones: Value, apart: int, places: Sequence[Value]
) -> None:
    """Add one term: a number for each row, `apart` from one to the next, times vectors."""
    vectors = [code.load(place) for place in places]
    for row, line in enumerate(totals):
        one = code.load_one(ones + row * apart)
        for total, vector in zip(line, vectors, strict=True):
            total.add(one * vector)
