"""Batch normalisation of maps with the ReLU and 2x2 pooling after it, in as few passes as there can be.

As `tasks.networks.batch_norm`, over the N H W positions of each channel of a batch (Ioffe & Szegedy, ICML
2015): `y = scale z + shift` with `scale = weight / sqrt(var + eps)` and `shift = bias - mean scale`. With g =
dL/dy and `xhat = (z - mean) / sqrt(var + eps)`, `dL/dz = scale (g - mean(g) - xhat mean(g xhat))`. Sums over
some positions are float32, those over all of them float64.

Legend: N images, H x W positions, C channels; suffix 2 where pooled.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from espalier.tasks.kernels import norm_kernels
from espalier.tasks.kernels.norm_kernels import Ends, side_of
from espalier.tasks.kernels.vector_code import Kernel
from espalier.tasks.networks.batch_norm import EPSILON, MOMENTUM
from espalier.tasks.networks.layout import in_rows
from espalier.tasks.spec import Layer

Numbers = npt.NDArray[np.float64]

PART = 1024
"""Positions that are summed in float32, to about 2e-5 of a sum of as many numbers of one sign (measured)."""

LANES = (16, 8, 4)
"""The first that the number of channels is a multiple of."""


LARGE = 4096
"""Numbers of an image's map from which saving a pass is worth the overhead of small tensors (measured)."""


def suits(layer: Layer, size: tuple[int, int]) -> Ends | None:
    """What is done with a layer's map of `size` (H, W) where that is faster than PyTorch, else None."""
    channels, (height, width) = layer.out, size
    even = height % 2 == width % 2 == 0
    if (
        layer.kind != "conv"
        or not layer.batch_norm
        or layer.activation != "relu"
        or layer.shortcut is not None
        or channels % LANES[-1]
        or channels * height * width < LARGE
    ):
        return None
    return "pooled" if layer.pool == side_of("pooled") and even else "relu"


def trained(z: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, ends: Ends) -> Tensor:
    """BN of `z` (N, C, H, W) by its own statistics, which move the stored `mean` and `var` in place.

    Float32, channels last in memory; with pooling (N, C, H / 2, W / 2) of even H and W.

    Raises:
        ValueError: Channels are no multiple of 4, sizes odd and pooled, or a channel has one number alone.
        TypeError: Not float32 on a CPU.
    """
    _refuse(z, ends)
    if z.numel() == z.shape[1]:
        raise ValueError(f"BN in training wants several numbers of each channel, found {tuple(z.shape)}")
    return _Norm.apply(z, weight, bias, mean, var, ends)  # pyright: ignore[reportReturnType]


@torch.no_grad()
def stored(z: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, ends: Ends) -> Tensor:
    """BN by the stored statistics; no gradients. Raises as `trained`."""
    _refuse(z, ends)
    scale = weight / (var + EPSILON).sqrt()
    return _normalised(in_rows(z), scale, bias - mean * scale, ends)[0].permute(0, 3, 1, 2)


def _refuse(z: Tensor, ends: Ends) -> None:
    images, channels, height, width = z.shape
    odd = ends == "pooled" and (height % 2 or width % 2)
    if min(images, height, width) < 1 or channels % LANES[-1] or odd:
        raise ValueError(
            f"BN of {tuple(z.shape)}, {ends}: channels are multiples of {LANES[-1]} here, "
            "and sizes even if pooled"
        )


@cache
def kernel(name: str, lanes: int, ends: Ends = "plain") -> Kernel:
    """A pass of `tasks.kernels.norm_kernels`, compiled once a process."""
    return norm_kernels.moments(lanes) if name == "moments" else getattr(norm_kernels, name)(lanes, ends)


def _lanes(map_NHWC: Tensor) -> int:
    return next(lanes for lanes in LANES if map_NHWC.shape[3] % lanes == 0)


def _sizes(map_NHWC: Tensor, ends: Ends) -> tuple[int, ...]:
    images, height, width, channels = map_NHWC.shape
    return images, height // side_of(ends), width // side_of(ends), channels


def _normalised(z_NHWC: Tensor, scale_C: Tensor, shift_C: Tensor, ends: Ends) -> tuple[Tensor, list[Tensor]]:
    """What follows BN (N, H2, W2, C), and with pooling its winners."""
    sizes = _sizes(z_NHWC, ends)
    made = z_NHWC.new_empty(sizes)
    winners = [torch.empty_like(made)] if ends == "pooled" else []
    kernel("normalise", _lanes(z_NHWC), ends)(z_NHWC, made, scale_C, shift_C, *winners, *sizes)
    return made, winners


def _in_parts(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes (P, rows, W, C) of the same map: its N H rows end to end, in parts of `PART` positions at most.

    (Of one row, if that is longer.)
    """
    images, height, width, channels = sizes
    rows = images * height
    most = max(1, min(rows, PART // width))
    together = next(count for count in range(most, 0, -1) if rows % count == 0)
    return rows // together, together, width, channels


def _moments(z_NHWC: Tensor) -> tuple[Numbers, Numbers]:
    """Mean and sum of squares around it, (C), from those of each part (Chan et al. 1983)."""
    parts, rows, columns, channels = sizes = _in_parts(_sizes(z_NHWC, "plain"))
    positions = rows * columns
    found_2PC = z_NHWC.new_empty(2, parts, channels)
    share = z_NHWC.new_full((channels,), 1.0 / positions)
    kernel("moments", _lanes(z_NHWC))(z_NHWC, found_2PC[0], found_2PC[1], share, *sizes)
    sums_PC, squares_PC = found_2PC.numpy().astype(np.float64)
    means_PC = sums_PC / positions
    mean_C = means_PC.mean(0)
    return mean_C, squares_PC.sum(0) + positions * np.square(means_PC - mean_C).sum(0)


def _float32(values: Numbers) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


class _Norm(Function):
    @staticmethod
    @np.errstate(all="ignore")  # of a net that diverges; its loss tells
    def forward(
        ctx: Any, z: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, ends: Ends
    ) -> Tensor:
        z_NHWC = in_rows(z)
        rows = z_NHWC.numel() // z_NHWC.shape[3]
        mean_C, squares_C = _moments(z_NHWC)
        for kept, new_C in ((mean, mean_C), (var, squares_C / (rows - 1))):
            kept.mul_(1.0 - MOMENTUM).add_(_float32(new_C), alpha=MOMENTUM)
        inverse_C = 1.0 / np.sqrt(squares_C / rows + EPSILON)
        scale_C = weight.detach().numpy() * inverse_C
        line = _float32(scale_C), _float32(bias.detach().numpy() - mean_C * scale_C)
        made, winners = _normalised(z_NHWC, *line, ends)
        ctx.save_for_backward(z_NHWC, *line, *winners)
        ctx.ends, ctx.statistics = ends, (mean_C, inverse_C)
        return made.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    @np.errstate(all="ignore")
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        z_NHWC, scale, shift, *winners = ctx.saved_tensors
        ends, (mean_C, inverse_C), g_NHWC = ctx.ends, ctx.statistics, in_rows(gradients[0])
        sizes = _sizes(z_NHWC, ends)
        parts, _, _, channels = in_parts = _in_parts(sizes)
        lanes, line = _lanes(z_NHWC), (scale, shift, _float32(mean_C))
        found_2PC = z_NHWC.new_empty(2, parts, channels)
        kernel("gradient_sums", lanes, ends)(
            z_NHWC, g_NHWC, *line, found_2PC[0], found_2PC[1], *winners, *in_parts
        )
        sum_C, product_C = found_2PC.numpy().sum(1, dtype=np.float64)
        product_C *= inverse_C  # of g and xhat
        factor_C = scale.numpy() * (channels / z_NHWC.numel())
        slope, level = _float32(-factor_C * inverse_C * product_C), _float32(-factor_C * sum_C)
        below = torch.empty_like(z_NHWC)
        kernel("gradient", lanes, ends)(z_NHWC, g_NHWC, *line, slope, level, below, *winners, *sizes)
        return below.permute(0, 3, 1, 2), _float32(product_C), _float32(sum_C), None, None, None
