"""A conv by minimal filtering whose map is compared with another while it is in the cache.

Where a graft is scored, a map matters for what it differs from the target's by and for what the next layer
reads of it. Pooled, it is never written at all. Filters are transformed once for many batches.

Unlike `tasks.kernels.winograd`, of a patch of zeros z is the bias but for rounding: there are no gradients.
Legend: N images, H x W positions, C channels read, O written; suffix 2 where pooled.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from espalier.tasks.kernels import conv_kernels
from espalier.tasks.kernels.plane_products import Matrices, block
from espalier.tasks.kernels.tiling import planes_of
from espalier.tasks.kernels.toom_cook import TAPS
from espalier.tasks.kernels.winograd import Cut, zeros
from espalier.tasks.networks.layout import in_rows


@dataclass(frozen=True)
class Filters:
    """Weights (O, C, 3, 3), transformed for tiles of m x m, and biases (O)."""

    m: int
    channels: int
    matrices: Tensor
    bias: Tensor

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor, m: int) -> Filters:
        """Transform them."""
        return cls.of_columns(weight.flatten(1).t(), bias, m)

    @classmethod
    def of_columns(cls, weight_DO: Tensor, bias: Tensor, m: int) -> Filters:
        """Transform weights whose D = C x 9 inputs are rows."""
        channels, outputs = len(weight_DO) // TAPS**2, len(bias)
        matrices = torch.empty(Matrices.numbers(planes_of(m), channels, outputs), dtype=torch.float32)
        weight_IJCO = weight_DO.reshape(channels, TAPS**2, outputs).transpose(0, 1).contiguous()
        apart = channels, outputs, outputs, channels * outputs
        conv_kernels.to_filters(m, block(outputs))(weight_IJCO, matrices, *apart)
        return cls(m, channels, matrices, bias.contiguous())


def compared(
    h: Tensor, filters: Filters, own: Tensor, *, rectified: bool = False, pooled: bool = False
) -> tuple[Tensor, Tensor]:
    """What is made of `h` (N, C, H, W), and the summed squares (O,) in float64 of z - `own` (N, O, H, W).

    Made is z, or (N, O, H2, W2) the ReLU of the largest z of each square; float32, channels last in memory.
    `rectified`: of the ReLU of `h`. Squares are added in float32 within groups of 64 tiles.
    """
    h_NHWC, own_NHWO, outputs = in_rows(h), in_rows(own), len(filters.bias)
    cut = Cut(tuple(h_NHWC.shape), outputs, rectified, pooled)
    made = h_NHWC.new_empty(cut.made())
    errors = zeros(cut.groups, outputs)
    nothing, beyond = zeros(max(filters.channels, outputs)), zeros(outputs)
    maps = h_NHWC, filters.matrices, filters.bias, own_NHWO, made, errors, nothing, beyond
    work = cut.strips(), cut.strips(), *cut.planes()
    conv_kernels.compared(cut.m, block(outputs))(*maps, *work, *cut.sizes())
    return made.permute(0, 3, 1, 2), errors.sum(0, dtype=torch.float64)
