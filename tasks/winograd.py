"""Convolutions of 3x3 by Winograd's minimal filtering: fewer products, for wide layers on a CPU.

Lavin & Gray 2016, "Fast algorithms for convolutional neural networks". A tile of m x m outputs z is
`A^T [(G w G^T) . (B^T h B)] A`, where h is the (m+2) x (m+2) tile that it reads and w a 3x3 filter: (m+2)^2
products for 9 m^2, 4 times fewer with m = 4. Summed over input channels, each of the (m+2)^2 numbers, here
called planes, is a matrix product. Gradients are the adjoint maps of the same parts. The ReLU before and the
pooling after are taken on the way (`tasks.tile_transforms`), so that their maps are never written.

Legend: N images, H x W positions, C channels read, O channels written, P = (m+2)^2 planes, T tiles.
With m = 4 outputs are rounded to about 1e-6 of their norm, a direct convolution's to 3e-7; at 256 channels to
3e-6 and 8e-7. That is of a tile's largest numbers: small outputs beside a number a thousand times as large
have three digits less, and one that is NaN or infinite makes all of its tile so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from tasks.layout import in_rows
from tasks.tile_transforms import POOL, gather, gather_spread, scatter, scatter_pooled
from tasks.tiling import CHANNELS, POINTS, outputs_of, planes_of
from tasks.toom_cook import TAPS, matrices, transposed
from tasks.vector_code import Kernel

TILES_AT_ONCE = 192
"""Planes of so many tiles stay in the cache between a transform and its products (measured)."""


def conv(h: Tensor, weight: Tensor, bias: Tensor, *, rectified: bool = False, pooled: bool = False) -> Tensor:
    """`z` (N, O, H, W) of `h` (N, C, H, W) with a border of one zero; float32, channels last in memory.

    `rectified`: of the ReLU of `h`. `pooled`: the ReLU of the largest z of each 2 x 2 square.

    Raises:
        ValueError: Channels read or written are no multiple of `CHANNELS`, or there is no image or position.
        TypeError: Not float32 on a CPU.
    """
    if min(h.shape) < 1 or h.shape[1] % CHANNELS or len(weight) % CHANNELS:
        raise ValueError(
            f"a conv of {tuple(h.shape)} to {len(weight)} channels: channels are multiples of {CHANNELS} "
            "here, and there is an image and a position at least"
        )
    return _Conv.apply(h, weight, bias, rectified, pooled)  # pyright: ignore[reportReturnType]


@cache
def kernel(m: int, name: str) -> Kernel:
    """A transform of tiles of m x m outputs, compiled once a process (0.03 to 0.2 s each)."""
    a_t, g, b_t = matrices(POINTS[m])
    a, g_t, b = transposed(a_t), transposed(g), transposed(b_t)
    builders: dict[str, Callable[[], Kernel]] = {
        "filters": partial(gather, _floats(g), TAPS, 0),
        "filters gradient": partial(scatter, _floats(g_t), TAPS, 0),
        "read": partial(gather, _floats(b_t), m, -1),
        "read rectified": partial(gather, _floats(b_t), m, -1, rectified=True),
        "read gradient": partial(scatter, _floats(b), m, -1),
        "read rectified gradient": partial(scatter, _floats(b), m, -1, masked=True),
        "write": partial(scatter, _floats(a_t), m, 0),
        "write gradient": partial(gather, _floats(a), m, 0),
        "write pooled": partial(scatter_pooled, _floats(a_t), m),
        "write pooled gradient": partial(gather_spread, _floats(a), m),
    }
    return builders[name]()


def _floats(rows: Sequence[Sequence[Fraction]]) -> list[list[float]]:
    return [[float(value) for value in row] for row in rows]


class _Cut:
    """Maps of one size, cut in tiles."""

    def __init__(self, height: int, width: int) -> None:
        self.m = outputs_of(height, width)
        self.planes = planes_of(self.m)
        self.tiles = -(-height // self.m), -(-width // self.m)
        one = POINTS[self.m].index(1)
        self.sums = one * (self.m + 2) + one
        """The plane of a written map's gradient that is the sum of each tile."""

    def blocks(self, images: int) -> Iterator[slice]:
        """Images whose planes are in use at once."""
        step = max(1, TILES_AT_ONCE // (self.tiles[0] * self.tiles[1]))
        for start in range(0, images, step):
            yield slice(start, min(start + step, images))

    def gathered(
        self, name: str, map_NHWC: Tensor, *more: Tensor, tiles: tuple[int, int] | None = None
    ) -> Tensor:
        """New planes (P, T, C) of a map."""
        channels = map_NHWC.shape[3]
        rows, columns = tiles or self.tiles
        count = len(map_NHWC) * rows * columns
        # An odd number of rows apart: at multiples of 4 KB planes would share few lines of the cache.
        planes_PTC = map_NHWC.new_empty(self.planes, count | 1, channels)[:, :count]
        sizes = _sizes(map_NHWC, planes_PTC, (rows, columns))
        kernel(self.m, name)(map_NHWC, planes_PTC, _zeros(channels), *more, *sizes)
        return planes_PTC

    def scattered(
        self,
        name: str,
        map_NHWC: Tensor,
        planes_PTC: Tensor,
        *more: Tensor,
        bias: Tensor | None = None,
        tiles: tuple[int, int] | None = None,
    ) -> None:
        """Write a map from planes (P, T, C)."""
        channels = map_NHWC.shape[3]
        beyond, bias = map_NHWC.new_empty(channels), _zeros(channels) if bias is None else bias
        sizes = _sizes(map_NHWC, planes_PTC, tiles or self.tiles)
        kernel(self.m, name)(map_NHWC, planes_PTC, beyond, bias, *more, *sizes)


def _sizes(map_NHWC: Tensor, planes_PTC: Tensor, tiles: tuple[int, int]) -> tuple[int, ...]:
    """As the kernels of `tasks.tile_transforms` take them."""
    images, height, width, channels = map_NHWC.shape
    return images, height, width, *tiles, channels, planes_PTC.stride(0)


@cache
def _zeros(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.float32)


class _Conv(Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, bias: Tensor, rectified: bool, pooled: bool) -> Tensor:
        h_NHWC, (height, width) = in_rows(h), h.shape[2:]
        cut, read = _Cut(height, width), "read rectified" if rectified else "read"
        w_POC = cut.gathered("filters", in_rows(weight), tiles=(1, 1))
        blocks = list(cut.blocks(len(h)))
        w_PCO = w_POC.transpose(1, 2)
        if len(blocks) > 1:  # products with a transposed factor are slower, by less than one copy takes
            w_PCO = w_PCO.contiguous()
        size = (height // POOL, width // POOL) if pooled else (height, width)
        z_NHWO = h.new_empty(len(h), *size, len(weight))
        winners = torch.empty_like(z_NHWO) if pooled else None
        for some in blocks:
            planes_PTO = torch.bmm(cut.gathered(read, h_NHWC[some]), w_PCO)
            if winners is None:
                cut.scattered("write", z_NHWO[some], planes_PTO, bias=bias)
            else:
                cut.scattered("write pooled", z_NHWO[some], planes_PTO, winners[some], bias=bias)
        ctx.save_for_backward(h_NHWC, w_POC, winners)
        ctx.rectified = rectified
        return z_NHWO.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, Tensor, Tensor, None, None]:
        h_NHWC, w_POC, winners = ctx.saved_tensors
        images, height, width, channels = h_NHWC.shape
        cut, g_NHWO = _Cut(height, width), in_rows(gradients[0])
        read = "read rectified" if ctx.rectified else "read"
        g_h = torch.empty_like(h_NHWC) if ctx.needs_input_grad[0] else None
        g_w, g_bias = w_POC.new_zeros(w_POC.shape), g_NHWO.new_zeros(w_POC.shape[1])
        for some in cut.blocks(images):
            if winners is None:
                g_PTO = cut.gathered("write gradient", g_NHWO[some])
            else:
                g_PTO = cut.gathered("write pooled gradient", g_NHWO[some], winners[some])
            g_w.baddbmm_(g_PTO.transpose(1, 2), cut.gathered(read, h_NHWC[some]))
            g_bias += g_PTO[cut.sums].sum(0)
            if g_h is not None:
                gate = [h_NHWC[some]] if ctx.rectified else []
                g_PTC = torch.bmm(g_PTO, w_POC)
                cut.scattered(f"{read} gradient", g_h[some], g_PTC, *gate)
        g_weight = g_NHWO.new_empty(w_POC.shape[1], TAPS, TAPS, channels)
        cut.scattered("filters gradient", g_weight, g_w, tiles=(1, 1))
        below = None if g_h is None else g_h.permute(0, 3, 1, 2)
        return below, g_weight.permute(0, 3, 1, 2), g_bias, None, None
