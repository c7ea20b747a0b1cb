"""Random features that know the class of an image and nothing else of it.

Legend: as in `tasks.grafting.nulls.sample_walk`; K classes, as many as the net has outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from espalier.tasks.grafting.nulls.sample_walk import Walk, channels_CR
from espalier.tasks.networks.network import LayerFeatures, Network
from espalier.tasks.seeds import stream

if TYPE_CHECKING:
    from espalier.tasks.grafting.nulls.null import Seen


class Clusters(NamedTuple):
    """What stands for one activation: a map for each class, and a root of the noise's covariance."""

    centre_KCP: Tensor
    root_CC: Tensor


class ClassNoise:
    """In the place of each activation above the image, a random map of the image's class plus noise.

    Smith, Mannering & Marcu (ICML 2025), algorithms 1 and 2, whose maps are uniform and whose noise is white;
    here both have the mean and the covariance of the net's own channels (the noise a mean of 0), independent
    at every position.

    Args:
        network: The net whose features are replaced.
        x: Training images (N, C, H, W). Their classes play no part: each class has a random map of its own,
            whether there is a training image of it or not.
        names: Name the streams of random numbers.
    """

    def __init__(self, network: Network, x: Tensor, *names: int | str) -> None:
        self._network, self._names = network, names
        walk, self._clusters = Walk(x), dict[int, Clusters]()
        classes = network.architecture.layers[-1].out
        for layer in range(1, network.architecture.depth):
            walk.pass_through(network, layer)
            h = torch.cat(walk.inputs())
            self._clusters[layer] = clusters(h, classes, stream("class", *names, layer))

    def __call__(self, layers: list[LayerFeatures], seen: Seen) -> list[LayerFeatures]:
        """The features of a batch, replaced; the last `z` are the net's own logits for them."""
        made = layers[:1] + [
            entry._replace(h_in=self._noise(entry.h_in, entry.layer - 1, seen)) for entry in layers[1:]
        ]
        depth = len(made)
        made[-1] = made[-1]._replace(z=self._network.layer(depth, made[-1].h_in))
        return made

    def _noise(self, h: Tensor, below: int, seen: Seen) -> Tensor:
        """For each image of a batch a map of the shape of `h`, its own whatever the batch."""
        centre_KCP, root_CC = self._clusters[below]
        plain_NCP = torch.stack(
            [
                torch.randn(
                    centre_KCP.shape[1:], generator=stream("noise", *self._names, below, seen.split, one)
                )
                for one in seen.numbers_N.tolist()
            ]
        ).to(h.device)
        return (root_CC @ plain_NCP + centre_KCP[seen.labels_N]).reshape(h.shape)


def clusters(h: Tensor, classes: int, generator: torch.Generator) -> Clusters:
    """The clusters for an activation (N, C) or (N, C, H, W), of as many classes."""
    rows_CR = channels_CR(h)
    mean_C = rows_CR.mean(1, keepdim=True)
    rows_CR = rows_CR - mean_C
    values_C, vectors_CC = torch.linalg.eigh(rows_CR @ rows_CR.T / rows_CR.shape[1])
    root_CC = vectors_CC * values_C.clamp(min=0.0).sqrt()
    shape = (classes, h.shape[1], h[0, 0].numel())
    plain_KCP = torch.randn(shape, generator=generator, dtype=torch.float64).to(h.device)
    return Clusters((mean_C + root_CC @ plain_KCP).float(), root_CC.float())
