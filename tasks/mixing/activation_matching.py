"""Channels of two nets matched by what they compute: correlations over images and positions.

Activation matching (Li et al. 2015, "Convergent Learning"; Ainsworth et al. 2022, section 3.1): the order of
B's channels with the largest sum of correlations with A's, an exact linear assignment for each stream. Layers
of one residual stream have one order, so their correlations are summed.

Legend: N images, C channels of a stream, H x W positions; h_l what layer l+1 reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor

from espalier.tasks.grafting.gram import ChannelMoments, add_to
from espalier.tasks.mixing.weight_matching import Orders, best_order
from espalier.tasks.networks.architectures import images_per_batch
from espalier.tasks.networks.network import Network, free_streams, streams
from espalier.tasks.spec import Architecture

Correlations = Mapping[int, Tensor]
"""By stream: correlation (C, C) of each channel of A with each of B, summed over the stream's layers."""

NetPair = tuple[int, int]


def correlations(
    networks: Sequence[Network], pairs: Sequence[NetPair], x: Tensor
) -> dict[NetPair, Correlations]:
    """The correlations of some pairs of nets, in one pass over images `x` (N, C, H, W).

    A channel that is constant on them, or whose values are not finite, has no correlation: 0 with all.
    """
    architecture = networks[0].architecture
    layers, sums = _layers(architecture), _Sums(architecture, len(networks), pairs)
    for images in x.split(images_per_batch(architecture)):
        # h_l comes with layer l + 1, whose own map is then computed too: small beside the rest.
        read = [islice(net.features(images), 1, None) for net in networks]
        for layer, entries in enumerate(zip(*read, strict=True), start=1):
            if layer in layers:
                sums.add(layer, [_rows(entry.h_in) for entry in entries])
    return {pair: sums.correlations(pair) for pair in pairs}


def match_activations(found: Correlations) -> dict[int, Tensor]:
    """The best order of each stream."""
    return {number: best_order(sum_CC) for number, sum_CC in found.items()}


def mean_correlation(architecture: Architecture, found: Correlations, orders: Orders) -> float:
    """The mean over all hidden layers' channels of the correlation with the channel that comes there."""
    layers, total, count = _layers(architecture), 0.0, 0
    for number, sum_CC in found.items():
        order = orders[number].to(sum_CC.device)
        total += sum_CC.gather(1, order[:, None]).sum().item()
        count += len(order) * [*layers.values()].count(number)
    return total / count


def _layers(architecture: Architecture) -> dict[int, int]:
    """The streams of the hidden layers whose order is free."""
    tied, free = streams(architecture), free_streams(architecture)
    return {layer: tied[layer] for layer in range(1, architecture.depth) if tied[layer] in free}


def _rows(h: Tensor) -> Tensor:
    """`h` (N, C) or (N, C, H, W) as (N x positions, C) in float64."""
    return h.flatten(2).transpose(1, 2).flatten(0, 1).double() if h.dim() == 4 else h.double()


class _Sums:
    """First and second moments of several nets' channels, layer by layer."""

    def __init__(self, architecture: Architecture, nets: int, pairs: Sequence[NetPair]) -> None:
        self._layers, self._pairs = _layers(architecture), pairs
        self._moments = {
            (layer, net): ChannelMoments(architecture.layers[layer - 1].out)
            for layer in self._layers
            for net in range(nets)
        }
        self._crosses: dict[tuple[int, NetPair], Tensor] = {}

    def add(self, layer: int, rows: Sequence[Tensor]) -> None:
        """Add a batch: rows (M, C) of each net."""
        for net, rows_MC in enumerate(rows):
            self._moments[layer, net].add(rows_MC)
        for one, other in self._pairs:
            add_to(self._crosses, (layer, (one, other)), rows[one].T @ rows[other])

    def correlations(self, pair: NetPair) -> Correlations:
        """Of one pair of nets, by stream."""
        found: dict[int, Tensor] = {}
        for layer, number in self._layers.items():
            one, other = (self._moments[layer, net] for net in pair)
            covariance_CC = self._crosses[layer, pair] / one.rows - torch.outer(one.mean_C, other.mean_C)
            correlation_CC = covariance_CC * torch.outer(_inverse_sd(one), _inverse_sd(other))
            add_to(found, number, correlation_CC.nan_to_num(0.0, 0.0, 0.0))
        return found


def _inverse_sd(moments: ChannelMoments) -> Tensor:
    variance_C = moments.variance_C
    return torch.where(variance_C > 0, variance_C.rsqrt(), 0.0)
