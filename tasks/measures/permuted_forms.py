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
    fixed_SFD: Tensor | None = None
    for order_N in orders.round_orders():
        moving_SFD = _spectra(forms, _places(order_N.to(entry_mD2.device), entry_mD2))
        if fixed_SFD is None:
            fixed_SFD = moving_SFD.conj() * weights_D
        product_FSS = fixed_SFD.transpose(0, 1) @ moving_SFD.permute(1, 2, 0)
        shifted.append(torch.fft.irfft(product_FSS, n=orders.size, dim=0))
    return orders.pick(shifted).double()


def _places(order_N: Tensor, entry_mD2: Tensor) -> Tensor:
    """Where in a matrix (N, N) the entries of the diagonals lie, its images along the circles."""
    first, second = order_N[entry_mD2].unbind(2)
    return (first * len(order_N) + second).int()


def _spectra(forms: Sequence[Tensor], place_mD: Tensor) -> Tensor:
    """Transforms (S, F, D) of the diagonals of all blocks of each matrix."""
    diagonals_SmD = torch.empty(len(forms), *place_mD.shape, device=place_mD.device)
    for form, into_mD in zip(forms, diagonals_SmD, strict=True):
        torch.index_select(form.float().flatten(), 0, place_mD.flatten(), out=into_mD.view(-1))
    return torch.fft.rfft(diagonals_SmD, dim=1)


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
