"""Inner products of two nets' N x N matrices under all permutations of the second net's images.

`sum_ij A_ij B_p(i)p(j)` for a shift p along circles is a sum over diagonals: diagonal d of A is a sequence
along i, and a shift moves it. So the Fourier transforms of the diagonals give all shifts of all pairs of
nets: for N images on one circle N^2 log N operations a net and N^2 a pair, instead of N^3 for N permutations.

Legend: N images in G groups of m, S nets, F = m // 2 + 1 frequencies, D diagonals; n permutations.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from espalier.tasks.measures.image_orders import ImageOrders


def permuted_forms(forms: Sequence[Tensor], orders: ImageOrders) -> Tensor:
    """`sum_ij A_s[i, j] A_t[p(i), p(j)]` of symmetric matrices with an empty diagonal: (n, S, S) in float64.

    Row s is the net that stays, column t the net whose images are permuted. Products are float32.
    """
    weights_D, kept_D = (part.to(forms[0].device) for part in _diagonals(orders))
    shifted = []
    fixed_FSD: Tensor | None = None
    for order_N in orders.round_orders():
        moving_FSD = torch.stack([_spectrum(form, order_N, orders.groups, kept_D) for form in forms], 1)
        if fixed_FSD is None:
            fixed_FSD = moving_FSD.conj() * weights_D
        product_FSS = fixed_FSD @ moving_FSD.transpose(1, 2)
        shifted.append(torch.fft.irfft(product_FSS, n=orders.size, dim=0))
    return orders.pick(shifted).double()


def _spectrum(form_NN: Tensor, order_N: Tensor, groups: int, kept_D: Tensor) -> Tensor:
    """Transforms (F, D) of the diagonals of all blocks of a matrix, its images along the circles."""
    count = len(order_N)
    size = count // groups
    blocks = form_NN.float()[order_N][:, order_N].view(groups, size, groups, size)
    twice = torch.cat([blocks, blocks], 3)
    # entry (i, i + d) of block (g, h), as [i, g, h, d]
    strides = (2 * count + 1, 2 * size * count, 2 * size, 1)
    diagonals = twice.as_strided((size, groups, groups, size), strides).flatten(1)
    return torch.fft.rfft(diagonals[:, kept_D], dim=0)


def _diagonals(orders: ImageOrders) -> tuple[Tensor, Tensor]:
    """Which diagonals (g, h, d) are enough, as flat places, and how often each counts.

    The matrices are symmetric: (h, g, m - d) has what (g, h, d) has. Diagonal 0 of (g, g) is empty.
    """
    size, groups = orders.size, orders.groups
    g, h, d = torch.meshgrid(*(torch.arange(n) for n in (groups, groups, size)), indexing="ij")
    kept = (g < h) | ((g == h) & (d >= 1) & (2 * d <= size))
    weights = torch.where((g == h) & (2 * d == size), 1.0, 2.0)
    return weights[kept], kept.flatten().nonzero()[:, 0]
