"""A tile's nets forward together: every source and target, one layer of one batch at a time.

Legend: N images, C channels, H x W positions; l a layer from 1 to L.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from tasks.architectures import images_per_batch, mixed_batch
from tasks.cuts import Arm, Cut, Reading, all_arms, arm_map, cuts, norms_from, reading
from tasks.network import LayerFeatures, Network, permute_channels
from tasks.seeds import stream
from tasks.spec import GraftTile, Layer, Loss, Pair

POSITION_ORDERS = 64
"""How many different permutations of positions the shuffled images take."""


class Source(NamedTuple):
    """A bottom: a snapshot as it is (`plain`), with its images and positions, or its channels permuted."""

    snapshot: int
    variant: str


class Batch(NamedTuple):
    """Indices of images: what the nets see, and what sources with permuted images see instead."""

    plain_N: Tensor
    shuffled_N: Tensor


class Step(NamedTuple):
    """One layer's features of every source and target for one batch of images."""

    layer: int
    sources: dict[Source, LayerFeatures]
    targets: dict[int, LayerFeatures]


class ArmFit(NamedTuple):
    """An arm, the linear map that stands for it, and what it reads."""

    arm: Arm
    map: Layer
    reading: Reading


class Walk:
    """The nets of a tile by the part they play. `networks` are the tile's snapshots in their order."""

    def __init__(self, tile: GraftTile, networks: list[Network]) -> None:
        self.tile, self.networks = tile, networks
        self.architecture = networks[0].architecture
        self.cuts = cuts(self.architecture, tile.options.methods)
        self.arms = {
            arm: ArmFit(arm, arm_map(self.architecture, arm), reading(self.architecture, arm))
            for arm in all_arms(self.cuts)
        }
        self.loss: Loss = tile.snapshots[0].net.recipe.loss
        self.pairs_of: dict[Source, list[Pair]] = defaultdict(list)
        for pair in tile.pairs:
            self.pairs_of[source_of(pair)].append(pair)
        self.targets = sorted({pair.target for pair in tile.pairs})
        seen_by_grams = [gram_source(source) for source in self.pairs_of]
        self.bottoms = {source: self._bottom(source) for source in [*self.pairs_of, *seen_by_grams]}

    def _bottom(self, source: Source) -> Network:
        network = self.networks[source.snapshot]
        if source.variant != "permuted":
            return network
        net = self.tile.snapshots[source.snapshot].net
        return permute_channels(network, net.seed, net.width)

    def grafts(self) -> Iterator[tuple[Source, Pair, Cut]]:
        """Every (source, pair, cut); what one source has at one cut comes together."""
        for source, pairs in self.pairs_of.items():
            for cut in self.cuts:
                for pair in pairs:
                    yield source, pair, cut

    def arms_at(self, layer: int) -> list[ArmFit]:
        """The arms that read what `layer` reads."""
        return [fit for fit in self.arms.values() if fit.arm.reads == layer - 1]

    def statistics(self, cut: Cut) -> tuple[str, ...]:
        """The values of column `bn` that a cut has: whose BN statistics the grafted net uses."""
        normed = norms_from(self.architecture, cut.layer)
        return self.tile.options.statistics if normed else ("none",)

    def batches(self, images: int, split: str) -> Iterator[Batch]:
        """All images of a split in order; the permutation of the shuffled ones is fixed by split and size."""
        plain_N, shuffled_N = torch.arange(images), self._shuffled(images, split)
        size = images_per_batch(self.architecture)
        for plain, shuffled in zip(plain_N.split(size), shuffled_N.split(size), strict=True):
            yield Batch(plain, shuffled)

    def mixed_batches(self, images: int, split: str) -> Iterator[Batch]:
        """All images in a fixed random order, batches of nearly one size: for the moments of a batch's BN."""
        order_N = torch.randperm(images, generator=stream("mixed", split, images))
        return self.drawn_batches(
            order_N.tensor_split(-(-images // mixed_batch(self.architecture))), images, split
        )

    def drawn_batches(self, drawn: Iterable[Tensor], images: int, split: str) -> Iterator[Batch]:
        """Batches of the images with these indices, out of the `images` of a split."""
        shuffled_N = self._shuffled(images, split)
        for chosen_N in drawn:
            yield Batch(chosen_N, shuffled_N[chosen_N])

    def _shuffled(self, images: int, split: str) -> Tensor:
        return torch.randperm(images, generator=stream("shuffled_images", split, images))

    def steps(self, x: Tensor, batch: Batch) -> Iterator[Step]:
        """Layers 1 to L of all nets, so that one layer's features are held at a time."""
        targets = {t: self.networks[t].features(x[batch.plain_N]) for t in self.targets}
        for layer, sources in self.source_steps(x, batch, self.bottoms):
            yield Step(layer, sources, {target: next(features) for target, features in targets.items()})

    def source_steps(
        self, x: Tensor, batch: Batch, chosen: Iterable[Source]
    ) -> Iterator[tuple[int, dict[Source, LayerFeatures]]]:
        """Layers 1 to L of some sources alone."""
        sources = {s: self.bottoms[s].features(x[seen(s, batch)]) for s in chosen}
        for layer in range(1, self.architecture.depth + 1):
            yield layer, {source: next(features) for source, features in sources.items()}


def arm_output(arm: Arm, features: LayerFeatures) -> Tensor:
    """What the target gives where an arm of a source is to give the same; features of layer `reads` + 1."""
    if arm.gives == "z":
        return features.z
    return features.shortcuts[arm.into] if arm.gives == "shortcut" else features.h_in


def goal(arm: Arm, source: Source, target: LayerFeatures, batch: Batch) -> Tensor:
    """`arm_output`, with the positions permuted as a source with permuted images and positions sees them."""
    output = arm_output(arm, target)
    if source.variant != "shuffled_images":
        return output
    return gather_positions(output, position_order(batch.plain_N, output[0, 0].numel()))


def source_of(pair: Pair) -> Source:
    """Which bottom a pair grafts: `self` and `untrained` are plain grafts of other snapshots."""
    return Source(pair.source, pair.null if pair.null in ("shuffled_images", "permuted") else "plain")


def gram_source(source: Source) -> Source:
    """Whose Gram matrix serves `source`: permuting the images changes no sum over them."""
    return Source(source.snapshot, "plain") if source.variant == "shuffled_images" else source


def position_order(images_N: Tensor, positions: int) -> Tensor:
    """For each image a permutation (N, P) of the positions of a map, one of a fixed table's.

    A zero-padded border and the average image tell where a patch lies. Permuting the images alone
    therefore leaves the fit something to find; with the positions permuted as well nothing is left.
    """
    orders = [
        torch.randperm(positions, generator=stream("shuffled_positions", positions, number))
        for number in range(POSITION_ORDERS)
    ]
    return torch.stack(orders)[images_N % POSITION_ORDERS]


def gather_positions(z: Tensor, order_NP: Tensor) -> Tensor:
    """`z` (N, C, H, W) with the value of position order[p] at position p; (N, C) as it is."""
    if z.dim() == 2:
        return z
    index = order_NP[:, None].expand(-1, z.shape[1], -1)
    return z.flatten(2).gather(2, index).reshape(z.shape)


def scatter_positions(z: Tensor, order_NP: Tensor) -> Tensor:
    """The inverse of `gather_positions`."""
    if z.dim() == 2:
        return z
    index = order_NP[:, None].expand(-1, z.shape[1], -1)
    return torch.empty_like(z.flatten(2)).scatter_(2, index, z.flatten(2)).reshape(z.shape)


def seen(source: Source, batch: Batch) -> Tensor:
    """The images that a source sees in a batch."""
    return batch.shuffled_N if source.variant == "shuffled_images" else batch.plain_N
