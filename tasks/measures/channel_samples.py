"""Channels of two nets as two samples of points in function space: `energy`, `mmd`, `mmd_inputs`.

Defined in docs/method.md, section 6. If channels are exchangeable between the nets (draws of one
distribution, say), which net each came from may be dealt anew. The statistics are sums over pairs of
channels, so those of all deals are one product. Legend: C channels of a net, B those of both; n permutations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from espalier.tasks.measures.channel_gram import PairMoments
from espalier.tasks.measures.found import Found, nothing
from espalier.tasks.measures.known_measures import inputs_of
from espalier.tasks.measures.layer_matrices import LayerMatrices
from espalier.tasks.seeds import stream

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Of `mmd`, as multiples of the median distance of two channels."""

INPUT_BANDWIDTHS = (0.1, 0.5, 1.0, 5.0)
"""Of `mmd_inputs`, in units of the layer's root mean square: those of Gu 2020's code."""

LEAST_EXPONENT = -80.0
"""Of a kernel: in float32 exp of less is a subnormal number, which takes a processor ten times as long."""


class Statistic(NamedTuple):
    """`2 mean of D between the nets - mean of D within each`, of a matrix D (B, B) over channels."""

    matrix_BB: Tensor
    without_self: bool

    def values(self, first_nB: Tensor) -> Tensor:
        """For deals (n, B), 1 where a channel is the first net's, else 0: (n,).

        Within a net the mean leaves each channel's pair with itself out (`without_self`: U-statistics).
        """
        first = first_nB.to(self.matrix_BB)
        x = first.sum(1)
        y, off = first.shape[1] - x, 1.0 if self.without_self else 0.0
        inside_x = (first @ self.matrix_BB * first).sum(1)
        between = first @ self.matrix_BB.sum(1) - inside_x
        inside_y = self.matrix_BB.sum() - 2 * between - inside_x
        return 2 * between / (x * y) - inside_x / (x * (x - off)) - inside_y / (y * (y - off))


@lru_cache(maxsize=64)
def deals(first: int, second: int, count: int) -> Tensor:
    """The real labels, then `count` random ones: (1 + n, B) of 1 for the first net's channels, else 0.

    They depend on the two numbers of channels alone.
    """
    both = first + second
    order = torch.rand(count, both, generator=stream("similarity labels", first, second)).argsort(1)
    return torch.cat([torch.arange(both)[None], order]) < first


def energy(layer: LayerMatrices) -> Found:
    """Energy distance of the two nets' channels, as a U-statistic (Szekely & Rizzo 2013).

    `2 E|x - y| - E|x - x'| - E|y - y'|` over channels as points, distances in units of the root mean square
    of all values of both nets. Its mean is 0 at every width if both nets' channels are draws of one
    distribution; it may be negative, and for a net and itself is -2 / C times the mean distance.
    """

    def make(pair: PairMoments, *_: int) -> tuple[Statistic, float]:
        away_BB = pair.square_distances().sqrt()
        count = len(pair.x_C)
        return Statistic(away_BB, without_self=True), 2 * away_BB[:count, count:].mean().item()

    return _over_pairs(layer, make)


def mmd(layer: LayerMatrices) -> Found:
    """Squared MMD of the two nets' channels, as a U-statistic (Gretton 2012).

    The sum over Gaussian kernels `exp(-d^2 / 2 h^2)` with h the median distance of two channels of the pair
    times 1/4, 1/2, 1, 2 and 4.
    """

    def make(pair: PairMoments, *_: int) -> tuple[Statistic, float]:
        square_BB = pair.square_distances()
        count = len(square_BB)
        median = float(np.median(square_BB[tuple(torch.triu_indices(count, count, 1))].sqrt().cpu().numpy()))
        kernel_BB = torch.zeros_like(square_BB)
        for times in BANDWIDTHS:
            kernel_BB += torch.exp(-square_BB / (2 * max(times * median, 1e-12) ** 2))
        return _kernel_statistic(kernel_BB.fill_diagonal_(0.0), len(pair.x_C), without_self=True)

    return _over_pairs(layer, make)


def mmd_inputs(layer: LayerMatrices) -> Found:
    """Gu 2020's MMD: for each input, of the two nets' C values there; the mean over inputs.

    An input is an (image, position): one random position of 16 to 128 images. As in their code, a
    V-statistic (with a floor of about 1 / width that its null has too), and the mean over Gaussian kernels of
    0.1, 0.5, 1 and 5 times the layer's scale. Differences in how values at several inputs go together do not
    show.
    """

    def make(pair: PairMoments, *nets: int) -> tuple[Statistic, float]:
        count = inputs_of(len(pair.x_C) + len(pair.y_C))
        kind = torch.float32 if pair.products == "float32" else torch.float64
        values = [layer.inputs(net, count) for net in dict.fromkeys(nets)]
        kernel_BB = input_kernel((torch.cat(values, 1).double() / pair.scale).to(kind))
        if len(values) == 1:  # a net and itself
            kernel_BB = kernel_BB.repeat(2, 2)
        return _kernel_statistic(kernel_BB, len(pair.x_C), without_self=False)

    return _over_pairs(layer, make, fewest=1)


def input_kernel(values_IB: Tensor) -> Tensor:
    """Mean over inputs and bandwidths of the Gaussian kernel of each two channels' values: (B, B).

    Kernels are in the type of the values, their sums in float64.
    """
    channels = values_IB.shape[1]
    kernel_BB = torch.zeros(channels, channels, dtype=torch.float64, device=values_IB.device)
    for block_iB in values_IB.split(4):
        square = (block_iB[:, :, None] - block_iB[:, None]).square_()
        for width in INPUT_BANDWIDTHS:
            exponent = (square * (-1 / (2 * width**2))).clamp_min_(LEAST_EXPONENT)
            kernel_BB += exponent.exp_().sum(0)
    return kernel_BB / (len(values_IB) * len(INPUT_BANDWIDTHS))


def _kernel_statistic(kernel_BB: Tensor, count: int, without_self: bool) -> tuple[Statistic, float]:
    """MMD^2 is the same form of the kernel's negative; it can be no more than the kernel within the nets."""
    others, off = len(kernel_BB) - count, 1 if without_self else 0
    within = [
        (part.sum() / (number * max(1, number - off))).item()
        for part, number in ((kernel_BB[:count, :count], count), (kernel_BB[count:, count:], others))
    ]
    return Statistic(-kernel_BB, without_self), sum(within)


def _over_pairs(
    layer: LayerMatrices, make: Callable[[PairMoments, int, int], tuple[Statistic, float]], fewest: int = 2
) -> Found:
    """Of each pair, and each net with itself, the value, its largest and its values under random labels."""
    found = nothing("distance", "labels", layer.nets)
    for left, right in [*layer.selves, *layer.pairs]:
        pair = layer.gram.pair(left, right)
        counts = len(pair.x_C), len(pair.y_C)
        if min(counts) < fewest:
            found.reasons[left, right] = f"{min(counts)} channel: a sample of channels needs {fewest} or more"
            continue
        statistic, largest = make(pair, left, right)
        values = statistic.values(deals(*counts, layer.permutations if left != right else 0))
        found.put(left, right, values[0].item(), largest)
        if left != right:
            found.nulls[left, right] = values[1:].cpu()
    return found
