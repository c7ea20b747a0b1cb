"""What one layer of one net is like: statistics of its channels and of their spectrum (table `features`).

Legend: N images, P positions, C channels, K eigenvalues.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from espalier.tasks.grafting.fvu import live_channels
from espalier.tasks.measures.layer_matrices import LayerMatrices

FIRST_RANK = 4
"""First eigenvalue that the decay is fitted to: the largest few are outliers of trained nets."""

LEAST_RANKS = 4
"""Fewest eigenvalues that a decay is fitted to."""


class LayerStatistics(NamedTuple):
    """Of each channel its mean, variance and kurtosis (C,); of the layer its dead channels and its spectrum.

    Attributes:
        mean_C: Over images and positions.
        variance_C: The same; 0 where it is rounding.
        kurtosis_C: Fourth central moment over the squared variance, 3 for a Gaussian; NaN where constant.
        dead_share: Share of the channels with less than 1e-8 of the layer's mean variance, or with none.
        participation_ratio: `(sum e)^2 / sum e^2` of the eigenvalues e of the channels' covariance.
        effective_rank: exp of the entropy of the eigenvalues' shares (Roy & Vetterli 2007).
        decay: s in `e_k ~ k^-s`, by least squares of log e on log k over ranks `decay_first` to
            `decay_last`; NaN with fewer than 4 of them above rounding.
        decay_first: 4, counted from 1.
        decay_last: Half of the channels, or the last eigenvalue above rounding.
    """

    mean_C: Tensor
    variance_C: Tensor
    kurtosis_C: Tensor
    dead_share: float
    participation_ratio: float
    effective_rank: float
    decay: float
    decay_first: int
    decay_last: int


def layer_statistics(layer: LayerMatrices, net: int) -> LayerStatistics:
    """Statistics of one net's features, in float64; NaN where features are not finite."""
    mean_C, variance_C = layer.gram.sums[net] / layer.gram.rows, layer.gram.variance_C(net)
    fourth_C = torch.zeros_like(mean_C)
    for rows_nPC in layer.rows[net].split(64):
        fourth_C += (rows_nPC.double() - mean_C).pow(4).sum((0, 1))
    kurtosis_C = fourth_C / layer.gram.rows / variance_C.square()
    if not layer.gram.finite(net):
        unknown = math.nan
        return LayerStatistics(mean_C, variance_C, kurtosis_C, unknown, unknown, unknown, unknown, 0, 0)
    live = live_channels(variance_C)
    values_K = torch.linalg.eigvalsh(layer.gram.pair(net, net).centred[0]).flip(0).clamp_min(0)
    known = int((values_K > 1e-6 * values_K[0]).sum())
    decay, last = _decay(values_K, min(len(values_K) // 2, known))
    return LayerStatistics(
        mean_C,
        variance_C,
        kurtosis_C.where(variance_C > 0, math.nan),
        1 - live.double().mean().item(),
        *_dimensions(values_K) if live.any() else (0.0, 0.0),
        decay,
        FIRST_RANK,
        last,
    )


def _dimensions(values_K: Tensor) -> tuple[float, float]:
    """Participation ratio and effective rank."""
    share_K = values_K / values_K.sum()
    ratio = 1 / share_K.square().sum()
    return ratio.item(), torch.special.entr(share_K).sum().exp().item()


def _decay(values_K: Tensor, last: int) -> tuple[float, int]:
    if last - FIRST_RANK + 1 < LEAST_RANKS:
        return math.nan, last
    rank = torch.arange(FIRST_RANK, last + 1, dtype=torch.float64, device=values_K.device).log()
    height = values_K[FIRST_RANK - 1 : last].log()
    rank -= rank.mean()
    return -((rank * height).sum() / rank.square().sum()).item(), last
