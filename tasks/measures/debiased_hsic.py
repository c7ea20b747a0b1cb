"""Debiased HSIC (Song et al. 2012), from N x N kernels or from the features of a linear one.

`HSIC_1(K, L) = (tr(K~ L~) + 1'K~1 1'L~1 / ((N-1)(N-2)) - 2/(N-2) 1'K~ L~1) / (N (N-3))`, where `~` sets the
diagonal to 0. It is unbiased at every N, so it has no floor that rises with the number of features, and may
be negative. Legend: N samples, C features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def u_centred(kernel_NN: Tensor) -> Tensor:
    """The U-centred kernel in float64: `HSIC_1(K, L)` is the sum of products of two, over N (N - 3).

    Szekely & Rizzo 2014. Permuting images before or after gives the same.
    """
    return _u_centre(kernel_NN.to(torch.float64, copy=True))


def u_centred_coarse(kernel_NN: Tensor) -> Tensor:
    """The same in float32, of a kernel that is not read again: a ninth of the time."""
    return _u_centre(kernel_NN.float())


def _u_centre(kernel_NN: Tensor) -> Tensor:
    count = len(kernel_NN.fill_diagonal_(0.0))
    row_N = kernel_NN.sum(0, dtype=torch.float64) / (count - 2)
    half_N = (row_N - row_N.sum() / (2 * (count - 1))).to(kernel_NN.dtype)
    return kernel_NN.sub_(half_N[:, None]).sub_(half_N).fill_diagonal_(0.0)


def hsic_of_centred(forms: Sequence[Tensor]) -> Tensor:
    """`HSIC_1` of all pairs of U-centred kernels (N, N), as (S, S) in float64. N must be 4 or more."""
    flat, count = torch.stack([form.flatten() for form in forms]), len(forms[0])
    return flat @ flat.T / (count * (count - 3))


def hsic_of_features(features: Sequence[Tensor]) -> Tensor:
    """`HSIC_1` of the linear kernels of all pairs of features (N, C), from one product of N x all columns.

    Features are centred first, which changes no HSIC_1. Then `1'K` is 0, so with `a = |x_i|^2` of each
    net, and b of another, one Gram matrix of all columns and one of the a have every term: `tr(K~L~) =
    |X^T Y|^2 - a.b`, `1'K~1 = -sum a` and `1'K~ L~1 = a.b`.
    """
    nets, count = [net.double() - net.double().mean(0) for net in features], len(features[0])
    own_FS = torch.block_diag(*(net.new_ones(net.shape[1], 1) for net in nets))
    norms_NS = torch.stack([net.square().sum(1) for net in nets], 1)
    wide = torch.cat(nets, 1)
    ab_SS, total_S = norms_NS.T @ norms_NS, norms_NS.sum(0)
    trace_SS = own_FS.T @ (wide.T @ wide).square() @ own_FS - ab_SS
    return _put_together(trace_SS, torch.outer(total_S, total_S), ab_SS, count)


def hsic_of_maps(maps_CNP: Tensor) -> Tensor:
    """`HSIC_1(K_c, K_c)` (C,) of the linear kernels of maps (C, N, P), centred over the images.

    Products are in the type of the maps, their sums in float64.
    """
    norms_CN = maps_CNP.square().sum(2, dtype=torch.float64)
    square_C, total_C = norms_CN.square().sum(1), norms_CN.sum(1)
    trace_C = (maps_CNP.mT @ maps_CNP).square().sum((1, 2), dtype=torch.float64) - square_C
    return _put_together(trace_C, total_C.square(), square_C, maps_CNP.shape[1])


def hsic_with_itself(kernel_NN: Tensor) -> Tensor:
    """`HSIC_1(K, K)` of one kernel (N, N), in float64."""
    diagonal_N = kernel_NN.diagonal().double()
    row_N = kernel_NN.sum(0, dtype=torch.float64) - diagonal_N
    trace = kernel_NN.square().sum(dtype=torch.float64) - diagonal_N.square().sum()
    return _put_together(trace, row_N.sum().square(), row_N.square().sum(), len(kernel_NN))


def hsic_of_channels(values_NC: Tensor) -> Tensor:
    """`HSIC_1(k_c, k_c)` (C,) of the linear kernel of each single channel of (N, C)."""
    centred = values_NC.double() - values_NC.double().mean(0)
    square, fourth = centred.square().sum(0), centred.pow(4).sum(0)
    return _put_together(square.square() - fourth, square.square(), fourth, len(centred))


def _put_together(trace: Tensor, total: Tensor, rows: Tensor, count: int) -> Tensor:
    inside = trace + total / ((count - 1) * (count - 2)) - 2 * rows / (count - 2)
    return inside / (count * (count - 3))


def cka_of(hsic_SS: Tensor) -> Tensor:
    """`HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))`; NaN where a net's own HSIC is not positive."""
    own_S = hsic_SS.diagonal().clone()
    own_S = own_S.where(own_S > 0, torch.nan)
    return hsic_SS / (own_S[:, None] * own_S).sqrt()
