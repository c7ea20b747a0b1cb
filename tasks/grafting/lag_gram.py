"""The Gram matrix of a conv's patches without the patches (docs/method.md, section 2).

Entry ((tap i, channel p), (tap j, channel q)) of `U^T U` sums `h_p(y) h_q(y + j - i)` over the places y
that tap i visits. Over the whole map that sum depends on the lag `j - i` alone; a tap misses a few
border rows and columns, whose share is subtracted. A 3x3 kernel so needs 13 products of C x C where
its patches need 81.

The products of the lags and of the border lines are summed over batches, and assembled into `U^T U` once, at
the end.

Legend: N images, C channels, H x W positions, k kernel, D = C k^2 in the order of a flattened weight
(channel, tap row, tap column); M rows of the padded images laid end to end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK_BYTES = 1 << 20
"""Rows of the padded images that stay in cache while all lags pass over them: about a core's second level."""

Lag = tuple[int, int]


class Line(NamedTuple):
    """A row or a column of the map, the place where both cross, or (None, None) for the whole map."""

    row: int | None
    column: int | None


WHOLE = Line(None, None)


def lag_gram(h: Tensor, kernel: int, padding: int) -> Tensor:
    """`U^T U` (D, D) in float64 of the stride-1 patches of `h` (N, C, H, W), not centred.

    Raises:
        ValueError: The kernel is larger than the padded map.
    """
    sums = LagSums(kernel, padding)
    sums.add(h)
    return sums.gram_DD()


class LagSums:
    """Sums of `h_p(y) h_q(y + lag)` (C, C) for every lag, over the whole map and over its border lines.

    Products are taken in the type of `h`, sums over blocks of rows and over batches in float64.
    """

    def __init__(self, kernel: int, padding: int) -> None:
        self.kernel, self.padding = kernel, padding
        self._size = (0, 0)
        self._wanted: dict[Line, list[Lag]] = {}
        self._sums: dict[tuple[Line, Lag], Tensor] = {}

    def add(self, h: Tensor) -> None:
        """Add a batch (N, C, H, W).

        Raises:
            ValueError: The kernel is larger than the padded map.
        """
        height, width = h.shape[2:]
        if min(height, width) + 2 * self.padding < self.kernel:
            raise ValueError(
                f"a kernel of {self.kernel} does not fit a map of {height}x{width} "
                f"with padding {self.padding}"
            )
        if not self._sums:
            self._size = (height, width)
            self._wanted = self._borders()
        down, right = min(self.kernel, height) - 1, min(self.kernel, width) - 1
        padded_NHWC = F.pad(h.permute(0, 2, 3, 1), (0, 0, 0, right, 0, down))
        self._add_whole(padded_NHWC)
        for line, wanted in self._wanted.items():
            for lag, product in _line_products(padded_NHWC, self._size, line, wanted):
                self._total(line, lag, padded_NHWC).add_(product)

    def _add_whole(self, padded_NHWC: Tensor) -> None:
        """Every lag's product over the whole map.

        With zeros to the right of each row and below each image, a shift that leaves the map meets a zero,
        so a lag is a shift of the rows of one long matrix.
        """
        padded_MC = padded_NHWC.flatten(0, 2)
        shift_of = {lag: lag[0] * padded_NHWC.shape[2] + lag[1] for lag in lags(self.kernel, *self._size)}
        totals = {lag: self._total(WHOLE, lag, padded_NHWC) for lag in shift_of}
        block = min(4096, max(256, BLOCK_BYTES // (padded_MC.element_size() * padded_MC.shape[1])))
        for start in range(0, len(padded_MC), block):
            left_MC = padded_MC[start : start + block]
            for lag, shift in shift_of.items():
                right_MC = padded_MC[start + shift : start + shift + len(left_MC)]
                totals[lag] += left_MC[: len(right_MC)].T @ right_MC

    def _total(self, line: Line, lag: Lag, h_NHWC: Tensor) -> Tensor:
        if (line, lag) not in self._sums:
            channels = h_NHWC.shape[3]
            self._sums[line, lag] = h_NHWC.new_zeros(channels, channels, dtype=torch.float64)
        return self._sums[line, lag]

    def gram_DD(self) -> Tensor:
        """The Gram matrix assembled from the sums."""
        channels, kernel = len(self._sums[WHOLE, (0, 0)]), self.kernel
        gram = self._sums[WHOLE, (0, 0)].new_zeros(channels, kernel, kernel, channels, kernel, kernel)
        for first, second, lag in self._entries():
            entry = self._sums[WHOLE, lag].clone()
            for sign, line in self._missed(first):
                part = self._sums.get((line, lag))
                if part is not None:
                    entry -= sign * part
            gram[:, first[0], first[1], :, second[0], second[1]] = entry
            gram[:, second[0], second[1], :, first[0], first[1]] = entry.T
        return gram.reshape(channels * kernel**2, channels * kernel**2)

    def _entries(self) -> Iterator[tuple[Lag, Lag, Lag]]:
        """Pairs of taps whose lag is one of `lags`, and that lag."""
        known = set(lags(self.kernel, *self._size))
        taps = [(row, column) for row in range(self.kernel) for column in range(self.kernel)]
        for first in taps:
            for second in taps:
                lag = (second[0] - first[0], second[1] - first[1])
                if lag in known:
                    yield first, second, lag

    def _missed(self, tap: Lag) -> list[tuple[int, Line]]:
        """Lines that a tap never visits, with the signs by which their sums count each place once."""
        rows, columns = (
            _unvisited(offset - self.padding, size, size + 2 * self.padding - self.kernel + 1)
            for offset, size in zip(tap, self._size, strict=True)
        )
        lines = [(1, Line(row, None)) for row in rows] + [(1, Line(None, column)) for column in columns]
        return lines + [(-1, Line(row, column)) for row in rows for column in columns]

    def _borders(self) -> dict[Line, list[Lag]]:
        """For every border line, the lags whose sums over it are needed, if there are any."""
        wanted: dict[Line, set[Lag]] = defaultdict(set)
        for first, _, lag in self._entries():
            for _, line in self._missed(first):
                wanted[line].add(lag)
        return {line: sorted(chosen) for line, chosen in wanted.items()}


def lags(kernel: int, height: int, width: int) -> Iterator[Lag]:
    """The lags up to transposition: (0, 0) first, then those that point down or right, inside the map."""
    down, right = min(kernel, height) - 1, min(kernel, width) - 1
    for dy in range(down + 1):
        for dx in range(0 if dy == 0 else -right, right + 1):
            yield dy, dx


def _unvisited(offset: int, size: int, outputs: int) -> tuple[int, ...]:
    """Rows (or columns) of the map that a tap at `offset` never visits, over `outputs` places."""
    return (*range(min(max(0, offset), size)), *range(max(0, min(size, offset + outputs)), size))


def _line_products(
    padded_NHWC: Tensor, size: tuple[int, int], line: Line, wanted: list[Lag]
) -> Iterator[tuple[Lag, Tensor]]:
    """The products (C, C) over one line of the map of some lags, all by one product of matrices.

    Lags that move the line off the map have none. A single place that a lag moves off the map meets a zero:
    to the right and below lie zeros, and to the left the zeros of the row above.
    """
    (height, width), padded_width = size, padded_NHWC.shape[2]
    inside = [
        lag for lag in wanted if _stays(line.row, lag[0], height) and _stays(line.column, lag[1], width)
    ]
    if not inside:
        return
    step = padded_width if line.row is None else 1
    count = height if line.row is None else width if line.column is None else 1
    flat_NPC, first = padded_NHWC.flatten(1, 2), (line.row or 0) * padded_width + (line.column or 0)

    def moved(lag: Lag) -> Tensor:
        start = first + lag[0] * padded_width + lag[1]
        return flat_NPC[:, start : start + (count - 1) * step + 1 : step]

    left_MC = moved((0, 0)).flatten(0, 1)
    right_MK = torch.cat([moved(lag) for lag in inside], 2).flatten(0, 1)
    yield from zip(inside, (left_MC.T @ right_MK).split(left_MC.shape[1], 1), strict=True)


def _stays(place: int | None, shift: int, size: int) -> bool:
    """Whether the line, moved, is still on the map."""
    return place is None or 0 <= place + shift < size
