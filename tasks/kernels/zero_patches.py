"""Which patches of a map are all zeros, as machine code (`tasks.kernels.vector_code`).

Of such a patch a conv is exactly its bias. Minimal filtering misses that by rounding if other patches of the
tile are not zeros, and at a bias of 0 rounding would decide whether a ReLU passes a gradient, where PyTorch's
passes none. So these patches are found, and what was summed for them is replaced by 0.

A mark is one number, 1 or 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from espalier.tasks.kernels.strips import BORDER, Map, Row, Strip, Tiles
from espalier.tasks.kernels.tiling import CHANNELS, marks_of, strip_of
from espalier.tasks.kernels.toom_cook import TAPS
from espalier.tasks.kernels.vector_code import Value


def room(height: int, width: int) -> tuple[Tensor, Tensor]:
    """`pixels` and `marks` of `ZeroPatches`, for maps of this size.

    Past a map's sides no pixel is marked, and further to the right all are, so that no output there is found.
    """
    length, lines = marks_of(height, width)
    pixels = torch.ones(strip_of(height, width)[0], length)
    pixels[:, 0] = pixels[:, width + BORDER] = 0.0
    return pixels, torch.empty(lines, length + 1)


@dataclass(frozen=True)
class ZeroPatches:
    """What is known of the rows of tiles in work.

    `pixels` (m + 2, length): marks of what one row reads, 1 unless all channels are 0. `marks` (rows, 1 + m x
    length): of each row whether it has an output of a patch of zeros, then each output that is one.
    """

    tiles: Tiles
    pixels: Value
    marks: Value

    @property
    def _length(self) -> Value:
        """As `tasks.kernels.tiling.marks_of` has it."""
        return (self.tiles.pitch + (2 * CHANNELS - 1)).over(CHANNELS) * CHANNELS

    def find(self, map_: Map, row: Row, outside: Value, floor: Value) -> None:
        """Mark a row's outputs. Numbers of the map that are below `floor` count as that."""
        code, found = self.tiles.code, self.tiles.code.total()
        self._see(map_, row, outside, floor)
        for number in range(self.tiles.m):
            with code.loop((map_.width + (CHANNELS - 1)).over(CHANNELS)) as block:
                corners = [self.pixels + self._length * (number + i) + block * CHANNELS for i in range(TAPS)]
                patches = [code.load(corner + j) for corner in corners for j in range(TAPS)]
                zeros = code.largest(patches)[0].equals(0.0).choose(code.number(1.0), 0.0)
                code.store(self._line(row, number) + block * CHANNELS, zeros)
                found.add(zeros)
        code.store_mark(self._row(row), found.value.exceeds(0.0))

    def _see(self, map_: Map, row: Row, outside: Value, floor: Value) -> None:
        """Mark the pixels that the row reads."""
        code, m = self.tiles.code, self.tiles.m
        for number in range(m + 2 * BORDER):
            y = row.number * m + (number - BORDER)
            source, to = map_.line(row.image, y, row.image * 0, outside), self._length * number + BORDER
            with code.loop(map_.width) as x:
                found, pixel = code.total(), source.at(x)
                with code.loop(map_.channels.over(CHANNELS)) as vector:
                    value = code.load(pixel + vector * CHANNELS)
                    value = floor.exceeds(value).choose(floor, value)
                    found.add(value.differs(0.0).choose(code.number(1.0), 0.0))
                code.store_mark(self.pixels + to + x, found.value.exceeds(0.0))

    def clear(self, strip: Strip, row: Row, width: Value) -> None:
        """Put 0 in a row's strip where an output's patch is zeros."""
        code, nothing = self.tiles.code, self.tiles.code.number(0.0)
        with code.when(code.is_marked(self._row(row))):
            for number in range(self.tiles.m):
                with code.loop(width) as x, code.when(code.is_marked(self._line(row, number) + x)):
                    code.store(strip.line(number).at(x), nothing)

    def _row(self, row: Row) -> Value:
        return self.marks + row.first.over(self.tiles.columns) * (self._length * self.tiles.m + 1)

    def _line(self, row: Row, number: int) -> Value:
        return self._row(row) + (self._length * number + 1)
