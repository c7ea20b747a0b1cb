"""Several nets on the same images, layer after layer: one layer's features of all nets at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from espalier.tasks.data.subset import subset
from espalier.tasks.networks.layout import for_convs
from espalier.tasks.networks.network import Network

BATCH = 250
"""Images of a batch."""


def chosen(y: Tensor, count: int) -> Tensor:
    """Indices (N,) of at most `count` images, rising; of each class its share (of a regression the first)."""
    if count >= len(y):
        return torch.arange(len(y))
    if y.is_floating_point():
        return torch.arange(count)
    return torch.from_numpy(subset(y.cpu().numpy(), count))


def layers_of(networks: Sequence[Network], x: Tensor) -> Iterator[tuple[int, list[list[Tensor]]]]:
    """Layer l and, batch by batch, each net's features h_l of images `x` (N, C, H, W); at the last, logits.

    All nets have as many layers. What is held are the features of two neighbouring layers.
    """
    batches = [for_convs(some) for some in x.split(BATCH)]
    walks = [[network.features(some) for network in networks] for some in batches]
    depth = networks[0].architecture.depth
    entries = [[next(walk) for walk in some] for some in walks]
    for layer in range(1, depth):
        entries = [[next(walk) for walk in some] for some in walks]
        yield layer, [[entry.h_in for entry in some] for some in entries]
    yield depth, [[entry.z for entry in some] for some in entries]
