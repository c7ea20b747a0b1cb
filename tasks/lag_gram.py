"""The Gram matrix of a conv's patches without the patches (docs/method.md, section 2).

Entry ((tap i, channel p), (tap j, channel q)) of `U^T U` sums `h_p(y) h_q(y + j - i)` over the places y
that tap i visits. Over the whole map that sum depends on the lag `j - i` alone; a tap misses a few
border rows and columns, whose share is subtracted. A 3x3 kernel so needs 13 products of C x C where
its patches need 81.

Legend: N images, C channels, H x W positions, k kernel, D = C k^2 in the order of a flattened weight
(channel, tap row, tap column); M rows of the padded images laid end to end.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK_BYTES = 1 << 20
"""Rows of the padded images that stay in cache while all lags pass over them: about a core's second level."""

Lag = tuple[int, int]


def lag_gram(h: Tensor, kernel: int, padding: int) -> Tensor:
    """`U^T U` (D, D) in float64 of the stride-1 patches of `h` (N, C, H, W), not centred.

    Products are taken in the type of `h`, sums over blocks of rows and over batches in float64.

    Raises:
        ValueError: The kernel is larger than the padded map.
    """
    channels, height, width = h.shape[1:]
    if min(height, width) + 2 * padding < kernel:
        raise ValueError(
            f"a kernel of {kernel} does not fit a map of {height}x{width} with padding {padding}"
        )
    products = _full_products(h, kernel)
    border = _Border(h)
    gram = torch.zeros(
        channels, kernel, kernel, channels, kernel, kernel, dtype=torch.float64, device=h.device
    )
    taps = [(row, column) for row in range(kernel) for column in range(kernel)]
    missed_rows = [_missed(tap - padding, height, height + 2 * padding - kernel + 1) for tap in range(kernel)]
    missed_columns = [
        _missed(tap - padding, width, width + 2 * padding - kernel + 1) for tap in range(kernel)
    ]
    for first in taps:
        for second in taps:
            lag = (second[0] - first[0], second[1] - first[1])
            if lag not in products:
                continue
            missed = border.sum(lag, missed_rows[first[0]], missed_columns[first[1]])
            entry = products[lag] if missed is None else products[lag] - missed
            gram[:, first[0], first[1], :, second[0], second[1]] = entry
            gram[:, second[0], second[1], :, first[0], first[1]] = entry.T
    return gram.reshape(channels * kernel**2, channels * kernel**2)


def lags(kernel: int, height: int, width: int) -> Iterator[Lag]:
    """The lags up to transposition: (0, 0) first, then those that point down or right, inside the map."""
    down, right = min(kernel, height) - 1, min(kernel, width) - 1
    for dy in range(down + 1):
        for dx in range(0 if dy == 0 else -right, right + 1):
            yield dy, dx


def _full_products(h: Tensor, kernel: int) -> dict[Lag, Tensor]:
    """For each lag the sum over the map of `h_p(y) h_q(y + lag)`, (C, C) float64.

    With zeros to the right of each row and below each image, a shift that leaves the map meets a zero, so
    a lag is a shift of the rows of one long matrix.
    """
    height, width = h.shape[2:]
    down, right = min(kernel, height) - 1, min(kernel, width) - 1
    padded_MC = F.pad(h.permute(0, 2, 3, 1), (0, 0, 0, right, 0, down)).reshape(-1, h.shape[1])
    shift_of = {lag: lag[0] * (width + right) + lag[1] for lag in lags(kernel, height, width)}
    totals = {
        lag: torch.zeros(h.shape[1], h.shape[1], dtype=torch.float64, device=h.device) for lag in shift_of
    }
    block = min(4096, max(256, BLOCK_BYTES // (padded_MC.element_size() * h.shape[1])))
    for start in range(0, len(padded_MC), block):
        left_MC = padded_MC[start : start + block]
        for lag, shift in shift_of.items():
            right_MC = padded_MC[start + shift : start + shift + len(left_MC)]
            totals[lag] += left_MC[: len(right_MC)].T @ right_MC
    return totals


def _missed(offset: int, size: int, outputs: int) -> range | tuple[int, ...]:
    """Rows (or columns) of the map that a tap at `offset` never visits, over `outputs` places."""
    return (*range(min(max(0, offset), size)), *range(max(0, min(size, offset + outputs)), size))


class _Border:
    """Sums over border rows and columns of `h`, each computed once."""

    def __init__(self, h: Tensor) -> None:
        self._h = h
        self._sums: dict[tuple[Lag, int | None, int | None], Tensor | None] = {}

    def sum(self, lag: Lag, rows: tuple[int, ...] | range, columns: tuple[int, ...] | range) -> Tensor | None:
        """Sum of `h_p(y) h_q(y + lag)` over places in any of the rows or columns; None for nothing."""
        total: Tensor | None = None
        signed = [(1, row, None) for row in rows]
        signed += [(1, None, column) for column in columns]
        signed += [(-1, row, column) for row in rows for column in columns]
        for sign, row, column in signed:
            part = self._line(lag, row, column)
            if part is not None:
                total = sign * part if total is None else total + sign * part
        return total

    def _line(self, lag: Lag, row: int | None, column: int | None) -> Tensor | None:
        place = (lag, row, column)
        if place not in self._sums:
            self._sums[place] = self._product(lag, row, column)
        return self._sums[place]

    def _product(self, lag: Lag, row: int | None, column: int | None) -> Tensor | None:
        height, width = self._h.shape[2:]
        here_y, there_y = _overlap(row, lag[0], height)
        here_x, there_x = _overlap(column, lag[1], width)
        left, right = self._h[:, :, here_y, here_x], self._h[:, :, there_y, there_x]
        if left.numel() == 0:
            return None
        left_MC = left.permute(0, 2, 3, 1).reshape(-1, left.shape[1])
        right_MC = right.permute(0, 2, 3, 1).reshape(-1, left.shape[1])
        return (left_MC.T @ right_MC).double()


def _overlap(line: int | None, shift: int, size: int) -> tuple[slice, slice]:
    """Where y and y + shift both lie on the map: for one line, or for all of them (None)."""
    if line is None:
        return slice(max(0, -shift), size - max(0, shift)), slice(max(0, shift), size - max(0, -shift))
    if not 0 <= line + shift < size:
        return slice(0, 0), slice(0, 0)
    return slice(line, line + 1), slice(line + shift, line + shift + 1)
