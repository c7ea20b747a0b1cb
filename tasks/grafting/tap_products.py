"""Cross terms and predictions of a narrow conv without its patches: a product for each tap of the kernel.

Images with a border of zeros are laid end to end as the rows of one long matrix, outputs in the places that
their kernel begins at. Then a tap reads the rows that lie so many further on: its share of `Z^T U`, and of a
prediction, is one product of long, narrow matrices, with nothing unfolded. Of maps of 24 channels and 32x32
positions, a cross term takes a tenth of the time of im2col and its one product (float64, one core).

Legend: N images, C channels read, O written, k kernel, D = C k^2 in the order of a flattened weight (channel,
tap row, tap column); M rows of the padded images laid end to end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, float64

BLOCK = 2048
"""Rows that stay in cache while all taps pass over them."""


class PaddedRows(NamedTuple):
    """Images with a border, end to end.

    Attributes:
        rows_MC: In float64; zeros follow the last image.
        size: Images, and rows and columns of each with its border.
    """

    rows_MC: Tensor
    size: tuple[int, int, int]

    def taps(self, kernel: int, start: int, count: int) -> Iterator[Tensor]:
        """What each tap of the kernels at so many places reads, (count, C)."""
        for tap in range(kernel**2):
            first = start + tap // kernel * self.size[2] + tap % kernel
            yield self.rows_MC[first : first + count]


def padded_rows(h: Tensor, kernel: int, padding: int) -> PaddedRows:
    """The rows of a batch (N, C, H, W), padded on all sides."""
    images, channels, height, width = h.shape
    size = images, height + 2 * padding, width + 2 * padding
    count = size[0] * size[1] * size[2]
    rows_MC = h.new_zeros(count + (kernel - 1) * (size[2] + 1), channels, dtype=float64)
    inside = rows_MC[:count].view(*size, channels)
    inside[:, padding : padding + height, padding : padding + width].copy_(h.permute(0, 2, 3, 1))
    return PaddedRows(rows_MC, size)


def tap_cross(read: PaddedRows, z: Tensor, kernel: int) -> Tensor:
    """`Z^T U` (O, D) in float64 of what a conv of stride 1 reads, and its output (N, O, H', W')."""
    written_MO = _in_places(z, kernel)
    total_TOC = written_MO.new_zeros(kernel**2, z.shape[1], read.rows_MC.shape[1])
    for start in range(0, len(written_MO), BLOCK):
        left_OM = written_MO[start : start + BLOCK].T
        taps = read.taps(kernel, start, left_OM.shape[1])
        for total_OC, right_MC in zip(total_TOC, taps, strict=True):
            total_OC.addmm_(left_OM, right_MC)
    return total_TOC.permute(1, 2, 0).flatten(1)


def tap_outputs(read: PaddedRows, weight_DO: Tensor, bias_O: Tensor, kernel: int) -> Tensor:
    """The conv's output (N, O, H', W') in float64 for a weight and bias in float64."""
    images, column, line = read.size
    weight_TCO = weight_DO.unflatten(0, (-1, kernel**2)).transpose(0, 1)
    made_MO = bias_O.repeat(images * column * line, 1)
    for start in range(0, len(made_MO), BLOCK):
        some_MO = made_MO[start : start + BLOCK]
        for weight_CO, right_MC in zip(weight_TCO, read.taps(kernel, start, len(some_MO)), strict=True):
            some_MO.addmm_(right_MC, weight_CO)
    whole = made_MO.view(images, column, line, -1)
    return whole[:, : column - kernel + 1, : line - kernel + 1].permute(0, 3, 1, 2)


def _in_places(z: Tensor, kernel: int) -> Tensor:
    """The outputs in the places that their kernel begins at, [M, O]."""
    images, channels, height, width = z.shape
    rows = z.new_zeros(images, height + kernel - 1, width + kernel - 1, channels, dtype=float64)
    rows[:, :height, :width].copy_(z.permute(0, 2, 3, 1))
    return rows.flatten(0, 2)
