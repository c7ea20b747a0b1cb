"""Inner products of two nets' N x N matrices under all permutations of the second net's images.

`sum_ij A_ij B_p(i)p(j)` for a shift p of a circle is a sum over diagonals: on the circle, diagonal d of A
is a sequence along i, and a shift moves it. So the Fourier transforms of the diagonals give all shifts of
all pairs of nets: for N images N^2 log N operations a net and N^2 a pair, instead of N^3 for N permutations.

Legend: N images, S nets, F = N // 2 + 1 frequencies, D = N // 2 diagonals; n permutations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from espalier.tasks.measures.image_orders import ImageOrders


def permuted_forms(forms: Sequence[Tensor], orders: ImageOrders) -> Tensor:
    """`sum_ij A_s[i, j] A_t[p(i), p(j)]` of symmetric matrices with an empty diagonal, as (n, S, S) in float64.

    Row s is the net that stays, column t the net whose images are permuted. Products are float32.
    """
    return permuted_sums([lambda net=net: forms[net] for net in range(len(forms))], orders)


def permuted_sums(makers: Sequence[Callable[[], Tensor]], orders: ImageOrders) -> Tensor:
    """As `permuted_forms`, where each matrix is made when its turn has come, once for each circle."""
    shifted = []
    fixed_FSD: Tensor | None = None
    for order_N in orders.circle_orders():
        moving_FSD = torch.stack([_spectrum(make(), order_N) for make in makers], 1)
        fixed_FSD = moving_FSD if fixed_FSD is None else fixed_FSD
        weighted_FSD = fixed_FSD.conj() * _weights(orders.images).to(fixed_FSD.device)
        product_FSS = weighted_FSD @ moving_FSD.transpose(1, 2)
        shifted.append(torch.fft.irfft(product_FSS, n=orders.images, dim=0))
    return orders.pick(shifted).double()


def _spectrum(form_NN: Tensor, order_N: Tensor) -> Tensor:
    """Transforms (F, D) of the diagonals 1 to N // 2 of a matrix on the circle."""
    count = len(order_N)
    placed_NN = form_NN.float()[order_N][:, order_N]
    twice = torch.cat([placed_NN, placed_NN], 1)
    diagonals_ND = twice.as_strided((count, count // 2), (2 * count + 1, 1), 1)
    return torch.fft.rfft(diagonals_ND, dim=0)


def _weights(count: int) -> Tensor:
    """How often each diagonal (D,) counts: d and N - d are one, and N / 2 is its own opposite."""
    weights_D = torch.full((count // 2,), 2.0)
    if count % 2 == 0:
        weights_D[-1] = 1.0
    return weights_D
