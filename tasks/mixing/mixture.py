"""Which channels of a hybrid are net A's and which are net B's (docs/method.md, section 2).

Legend: N images, C channels, H x W positions; l a layer from 1 to L; p the share of A's channels.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from espalier.tasks.networks.network import Network, streams
from espalier.tasks.seeds import stream
from espalier.tasks.spec import Architecture

Masks = Mapping[int, Tensor]
"""By layer: mask (C,) of the channels that are A's."""


def channels_of_a(architecture: Architecture, share: float, *names: int | str) -> dict[int, Tensor]:
    """The first round(p C) channels of one random order per layer are A's: the masks of all p are nested.

    Layers that write to one residual stream share an order, or a channel of A would be added to one of B.
    `names` name the stream of random numbers that the orders are drawn from.
    """
    tied, masks = streams(architecture), dict[int, Tensor]()
    for number, layer in enumerate(architecture.layers, start=1):
        rank_C = torch.randperm(layer.out, generator=stream("hybrid", *names, tied[number]))
        masks[number] = rank_C < round(share * layer.out)
    return masks


def mix(of_a_C: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The channels of `a` where the mask says so, else those of `b`: (C,), (N, C) or (N, C, H, W)."""
    of_a_C = of_a_C.to(a.device)
    return torch.where(of_a_C.reshape(-1, *[1] * (a.dim() - 2)), a, b)


def mixed_norms(a: Network, b: Network, masks: Masks) -> dict[str, Tensor]:
    """Every tensor of BN by name, each channel's from the net that the channel came from."""
    return {
        name: mix(masks[int(name.split(".")[1])], value, b.parameters[name])
        for name, value in a.parameters.items()
        if ".bn." in name
    }
