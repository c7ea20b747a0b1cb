"""One layer of several nets: the matrices that every measure is made from, each made once.

Legend: N images, P positions of a map, C channels of a net, S nets; n images of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

from espalier.tasks.measures.channel_gram import ChannelGram, channel_rows
from espalier.tasks.measures.image_orders import ImageOrders, circles
from espalier.tasks.measures.known_measures import MOST
from espalier.tasks.measures.sample_kernels import sample_kernel
from espalier.tasks.seeds import stream

DRAWS = 8
"""Draws of one random position of every image (positions of one image are not independent samples)."""

GROUPS, GROUP_IMAGES = 8, 16
"""Most groups of images that share a position in a draw, and fewest images of one if there are several."""

LEAST_GROUPS = 4
"""Fewest groups that are made so large that their shifts are as many as the permutations."""


class LayerMatrices:
    """Features of the same images by several nets at one layer, and what follows from them.

    Batches are added in the order of the images; the features are kept, `4 N P C` bytes a net, since
    permutations of images need all of them. More nets than fit into memory are compared block by block:
    what a pair gets does not depend on which other nets are there, but for the rounding of products that are
    made together (1e-12 in values, 1e-7 in permuted ones; a p-value may differ by 1 / (n + 1) at a tie).

    Args:
        channels: C of each net.
        permutations: Of each null; measures that are dear take fewer of them and say how many.
        products: The type of the products of wide nets, as for grafts.
        pairs: Which pairs of nets to compare, each once; all by default.
    """

    def __init__(
        self,
        channels: Sequence[int],
        permutations: int = 999,
        products: Literal["float32", "float64"] = "float32",
        pairs: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self.gram = ChannelGram(channels, products)
        self.permutations = permutations
        nets = range(len(channels))
        self.wanted = sorted(
            (min(pair), max(pair)) for pair in (combinations(nets, 2) if pairs is None else pairs)
        )
        self._batches: list[list[Tensor]] = []

    def add(self, features: Sequence[Tensor]) -> None:
        """Add a batch: of each net, features (n, C, H, W) or (n, C) of the same images.

        Raises:
            ValueError: Nets whose maps have different sizes, or another number of nets or channels.
        """
        rows = [channel_rows(h) for h in features]
        found = tuple(net.shape[2] for net in rows)
        if found != self.gram.channels:
            raise ValueError(f"features of {found} channels, but the nets have {self.gram.channels}")
        if len({net.shape[:2] for net in rows}) > 1:
            sizes = ", ".join(f"{net.shape[0]} x {net.shape[1]}" for net in rows)
            raise ValueError(f"images x positions of the nets are {sizes}: they must be the same")
        self.gram.add_rows(rows)
        self._batches.append(rows)

    @cached_property
    def rows(self) -> list[Tensor]:
        """Of each net the features (N, P, C) of all images. Nothing is added after this was read."""
        rows = [torch.cat(parts) for parts in zip(*self._batches, strict=True)]
        self._batches = []
        return rows

    @property
    def nets(self) -> int:
        """S."""
        return len(self.gram.channels)

    @property
    def images(self) -> int:
        """N."""
        return len(self.rows[0])

    @property
    def positions(self) -> int:
        """P."""
        return self.rows[0].shape[1]

    @cached_property
    def faults(self) -> dict[int, str]:
        """Nets that cannot be compared, and why: features that are not finite, or that are constant.

        The place of the net's name is left open: see `tasks.measures.found.name_in`.
        """
        found = {}
        for net in range(self.nets):
            if not self.gram.finite(net):
                found[net] = "{} has features that are not finite"
            elif not self.gram.variance_C(net).any():
                found[net] = "all channels of {} are constant"
        return found

    @cached_property
    def sound(self) -> list[int]:
        """The other nets."""
        return [net for net in range(self.nets) if net not in self.faults]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The wanted pairs of sound nets, the lower number first."""
        return [pair for pair in self.wanted if not self.faults.keys() & {*pair}]

    @property
    def selves(self) -> list[tuple[int, int]]:
        """Each sound net with itself."""
        return [(net, net) for net in self.sound]

    @cached_property
    def orders(self) -> ImageOrders:
        """The permutations of images: they depend on N and their number alone, so layers share them."""
        return ImageOrders(self.images, self.permutations)

    @cached_property
    def few_orders(self) -> ImageOrders:
        """Those of measures that take `MOST` at most, on as many circles as have that many shifts each."""
        count = min(self.permutations, MOST)
        return ImageOrders(self.images, count, circles(self.images, count + 1))

    def centred_rows(self, net: int) -> Tensor:
        """Features (N, P, C) of a net less the mean of each channel over images and positions."""
        mean_C = self.gram.sums[net] / self.gram.rows
        return self.rows[net] - mean_C.float()

    def type_of(self, net: int) -> torch.dtype:
        """In which type a net's products with itself are taken."""
        return torch.float32 if self.gram.type_of(net, net) == "float32" else torch.float64

    def unit(self, net: int) -> float:
        """The power of two next to the root mean square of a sound net's features.

        Products of features in these units neither overflow nor vanish in float32, and no digit is lost.
        """
        square = self.gram.squares[net].mean().item() / self.gram.rows
        return 2.0 ** round(math.log2(square) / 2)

    @cached_property
    def kernels(self) -> list[Tensor]:
        """The sample kernel of each sound net in its units, in the type of its products with itself."""
        return [sample_kernel(self.rows[net] / self.unit(net), self.type_of(net)) for net in self.sound]

    @cached_property
    def drawn_orders(self) -> ImageOrders:
        """Permutations of images within groups, for samples at drawn positions (a few images are left out).

        Permuting an image's features must leave the positions where they are: at each, two nets have
        something in common for any images (a border, say). So images change places only with those that are
        looked at where they are, in every draw.
        """
        groups, count = max(1, min(GROUPS, self.images // GROUP_IMAGES)), min(self.permutations, MOST)
        if self.images >= LEAST_GROUPS * (count + 1):  # then one round of shifts is enough for all
            groups = min(groups, self.images // (count + 1))
        return ImageOrders(self.images // groups * groups, count, groups)

    @cached_property
    def draws(self) -> list[Tensor]:
        """For each draw, the position of each image in `drawn_orders`: the same for all nets.

        Random for each group and draw. A map of 1x1 has one draw.
        """
        orders, generator = self.drawn_orders, stream("similarity positions", self.images, self.positions)
        count = DRAWS if self.positions > 1 else 1
        return [
            torch.randint(self.positions, (orders.groups,), generator=generator)[orders.group_N]
            for _ in range(count)
        ]

    def drawn(self, net: int, draw: int) -> Tensor:
        """A sound net's features at the drawn positions, in its units: a row for each of `drawn_orders`."""
        position_M = self.draws[draw]
        return self.rows[net][torch.arange(len(position_M)), position_M] / self.unit(net)

    def inputs(self, net: int, count: int) -> Tensor:
        """A net's features (I, C) at a random position of each of `count` random images, or of all."""
        generator = stream("similarity inputs", self.images, self.positions)
        image_I = torch.randperm(self.images, generator=generator)[:count]
        return self.rows[net][image_I, torch.randint(self.positions, image_I.shape, generator=generator)]
