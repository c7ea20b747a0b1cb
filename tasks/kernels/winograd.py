"""Convolutions of 3x3 by Winograd's minimal filtering: fewer products, for many channels on a CPU.

Lavin & Gray 2016, "Fast algorithms for convolutional neural networks". A tile of m x m outputs z is
`A^T [(G w G^T) . (B^T h B)] A`, where h is the (m+2) x (m+2) tile that it reads and w a 3x3 filter: (m+2)^2
products for 9 m^2, 4 times fewer with m = 4. Summed over input channels, each of the (m+2)^2 numbers, here
called planes, is a matrix product. Gradients are the adjoint maps of the same parts. The ReLU before and the
pooling after are taken on the way (`tasks.kernels.conv_kernels`), so that their maps are never written.

Legend: N images, H x W positions, I x J taps, C channels read, O channels written, P = (m+2)^2 planes.
With m = 4 outputs are rounded to about 1e-6 of their norm, a direct convolution's to 3e-7; at 256 channels to
3e-6 and 8e-7. That is of a tile's largest numbers: small outputs beside a number a thousand times as large
have three digits less, and one that is NaN or infinite makes all of its tile so. Of a patch of zeros z is the
bias exactly. Of numbers of a square that are equal but for rounding any may be the largest, and get its
gradient: all of a region where h is constant. Gradients of weight and bias are the same whichever it is.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from espalier.tasks.kernels import conv_kernels, zero_patches
from espalier.tasks.kernels.plane_products import Matrices, Planes, block
from espalier.tasks.kernels.tiling import AT_ONCE, CHANNELS, POOL, outputs_of, planes_of, strip_of, tiles_of
from espalier.tasks.kernels.toom_cook import TAPS
from espalier.tasks.networks.layout import in_rows


def conv(h: Tensor, weight: Tensor, bias: Tensor, *, rectified: bool = False, pooled: bool = False) -> Tensor:
    """`z` (N, O, H, W) of `h` (N, C, H, W) with a border of one zero; float32, channels last in memory.

    `rectified`: of the ReLU of `h`. `pooled`: the ReLU of the largest z of each 2 x 2 square.

    Raises:
        ValueError: Channels are no multiple of `CHANNELS`, `h`, weight (O, C, 3, 3) and bias (O) are not of
            these shapes, there is no image, no position, nothing to pool, or a map is wider than `AT_ONCE`
            tiles.
        TypeError: Not float32 on a CPU.
    """
    least = POOL if pooled else 1
    if not _suits(h, weight, bias, least):
        raise ValueError(
            f"a conv of {tuple(h.shape)} by weights {tuple(weight.shape)} and biases {tuple(bias.shape)}: "
            f"channels are multiples of {CHANNELS} here, weights (O, C, 3, 3), biases (O), there is an image "
            f"of {least} x {least} positions at least, and no more than {AT_ONCE} tiles in a row"
        )
    return _Conv.apply(h, weight, bias, rectified, pooled)  # pyright: ignore[reportReturnType]


def _suits(h: Tensor, weight: Tensor, bias: Tensor, least: int) -> bool:
    if (h.dim(), weight.dim()) != (4, 4):
        return False
    (images, channels, height, width), outputs = h.shape, len(weight)
    return (
        min(images, channels, outputs) >= 1
        and min(height, width) >= least
        and tiles_of(height, width)[1] <= AT_ONCE
        and channels % CHANNELS == outputs % CHANNELS == 0
        and (weight.shape, bias.shape) == ((outputs, channels, TAPS, TAPS), (outputs,))
    )


@dataclass(frozen=True)
class Cut:
    """A batch of maps (N, H, W, C) cut in tiles, and what is made of them (N, H, W, O)."""

    shape: tuple[int, ...]
    outputs: int
    rectified: bool
    pooled: bool

    @property
    def m(self) -> int:
        """Outputs along a side of a tile."""
        return outputs_of(*self.shape[1:3])

    def sizes(self) -> tuple[int, ...]:
        """As the kernels of `tasks.kernels.conv_kernels` take them."""
        images, height, width, channels = self.shape
        rows, columns = tiles_of(height, width)
        together = AT_ONCE // columns
        more = together, channels, self.outputs, int(self.rectified), int(self.pooled)
        return images, height, width, rows, columns, *more

    def made(self) -> tuple[int, int, int, int]:
        """The shape of what is made."""
        images, height, width, _ = self.shape
        side = POOL if self.pooled else 1
        return images, height // side, width // side, self.outputs

    def clear_outside(self, g_weight_OIJC: Tensor) -> None:
        """Put 0 for taps that never meet the map: on a side of 1 all but the middle one, to rounding."""
        for axis, side in enumerate(self.shape[1:3], start=1):
            if side == 1:
                for tap in (0, TAPS - 1):
                    g_weight_OIJC.select(axis, tap).zero_()

    @property
    def groups(self) -> int:
        """How many groups of tiles are in work, one after another."""
        rows, columns = tiles_of(*self.shape[1:3])
        return -(-self.shape[0] * rows // (AT_ONCE // columns))

    def matrices(self, rows: int, columns: int) -> Tensor:
        """Room for filters, or their gradients, as planes."""
        return torch.empty(Matrices.numbers(planes_of(self.m), rows, columns), dtype=torch.float32)

    def strips(self, count: int = 1) -> Tensor:
        """Zeros: room for strips of 16 channels, with their borders."""
        return zeros(count, *strip_of(*self.shape[1:3]), CHANNELS)

    def planes(self) -> tuple[Tensor, Tensor]:
        """Room for planes of what is read and of what is made."""
        read, made = (Planes.numbers(size, planes_of(self.m)) for size in (self.shape[3], self.outputs))
        room = _room.at_least(read + made)
        return room[:read], room[read : read + made]


class Room(threading.local):
    """Memory for planes, kept from one call to the next."""

    def __init__(self) -> None:
        self._kept = torch.empty(0, dtype=torch.float32)

    def at_least(self, count: int) -> Tensor:
        """So many numbers, or more."""
        if len(self._kept) < count:
            self._kept = torch.empty(count, dtype=torch.float32)
        return self._kept


def zeros(*shape: int) -> Tensor:
    """Float32."""
    return torch.zeros(shape, dtype=torch.float32)


_room = Room()


class _Conv(Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, bias: Tensor, rectified: bool, pooled: bool) -> Tensor:
        h_NHWC, (outputs, channels) = in_rows(h), weight.shape[:2]
        cut, size = Cut(tuple(h_NHWC.shape), outputs, rectified, pooled), block(outputs)
        filters = cut.matrices(channels, outputs)
        # With two axes: of four, PyTorch's copy of a transpose takes many times as long.
        weight_IJCO = in_rows(weight).view(outputs, -1).t().contiguous()
        apart = channels, outputs, outputs, channels * outputs
        conv_kernels.to_filters(cut.m, size)(weight_IJCO, filters, *apart)
        z_NHWO = h_NHWC.new_empty(cut.made())
        winners = torch.empty_like(z_NHWO) if pooled else z_NHWO
        maps = h_NHWC, filters, bias.contiguous(), z_NHWO, winners, zeros(channels), zeros(outputs)
        work = cut.strips(), cut.strips(), *cut.planes(), *zero_patches.room(*cut.shape[1:3])
        conv_kernels.forward(cut.m, size)(*maps, *work, *cut.sizes())
        ctx.save_for_backward(h_NHWC, weight, winners if pooled else None)
        ctx.cut = cut
        return z_NHWO.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, Tensor, Tensor, None, None]:
        (h_NHWC, weight, winners), cut = ctx.saved_tensors, ctx.cut
        g_NHWO, weight_OIJC, (outputs, channels) = in_rows(gradients[0]), in_rows(weight), weight.shape[:2]
        filters, size = cut.matrices(outputs, channels), block(channels)
        apart = outputs, channels, TAPS**2 * channels, channels
        conv_kernels.to_filters(cut.m, size)(weight_OIJC, filters, *apart)
        g_h, g_weight = torch.empty_like(h_NHWC), torch.empty_like(weight_OIJC)
        g_filters, g_bias = torch.zeros_like(filters), zeros(outputs)
        won = g_NHWO if winners is None else winners
        maps = h_NHWC, filters, g_NHWO, won, g_h, g_filters, g_bias
        outside = zeros(max(channels, outputs)), zeros(channels)
        work = cut.strips(), cut.strips(), cut.strips(channels // CHANNELS), *cut.planes()
        conv_kernels.backward(cut.m, size)(*maps, *outside, *work, *cut.sizes())
        conv_kernels.from_filters(cut.m, size)(g_weight, g_filters, *apart)
        cut.clear_outside(g_weight)
        below = g_h.permute(0, 3, 1, 2) if ctx.needs_input_grad[0] else None
        return below, g_weight.permute(0, 3, 1, 2), g_bias, None, None
