"""The input of one layer from a source for one batch of images, and every product that a fit needs of it.

Dense layers and narrow convs are float64 throughout. A wide conv's products are float32 or float64
(`GraftOptions.products`). Patches are unfolded for strided convs alone: the Gram matrix is computed by lags.
In float32 the cross term is the convolution's weight gradient and the prediction a convolution, in float64
both are products by taps (`tasks.grafting.tap_products`).

Legend: N images, C output channels, D = d in the order of a flattened weight, M rows (images x positions).
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

from espalier.tasks.grafting.lag_gram import LagSums
from espalier.tasks.grafting.row_gram import RowSums
from espalier.tasks.grafting.row_rule import by_taps
from espalier.tasks.grafting.tap_products import PaddedRows, padded_rows, tap_cross, tap_outputs
from espalier.tasks.networks.architectures import output_size
from espalier.tasks.networks.network import linear
from espalier.tasks.spec import Layer, in_float32

if TYPE_CHECKING:
    from espalier.tasks.kernels.compiled import ComparedNetwork

FLOAT32_ROUNDING = 1e-7
"""Share of the largest eigenvalue below which float32 products say nothing (docs/decisions/products.md)."""


class LayerInput:
    """The input `h` (N, C, H, W) or (N, C) of `layer`, products in type `products`.

    Where `h` holds the channels of several nets side by side, `channels` is how many one net has: the type
    must not depend on how many nets are looked at together.
    """

    def __init__(
        self,
        layer: Layer,
        h: Tensor,
        products: Literal["float32", "float64"],
        channels: int | None = None,
    ) -> None:
        self._layer = layer
        self._single = layer.kind == "conv" and in_float32(products, channels or h.shape[1])
        self._h = h if self._single else h.double()

    @property
    def map(self) -> Tensor:
        """The input as it is read: in float32 or float64."""
        return self._h

    @cached_property
    def patches_MD(self) -> Tensor:
        """im2col, or the flat features, in float64."""
        if self._layer.kind == "dense":
            return self._h.flatten(1)
        return channel_rows(self._unfold(self._h)[..., None])

    @cached_property
    def _padded(self) -> PaddedRows:
        return padded_rows(self._h, self._layer.kernel, self._layer.padding)

    def _unfold(self, h: Tensor) -> Tensor:
        return F.unfold(h, self._layer.kernel, padding=self._layer.padding, stride=self._layer.stride)

    @property
    def rows(self) -> int:
        """M."""
        height, width = self._outputs
        return len(self._h) * height * width

    @property
    def _outputs(self) -> tuple[int, int]:
        channels, *size = (*self._h.shape[1:], 1, 1)[:3]
        return output_size(self._layer, (channels, size[0], size[1]))

    @property
    def products(self) -> str:
        """The type in which products are taken."""
        return "float32" if self._single else "float64"

    @property
    def rounding(self) -> float:
        """Share of the largest eigenvalue of the Gram matrix that is rounding."""
        return rounding(self.products, self.sum_D().numel())

    def sum_D(self) -> Tensor:
        """Sum of the rows: a tap sums the map, added up over the images, over the places it visits."""
        if self._layer.kind == "dense":
            return self._h.sum(0).flatten()
        # In the order of memory: with channels last PyTorch takes nine times as long for a sum over images.
        rows = self._h.is_contiguous(memory_format=torch.channels_last) and not self._h.is_contiguous()
        flat = self._h.permute(0, 2, 3, 1) if rows else self._h
        total = flat.flatten(1).double().sum(0).view(flat.shape[1:])
        return self._unfold((total.permute(2, 0, 1) if rows else total)[None])[0].sum(1)

    def gram_DD(self) -> Tensor:
        """`U^T U` in float64."""
        sums = self.new_sums()
        self.add_to(sums)
        return sums.gram_DD()

    def new_sums(self) -> LagSums | RowSums:
        """Empty sums of `U^T U`. Lags need a stride of 1: a strided conv's (few) patches are unfolded."""
        if self._layer.kind == "dense" or self._layer.stride > 1:
            return RowSums()
        return LagSums(self._layer.kernel, self._layer.padding)

    def add_to(self, sums: LagSums | RowSums) -> None:
        """Add `U^T U` to the sums of this layer's inputs."""
        sums.add(self.patches_MD if isinstance(sums, RowSums) else self._h)

    def cross_CD(self, z: Tensor) -> Tensor:
        """`Z^T U` in float64, for an output `z` (N, C, H, W) or (N, C) on the same images."""
        if not self._single:
            if by_taps(self._layer, single=False):
                return tap_cross(self._padded, z, self._layer.kernel)
            # With few channels Z^T U is 1.7 times faster than its transpose U^T Z (16,000 x 288 by 32).
            return channel_rows(z).T @ self.patches_MD
        size = (z.shape[1], self._h.shape[1], self._layer.kernel, self._layer.kernel)
        kernel_CCkk = conv2d_weight(self._h, size, z, stride=self._layer.stride, padding=self._layer.padding)
        return kernel_CCkk.flatten(1).double()

    def predict(self, weight_DC: Tensor, bias_C: Tensor) -> Tensor:
        """`z_l` of shape (N, C, H, W) or (N, C) for a weight and bias in float64, in the products' type."""
        if self._single:
            size = (weight_DC.shape[1], self._h.shape[1], self._layer.kernel, self._layer.kernel)
            weight = weight_DC.T.reshape(size).float()
            return linear(self._layer, self._h, weight, bias_C.float())
        if by_taps(self._layer, single=False):
            return tap_outputs(self._padded, weight_DC, bias_C, self._layer.kernel)
        z_MC = torch.addmm(bias_C, self.patches_MD, weight_DC)
        if self._layer.kind == "dense":
            return z_MC
        return z_MC.reshape(len(self._h), -1, len(bias_C)).transpose(1, 2).unflatten(2, self._outputs)

    def compared(
        self, top: ComparedNetwork, layer: int, weight_DC: Tensor, bias_C: Tensor, own: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """`top.fitted` of this map at a layer, where products are float32 and kernels take it, else None."""
        if not self._single or not top.takes(layer, self._h):
            return None
        return top.fitted(layer, self._h, weight_DC.float(), bias_C.float(), own)


def rounding(products: str, dim: int) -> float:
    """Share of the largest eigenvalue of a Gram matrix of `dim` rows that is rounding of its products."""
    return FLOAT32_ROUNDING if products == "float32" else dim * torch.finfo(torch.float64).eps


def channel_rows(z: Tensor) -> Tensor:
    """`z` of (N, C) or (N, C, H, W) as float64 rows (M, C): images, then positions."""
    return z.double().flatten(2).transpose(1, 2).flatten(0, 1) if z.dim() == 4 else z.double()
