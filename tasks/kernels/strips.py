"""Maps in strips, as machine code (`tasks.kernels.vector_code`): 16 channels of what one row of tiles covers.

Strips lie in the cache and include the zeros around a map, so tiles need no special case at borders. What
comes before and after a conv is done where numbers pass between maps and strips anyway.
A strip is (lines, pitch, 16). Maps are (N, H, W, C). Of lines past a map's border zeros are read, from
`outside`, and what is written goes there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from espalier.tasks.kernels.plane_products import Planes, Stacks
from espalier.tasks.kernels.tile_transforms import Matrix, both_sides
from espalier.tasks.kernels.tiling import CHANNELS, POOL
from espalier.tasks.kernels.toom_cook import TAPS
from espalier.tasks.kernels.vector_code import Code, Value

BORDER = TAPS // 2
OVERLAP = TAPS - 1
"""Lines and columns that a tile of a map that is read shares with the next."""


@dataclass(frozen=True)
class Line:
    """Where a line begins, and how far its pixels are apart."""

    start: Value
    step: Value | int

    def at(self, x: Value) -> Value:
        """Where a pixel lies."""
        return self.start + x * self.step


@dataclass(frozen=True)
class Map:
    """A map in memory."""

    start: Value
    height: Value
    width: Value
    channels: Value

    def line(self, image: Value, y: Value, vector: Value, outside: Value) -> Line:
        """The `vector`-th 16 channels of one line, or of `outside`, repeated for every pixel."""
        inside, channel = y.below(self.height), vector * CHANNELS
        start = self.start + ((image * self.height + y) * self.width * self.channels + channel)
        return Line(inside.choose(start, outside + channel), inside.choose(self.channels, 0))

    def pooled(self) -> Map:
        """A map of its squares."""
        return replace(self, height=self.height.over(POOL), width=self.width.over(POOL))


@dataclass(frozen=True)
class Row:
    """A row of tiles: whose image it is, which row there, and its first tile among those at once."""

    image: Value
    number: Value
    first: Value


@dataclass(frozen=True)
class Tiles:
    """How maps are cut: in `rows` x `columns` tiles of m x m outputs."""

    code: Code
    m: int
    images: Value
    rows: Value
    columns: Value

    @property
    def pitch(self) -> Value:
        """Pixels of a strip's line."""
        return self.columns * self.m + OVERLAP

    def groups(self, together: Value) -> Iterator[Group]:
        """The body of a loop over rows of tiles of all images, so many at once: yields once."""
        total = self.images * self.rows
        with self.code.loop((total + together - 1).over(together)) as group:
            start = group * together
            left = total - start
            yield Group(self, start, left.exceeds(together).choose(together, left))


@dataclass(frozen=True)
class Group:
    """Rows of tiles that are in work at once."""

    tiles: Tiles
    start: Value
    count: Value

    @property
    def size(self) -> Value:
        """Tiles."""
        return self.count * self.tiles.columns

    def rows(self) -> Iterator[Row]:
        """The body of a loop over them: yields once."""
        with self.tiles.code.loop(self.count) as number:
            at = self.start + number
            image = at.over(self.tiles.rows)
            yield Row(image, at - image * self.tiles.rows, number * self.tiles.columns)


@dataclass(frozen=True)
class Strip:
    """Where a strip lies."""

    tiles: Tiles
    start: Value

    def numbered(self, number: Value) -> Strip:
        """The `number`-th of strips that lie one after another, each with all lines of a row of tiles."""
        size = self.tiles.pitch * (self.tiles.m + OVERLAP) * CHANNELS
        return replace(self, start=self.start + number * size)

    def line(self, number: int, column: int = 0) -> Line:
        """One of its lines, from a column on."""
        return Line(self.start + (self.tiles.pitch * number + column) * CHANNELS, CHANNELS)

    def to_planes(self, matrix: Matrix, row: Row, planes: Planes | Stacks, vector: Value) -> None:
        """Planes `L d L^T` of each tile d, with its corner at the strip's."""
        code, side = self.tiles.code, len(matrix[0])
        with code.loop(self.tiles.columns) as column:
            d = [code.load(place) for place in self._tile(column, side)]
            to = planes.at(vector, 0, row.first + column)
            for number, value in enumerate(both_sides(matrix, d)):
                code.store(to + planes.apart * number, value)

    def from_planes(self, matrix: Matrix, row: Row, planes: Planes, vector: Value, overlap: int = 0) -> None:
        """Tiles `L p L^T` from planes p; their first lines and columns are added to what is there."""
        code, side = self.tiles.code, len(matrix)
        with code.loop(self.tiles.columns) as column:
            source = planes.at(vector, 0, row.first + column)
            p = [code.load(source + planes.apart * number) for number in range(planes.count)]
            places = self._tile(column, side)
            for number, (place, value) in enumerate(zip(places, both_sides(matrix, p), strict=True)):
                shared = min(divmod(number, side)) < overlap
                code.store(place, value + code.load(place) if shared else value)

    def _tile(self, column: Value, side: int) -> list[Value]:
        corners = [self.line(i).at(column * self.tiles.m) for i in range(side)]
        return [corner + j * CHANNELS for corner in corners for j in range(side)]

    def read(self, map_: Map, row: Row, vector: Value, outside: Value, border: int, floor: Value) -> None:
        """Copy what the row's tiles read from a map, each number at least `floor`."""
        code, m = self.tiles.code, self.tiles.m
        for number in range(m + 2 * border):
            source = map_.line(row.image, row.number * m + (number - border), vector, outside)
            to = self.line(number, border)
            with code.loop(map_.width) as x:
                value = code.load(source.at(x))
                code.store(to.at(x), floor.exceeds(value).choose(floor, value))

    def spread(self, map_: Map, winners: Map, row: Row, vector: Value, outside: Value) -> None:
        """Copy a pooled map's gradient, each number to the winner of its square: the adjoint of `pool`."""
        code, squares = self.tiles.code, self.tiles.m // POOL
        for number in range(squares):
            y = row.number * squares + number
            source, mark = (part.line(row.image, y, vector, outside) for part in (map_, winners))
            with code.loop(map_.width) as x:
                value, winner = code.load(source.at(x)), code.load(mark.at(x))
                shares = code.spread(value, winner, POOL**2)
                for place, share in zip(self._square(number, x), shares, strict=True):
                    code.store(place, share)

    def write(self, map_: Map, row: Row, vector: Value, outside: Value, bias: Value) -> None:
        """Write the row's tiles to a map, with `bias` (a vector) added."""
        code, m = self.tiles.code, self.tiles.m
        for number in range(m):
            to = map_.line(row.image, row.number * m + number, vector, outside)
            source = self.line(number)
            with code.loop(map_.width) as x:
                code.store(to.at(x), code.load(source.at(x)) + bias)

    def pool(
        self, map_: Map, winners: Map | None, row: Row, vector: Value, outside: Value, bias: Value
    ) -> None:
        """Write the ReLU of the largest of each square to a map, and which it was to another, if given."""
        code, squares = self.tiles.code, self.tiles.m // POOL
        for number in range(squares):
            y = row.number * squares + number
            to, *marks = (
                part.line(row.image, y, vector, outside) for part in (map_, winners) if part is not None
            )
            with code.loop(map_.width) as x:
                z = [code.load(place) + bias for place in self._square(number, x)]
                value, winner = code.pooled_relu(z)
                code.store(to.at(x), value)
                for mark in marks:
                    code.store(mark.at(x), winner)

    def compare(self, map_: Map, row: Row, vector: Value, sums: Value, bias: Value, zeros: Value) -> None:
        """Add the squares of what the row's tiles, with the vector of `bias`, differ from a map by to `sums`.

        Past the border the bias is compared with itself: `bias` and `zeros` point to numbers of all channels.
        """
        code, totals, pairs = self.tiles.code, [self.tiles.code.total() for _ in range(self.tiles.m)], []
        for number in range(self.tiles.m):
            y = row.number * self.tiles.m + number
            mine, inside = self.line(number), y.below(map_.height)
            strip = Line(inside.choose(mine.start, zeros), inside.choose(row.number * 0 + CHANNELS, 0))
            pairs.append((strip, map_.line(row.image, y, vector, bias)))
        offset = code.load(bias + vector * CHANNELS)
        with code.loop(map_.width) as x:
            for total, (mine, other) in zip(totals, pairs, strict=True):
                off = code.load(mine.at(x)) + offset - code.load(other.at(x))
                total.add(off * off)
        whole = code.load(sums)
        for total in totals:
            whole = whole + total.value
        code.store(sums, whole)

    def _square(self, number: int, x: Value) -> list[Value]:
        corners = [self.line(POOL * number + i).at(x * POOL) for i in range(POOL)]
        return [corner + j * CHANNELS for corner in corners for j in range(POOL)]

    def open(self, row: Row) -> None:
        """Prepare it for overlapping tiles: zeros where the first one adds, except in lines carried over."""
        code, nothing = self.tiles.code, self.tiles.code.number(0.0)
        with code.when(row.number.below(1)), code.loop(self.tiles.pitch * OVERLAP) as x:
            code.store(self.line(0).at(x), nothing)
        for number in range(OVERLAP, self.tiles.m + OVERLAP):
            for column in range(OVERLAP):
                code.store(self.line(number, column).start, nothing)

    def close(
        self, map_: Map, gate: Map, row: Row, vector: Value, outside: tuple[Value, Value], floor: Value
    ) -> None:
        """Write the lines that no later row adds to, and carry the others over.

        With a `floor` of 0, zeros are put where the map `gate` is 0 or less. `outside` is where to read and
        to write past the border.
        """
        code, m = self.tiles.code, self.tiles.m
        always = code.number(-1.0).exceeds(floor)

        def put(number: int) -> None:
            y = row.number * m + (number - BORDER)
            gates, to = (
                part.line(row.image, y, vector, there)
                for part, there in zip((gate, map_), outside, strict=True)
            )
            source = self.line(number, BORDER)
            with code.loop(map_.width) as x:
                gate_ = code.load(gates.at(x))
                passes = gate_.exceeds(0.0) | gate_.is_nan() | always
                code.store(to.at(x), passes.choose(code.load(source.at(x)), 0.0))

        for number in range(m):
            put(number)
        with code.when(self.tiles.rows.below(row.number + 2)):
            put(m)
        with code.loop(self.tiles.pitch * OVERLAP) as x:
            code.store(self.line(0).at(x), code.load(self.line(m).at(x)))
