"""Dense layers of several nets as batched products, whose bits do not depend on how many nets there are.

A product's bits depend on how its matrices lie in memory, so every net's matrices begin at a multiple of 64
bytes: images and inputs are padded with zeros to multiples of 16.

Legend: N images, S nets, D inputs and O outputs of each; suffix p where padded.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

ALIGNED = 16
"""Float32 numbers in 64 bytes."""


def dense_products(h: Tensor, weight: Tensor, bias: Tensor, nets: int) -> Tensor:
    """`z` of shape (N, S x O) from `h` (N, S x D), weights (S x O, D) and biases (S x O)."""
    kind = h.device.type
    if torch.is_autocast_enabled(kind):
        h, weight, bias = (value.to(torch.get_autocast_dtype(kind)) for value in (h, weight, bias))
    # Its backward pass is its own, in one type: autocast must not come between the two.
    with torch.autocast(kind, enabled=False):
        return _Products.apply(h, weight, bias, nets)  # pyright: ignore[reportReturnType]


def _filled(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED


def _by_net(flat: Tensor, nets: int, wide: int) -> Tensor:
    """(N, S x D) as (S, Np, `wide`)."""
    images, size = flat.shape[0], flat.shape[1] // nets
    rows = _filled(images)
    make = torch.empty if (rows, wide) == (images, size) else torch.zeros
    made = make(nets, rows, wide, dtype=flat.dtype, device=flat.device)
    made[:, :images, :size] = flat.view(images, nets, size).transpose(0, 1)
    return made


def _flat(made: Tensor, images: int, size: int) -> Tensor:
    """(S, Np, Dp) as (N, S x D)."""
    return made[:, :images, :size].transpose(0, 1).reshape(images, -1)


class _Products(Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, bias: Tensor, nets: int) -> Tensor:
        images, inputs = h.shape[0], weight.shape[1]
        outputs, wide = len(weight) // nets, _filled(inputs)
        h_SND = _by_net(h, nets, wide)
        weight_SOD = weight.view(nets, outputs, inputs)
        if wide > inputs:
            weight_SOD = F.pad(weight_SOD, (0, wide - inputs))
        ctx.save_for_backward(h_SND, weight_SOD)
        ctx.images, ctx.inputs = images, inputs
        return _flat(torch.bmm(h_SND, weight_SOD.transpose(1, 2)), images, outputs) + bias

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        h_SND, weight_SOD = ctx.saved_tensors
        nets, outputs, _ = weight_SOD.shape
        g_SNO = _by_net(gradients[0].reshape(ctx.images, -1), nets, outputs)
        g_h = _flat(torch.bmm(g_SNO, weight_SOD), ctx.images, ctx.inputs) if ctx.needs_input_grad[0] else None
        g_weight = torch.bmm(g_SNO.transpose(1, 2), h_SND)[..., : ctx.inputs]
        return g_h, g_weight.reshape(-1, ctx.inputs), g_SNO.sum(1).flatten(), None
