"""Some training images on their way through nets, a layer at a time: what changed layers are made from.

Legend: N images, C channels, P positions of a map, R rows (images x positions).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from espalier.tasks.grafting.nulls.null import SAMPLE
from espalier.tasks.networks.network import Network, Shortcuts

BATCH = 128


def chosen(images: int) -> Tensor:
    """Indices of the images that are looked at, rising.

    >>> chosen(3).tolist(), len(chosen(50_000))
    ([0, 1, 2], 1024)
    """
    count = min(images, SAMPLE)
    return torch.arange(count) * images // count


@dataclass
class _Part:
    h: Tensor
    shortcuts: Shortcuts = field(default_factory=dict[int, Tensor])


class Walk:
    """The images (N, C, H, W) at one layer of a net, which may be made while they pass through it."""

    def __init__(self, x: Tensor) -> None:
        self._parts = [_Part(some) for some in x[chosen(len(x)).to(x.device)].split(BATCH)]

    def inputs(self) -> list[Tensor]:
        """`h`, what the next layer reads, batch by batch."""
        return [part.h for part in self._parts]

    def shortcut(self, network: Network, into: int) -> list[Tensor]:
        """What a shortcut that starts here gives to the layer `into`, before its BN."""
        return [network.shortcut(into, part.h) for part in self._parts]

    def outputs(self, network: Network, layer: int) -> list[Tensor]:
        """`z` of the next layer, which is `layer`."""
        return [network.layer(layer, part.h) for part in self._parts]

    def pass_through(self, network: Network, layer: int) -> None:
        """Through that layer, on to what the one above reads."""
        for part in self._parts:
            carried = {**part.shortcuts, **network.shortcuts_from(layer - 1, part.h)}
            part.h = network.after(layer, network.layer(layer, part.h), carried.pop(layer, None))
            part.shortcuts = carried


def channels_CR(h: Tensor) -> Tensor:
    """`h` of (N, C) or (N, C, H, W) in float64 with a row per channel, (C, N P)."""
    return h.double().transpose(0, 1).flatten(1)
