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
    empty_NN = kernel_NN.double().clone().fill_diagonal_(0.0)
    count = len(empty_NN)
    row_N = empty_NN.sum(0) / (count - 2)
    centred_NN = empty_NN - row_N[:, None] - row_N + row_N.sum() / (count - 1)
    return centred_NN.fill_diagonal_(0.0)


def hsic_of_centred(forms: Sequence[Tensor]) -> Tensor:
    """`HSIC_1` of all pairs of U-centred kernels (N, N), as (S, S) in float64. N must be 4 or more."""
    flat, count = torch.stack([form.flatten() for form in forms]), len(forms[0])
    return flat @ flat.T / (count * (count - 3))


def hsic_of_features(features: Sequence[Tensor]) -> Tensor:
    """`HSIC_1` of the linear kernels of all pairs of features (N, C), from one product of N x all columns.

    The columns `a = |x_i|^2` of each net and 1 are appended, so the one Gram matrix has every term:
    `tr(K~L~) = |X^T Y|^2 - a.b`, `1'K~1 = |s_x|^2 - sum a` and `1'K~L~1 = s_x' X^T Y s_y - s_x.X^T b -
    s_y.Y^T a + a.b`, with s the sums of the columns.
    """
    # a shift of the features changes no HSIC_1, but costs digits
    nets, count = [net.double() - net.double().mean(0) for net in features], len(features[0])
    channels = sum(net.shape[1] for net in nets)
    own_FS = torch.block_diag(*(net.new_ones(net.shape[1], 1) for net in nets))
    norms_NS = torch.stack([net.square().sum(1) for net in nets], 1)
    wide = torch.cat([*nets, norms_NS, norms_NS.new_ones(count, 1)], 1)
    gram = wide.T @ wide
    xy_FF, xb_FS, ab_SS = (
        gram[:channels, :channels],
        gram[:channels, channels:-1],
        gram[channels:-1, channels:-1],
    )
    sums_FS = own_FS * gram[:channels, -1:]
    trace_SS = own_FS.T @ xy_FF.square() @ own_FS - ab_SS
    total_S = sums_FS.square().sum(0) - gram[channels:-1, -1]
    cross_SS = sums_FS.T @ xb_FS
    rows_SS = sums_FS.T @ xy_FF @ sums_FS - cross_SS - cross_SS.T + ab_SS
    return _put_together(trace_SS, torch.outer(total_S, total_S), rows_SS, count)


def hsic_with_itself(kernel_NN: Tensor) -> Tensor:
    """`HSIC_1(K, K)` of one kernel (N, N), in float64."""
    diagonal_N = kernel_NN.diagonal().double()
    row_N = kernel_NN.sum(0, dtype=torch.float64) - diagonal_N
    trace = kernel_NN.square().sum(dtype=torch.float64) - diagonal_N.square().sum()
    return _put_together(trace, row_N.sum().square(), row_N.square().sum(), len(kernel_NN))


def hsic_of_channels(values_NC: Tensor) -> Tensor:
    """`HSIC_1(k_c, k_c)` (C,) of the linear kernel of each single channel of (N, C)."""
    centred = values_NC.double() - values_NC.double().mean(0)
    count = len(centred)
    power = [centred.pow(exponent).sum(0) for exponent in range(5)]
    trace = power[2].square() - power[4]
    total = (power[1].square() - power[2]).square()
    rows = power[1].square() * power[2] - 2 * power[1] * power[3] + power[4]
    return _put_together(trace, total, rows, count)


def _put_together(trace: Tensor, total: Tensor, rows: Tensor, count: int) -> Tensor:
    inside = trace + total / ((count - 1) * (count - 2)) - 2 * rows / (count - 2)
    return inside / (count * (count - 3))


def cka_of(hsic_SS: Tensor) -> Tensor:
    """`HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))`; NaN where a net's own HSIC is not positive."""
    own_S = hsic_SS.diagonal().clone()
    own_S = own_S.where(own_S > 0, torch.nan)
    return hsic_SS / (own_S[:, None] * own_S).sqrt()
