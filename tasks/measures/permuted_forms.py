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
    weights_D, entry_mD2 = (part.to(forms[0].device) for part in _diagonals(orders))
    shifted = []
    fixed_FSD: Tensor | None = None
    for order_N in orders.round_orders():
        place_mD = _places(order_N.to(entry_mD2.device), entry_mD2)
        moving_FSD = torch.stack([_spectrum(form, place_mD) for form in forms], 1)
        if fixed_FSD is None:
            fixed_FSD = moving_FSD.conj() * weights_D
        product_FSS = fixed_FSD @ moving_FSD.transpose(1, 2)
        shifted.append(torch.fft.irfft(product_FSS, n=orders.size, dim=0))
    return orders.pick(shifted).double()


def _places(order_N: Tensor, entry_mD2: Tensor) -> Tensor:
    """Where in a matrix (N, N) the entries of the diagonals lie, its images along the circles."""
    first, second = order_N[entry_mD2].unbind(2)
    return (first * len(order_N) + second).int()


def _spectrum(form_NN: Tensor, place_mD: Tensor) -> Tensor:
    """Transforms (F, D) of the diagonals of all blocks of a matrix."""
    diagonals = form_NN.float().flatten().index_select(0, place_mD.flatten())
    return torch.fft.rfft(diagonals.view_as(place_mD), dim=0)


def _diagonals(orders: ImageOrders) -> tuple[Tensor, Tensor]:
    """How often each diagonal (g, h, d) counts (D,), and its entries (m, D, 2), as places on the circles.

    Entry i of diagonal d of block (g, h) is (i, i + d mod m). The matrices are symmetric: (h, g, m - d) has
    what (g, h, d) has, so that half of them are enough. Diagonal 0 of (g, g) is empty.
    """
    size, groups = orders.size, orders.groups
    g, h, d = torch.meshgrid(*(torch.arange(n) for n in (groups, groups, size)), indexing="ij")
    kept = (g < h) | ((g == h) & (d >= 1) & (2 * d <= size))
    g, h, d = g[kept], h[kept], d[kept]
    along_m1 = torch.arange(size)[:, None]
    entries = torch.stack([g * size + along_m1.expand(-1, len(g)), h * size + (along_m1 + d) % size], 2)
    return torch.where((g == h) & (2 * d == size), 1.0, 2.0), entries
