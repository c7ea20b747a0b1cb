"""Weight gradients of 3x3 convs for many pairs of maps, each map transformed once: the cross terms of grafts.

The gradient of a conv's weight, `sum over images and positions of z_o(x) h_c(x + tap)`, is the adjoint of
minimal filtering: `G^T [(A z A^T) . (B^T h B)] G` of each tile, 36 products for 144 with m = 4. A map is
transformed once for all its pairs, and the sums over tiles are matrix products.

Rounding: sums over a batch are float32, in blocks of `CROSS_TILES` tiles
(`tasks.kernels.tiling`) that are added in float32 too, those over batches float64. Of 200 images
of 28x28, h of 32 channels, they missed float64's by 1e-7 of their norm, as PyTorch's gradient does with
channels last (1.7e-7; 1e-5 with channels first). The sums of a pair do not depend on other pairs.

Legend: C channels read, O written, P planes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import NamedTuple

import torch
from torch import Tensor

from espalier.tasks.kernels import cross_kernels
from espalier.tasks.kernels.plane_products import block
from espalier.tasks.kernels.tiling import CHANNELS, CROSS_TILES, outputs_of, planes_of, strip_of, tiles_of
from espalier.tasks.kernels.toom_cook import TAPS
from espalier.tasks.kernels.vector_code import Kernel
from espalier.tasks.kernels.winograd import Room
from espalier.tasks.networks.layout import in_rows


class _Side(NamedTuple):
    """The channels of several maps, and in vectors of 16 where each map's begin."""

    channels: list[int]
    starts: list[int]

    @property
    def vectors(self) -> int:
        return sum(self.channels) // CHANNELS


class CrossSums:
    """Sums over batches for some pairs (number of a map that is read, number of one that is written).

    Memory for planes is kept from batch to batch, and shared with the sums `beside` these.
    """

    def __init__(self, pairs: Sequence[tuple[int, int]], beside: CrossSums | None = None) -> None:
        self._pairs, self._places = pairs, list[int]()
        self._room = beside._room if beside else Room()
        self._shapes = list[tuple[int, int]]()
        self._total_9n = torch.empty(0)

    def add(self, read: Sequence[Tensor], written: Sequence[Tensor]) -> None:
        """Add a batch of maps (N, C, H, W) and (N, O, H, W), all of one N, H and W."""
        ones, others = ([in_rows(map_) for map_ in maps] for maps in (read, written))
        images, height, width, _ = ones[0].shape
        m, (rows, columns) = outputs_of(height, width), tiles_of(height, width)
        left, right = _side(ones), _side(others)
        if not self._shapes:
            self._start(left, right)
        together = max(1, CROSS_TILES // columns)
        line = (together * columns + 1) * CHANNELS
        count_n = self._total_9n.shape[1]
        sizes = [planes_of(m) * count_n, TAPS**2 * count_n]
        sizes += [planes_of(m) * side.vectors * line for side in (left, right)]
        sums_Pn, taps_9n, *stacks = self._room.at_least(sum(sizes))[: sum(sizes)].split(sizes)
        sums_Pn, taps_9n = sums_Pn.zero_().view(-1, count_n), taps_9n.view(-1, count_n)
        table = torch.tensor(
            [
                (left.starts[one] * line, c, right.starts[other] * line, o, place)
                for (one, other), (c, o), place in zip(self._pairs, self._shapes, self._places, strict=True)
            ]
        )
        run = cross_kernels.products(planes_of(m), block(gcd(*(outputs for _, outputs in self._shapes))))
        for first in range(0, images * rows, together):
            count = min(together, images * rows - first)
            where = images, height, width, rows, columns, first, count
            _transform(ones, left, stacks[0], cross_kernels.to_planes(m, "read"), where, line)
            _transform(others, right, stacks[1], cross_kernels.to_planes(m, "written"), where, line)
            apart = left.vectors * line, right.vectors * line, count_n
            run(*stacks, sums_Pn, table.data_ptr(), count * columns, len(table), *apart, line)
        cross_kernels.to_taps(m)(sums_Pn, taps_9n, count_n // CHANNELS)
        for axis, side in enumerate((height, width)):
            if side == 1:  # taps that never meet the map: 0 but for rounding
                taps_9n.view(TAPS, TAPS, -1).index_fill_(axis, torch.tensor([0, TAPS - 1]), 0.0)
        for total_n, taps_n in zip(self._total_9n, taps_9n, strict=True):
            total_n += taps_n  # one tap at a time: PyTorch makes a float64 copy of what is added

    def done(self) -> None:
        """No batch follows: the memory for work is given up."""
        self._room = Room()

    def _start(self, left: _Side, right: _Side) -> None:
        self._shapes = [(left.channels[one], right.channels[other]) for one, other in self._pairs]
        count = 0
        for channels, outputs in self._shapes:
            self._places.append(count)
            count += channels * outputs
        self._total_9n = torch.zeros(TAPS**2, count, dtype=torch.float64)

    def of(self, pair: int) -> Tensor:
        """The sums of a pair, (O, C x 9) in the order of a flattened weight."""
        (channels, outputs), place = self._shapes[pair], self._places[pair]
        part_9n = self._total_9n[:, place : place + channels * outputs]
        return part_9n.view(TAPS**2, channels, outputs).permute(2, 1, 0).reshape(outputs, -1)


def _side(maps: Sequence[Tensor]) -> _Side:
    channels = [map_.shape[3] for map_ in maps]
    return _Side(channels, [sum(channels[:number]) // CHANNELS for number in range(len(channels))])


def _transform(
    maps: Sequence[Tensor], side: _Side, stack: Tensor, run: Kernel, sizes: tuple[int, ...], line: int
) -> None:
    """Planes of some rows of tiles of every map of a side."""
    strip, zeros = torch.zeros(*strip_of(*sizes[1:3]), CHANNELS), torch.zeros(max(side.channels))
    for map_, channels, start in zip(maps, *side, strict=True):
        planes = stack.data_ptr() + start * line * stack.element_size()
        run(map_, planes, zeros, strip, *sizes, channels, side.vectors * line, line)
