"""A tile's nets forward together: every source and target, one batch at a time.

Legend: N images, C channels, H x W positions; l a layer from 1 to L.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from espalier.tasks.data.tensors import Data
from espalier.tasks.grafting.layer_input import LayerInput
from espalier.tasks.grafting.nulls.known_nulls import AS_IT_IS, variant_of
from espalier.tasks.grafting.nulls.null import Noise, Seen
from espalier.tasks.grafting.solve import split as held_back
from espalier.tasks.grafting.tile_parts import Part, Source, gram_source, source_of, whole
from espalier.tasks.networks.architectures import images_per_batch, mixed_batch
from espalier.tasks.networks.cuts import Arm, Cut, Reading, all_arms, arm_map, norms_from, reading
from espalier.tasks.networks.layout import for_convs
from espalier.tasks.networks.network import LayerFeatures, Network, max_pool
from espalier.tasks.seeds import stream
from espalier.tasks.spec import GraftTile, Layer, Loss, Pair


class Batch(NamedTuple):
    """Indices of images: what the nets see, and by variant what sources with permuted images see instead.

    They point into the `images` of a split: of the training images (`train`) all, or those fitted on.
    """

    plain_N: Tensor
    permuted: Mapping[str, Tensor]
    images: int
    split: str


Layers = list[LayerFeatures]
"""Features of layers 1 to L of one net, in order."""


class Features(NamedTuple):
    """One batch's features of every source and every target."""

    sources: dict[Source, Layers]
    targets: dict[int, Layers]


class ArmFit(NamedTuple):
    """An arm, the linear map that stands for it, and what it reads."""

    arm: Arm
    map: Layer
    reading: Reading

    def input(self, h: Tensor, products: Literal["float32", "float64"]) -> LayerInput:
        """What the map reads, from the activation that crosses the cut."""
        pool = self.reading.pool
        return LayerInput(self.map, max_pool(h, pool) if pool > 1 else h, products)


class Bottoms:
    """The sources of a tile, each made once: the net, and what stands in the place of its features, if any.

    `networks` are the tile's snapshots in their order; `data` are the images that some nulls are made from.
    """

    def __init__(self, tile: GraftTile, networks: Sequence[Network], data: Data) -> None:
        self._tile, self._networks, self._data = tile, networks, data
        self._made = dict[Source, tuple[Network, Noise | None]]()

    def of(self, source: Source) -> tuple[Network, Noise | None]:
        """A source."""
        if source not in self._made:
            self._made[source] = self._make(source)
        return self._made[source]

    def _make(self, source: Source) -> tuple[Network, Noise | None]:
        network, net = self._networks[source.snapshot], self._tile.snapshots[source.snapshot].net
        variant = variant_of(source.variant)
        if variant.network:
            network = variant.network(network, net, self._data)
        return network, variant.noise(network, net, self._data) if variant.noise else None

    @cached_property
    def _parts(self) -> tuple[Tensor, Tensor]:
        """The training images that are fitted on, and those that are held back."""
        return held_back(len(self._data.y_train), self._tile.options)

    def seen(self, batch: Batch) -> Seen:
        """The numbers and labels of a batch's images, which may be some that are fitted on or held back."""
        if batch.split == "test":
            return Seen("test", batch.plain_N, self._data.y_test[batch.plain_N])
        every = len(self._data.y_train)
        numbers_N = batch.plain_N
        if batch.images < every:
            fitting_N, held_N = self._parts
            numbers_N = (held_N if batch.split == "validation" else fitting_N)[numbers_N]
        return Seen("train", numbers_N, self._data.y_train[numbers_N])


class TileNets:
    """A part of a tile, by default all of it, with the nets by the role they play.

    `networks` are the tile's snapshots in their order. All nets have the same layers but for their channels;
    `frame` is the architecture of one target, for what does not depend on channels.
    """

    def __init__(
        self, tile: GraftTile, networks: Sequence[Network], bottoms: Bottoms, part: Part | None = None
    ) -> None:
        self.tile, self.networks, self._made = tile, networks, bottoms
        chosen = part or whole(tile)
        self.cuts, self.targets = chosen.cuts, chosen.targets
        self.frame = networks[tile.pairs[0].target].architecture
        self.pairs_of: dict[Source, list[Pair]] = defaultdict(list)
        for pair in chosen.pairs:
            self.pairs_of[source_of(pair)].append(pair)
        self.arms = {
            arm: ArmFit(arm, arm_map(self.frame, arm), reading(self.frame, arm))
            for arm in all_arms(self.cuts)
        }
        self.loss: Loss = tile.snapshots[0].net.recipe.loss
        seen_by_grams = [gram_source(source) for source in self.pairs_of]
        self.bottoms = list(dict.fromkeys([*self.pairs_of, *seen_by_grams]))

    def grafts(self) -> Iterator[tuple[Source, Pair, Cut]]:
        """Every (source, pair, cut); what one source has at one cut comes together."""
        for source, pairs in self.pairs_of.items():
            for cut in self.cuts:
                for pair in pairs:
                    yield source, pair, cut

    def statistics(self, target: int, cut: Cut) -> tuple[str, ...]:
        """The values of column `bn` that a cut has: whose BN statistics the grafted net uses."""
        normed = norms_from(self.networks[target].architecture, cut.layer)
        return self.tile.options.statistics if normed else ("none",)

    def batches(self, images: int, split: str) -> Iterator[Batch]:
        """All images of a split in order."""
        return self.drawn_batches(torch.arange(images).split(images_per_batch(self.frame)), images, split)

    def mixed_batches(self, images: int, split: str) -> Iterator[Batch]:
        """All images in a fixed random order, batches of nearly one size: for the moments of a batch's BN."""
        order_N = torch.randperm(images, generator=stream("mixed", split, images))
        parts = order_N.tensor_split(-(-images // mixed_batch(self.frame)))
        return self.drawn_batches(parts, images, split)

    def drawn_batches(self, drawn: Iterable[Tensor], images: int, split: str) -> Iterator[Batch]:
        """Batches of the images with these indices, out of the `images` of a split."""
        orders = {
            name: order(images, split)
            for name in {source.variant for source in self.pairs_of}
            if (order := variant_of(name).order)
        }
        for chosen_N in drawn:
            permuted = {name: order_N[chosen_N] for name, order_N in orders.items()}
            yield Batch(chosen_N, permuted, images, split)

    def features(self, x: Tensor, batch: Batch) -> Features:
        """Features of a batch of all nets; a net that is both source and target goes forward once."""
        plain = {s.snapshot for s in self.bottoms if s.variant == AS_IT_IS} | set(self.targets)
        images = x[batch.plain_N]
        made = {index: self._forward(self.networks[index], images) for index in sorted(plain)}
        return Features(
            {
                s: made[s.snapshot] if s.variant == AS_IT_IS else self._layers(x, s, batch)
                for s in self.bottoms
            },
            {target: made[target] for target in self.targets},
        )

    def source_features(self, x: Tensor, batch: Batch) -> dict[Source, Layers]:
        """Features of a batch of the sources alone."""
        return {source: self._layers(x, source, batch) for source in self.pairs_of}

    def _forward(self, network: Network, images: Tensor) -> Layers:
        """Features of a net, its maps as fits read those of convs."""
        return list(network.features(for_convs(images)))

    def _layers(self, x: Tensor, source: Source, batch: Batch) -> Layers:
        look, images = variant_of(source.variant).look, x[seen(source, batch)]
        network, noise = self._made.of(source)
        layers = self._forward(network, look(images) if look else images)
        return noise(layers, self._made.seen(batch)) if noise else layers


def given(arm: Arm, features: LayerFeatures) -> Tensor:
    """The output of a net that an arm must reproduce: at layer `into` for z, else at layer `reads` + 1."""
    if arm.gives == "z":
        return features.z
    return features.shortcuts[arm.into] if arm.gives == "shortcut" else features.h_in


def arm_output(arm: Arm, layers: Layers) -> Tensor:
    """The output of the target that an arm of a source must reproduce."""
    return given(arm, layers[arm.into - 1 if arm.gives == "z" else arm.reads])


def goal(arm: Arm, source: Source, target: Layers, batch: Batch) -> Tensor:
    """`arm_output`, with the positions permuted as a source with permuted positions sees them."""
    output, positions = arm_output(arm, target), variant_of(source.variant).positions
    return gather_positions(output, positions(batch.plain_N, output[0, 0].numel())) if positions else output


def at_target_positions(source: Source, output: Tensor, batch: Batch) -> Tensor:
    """What a map gives for a source, with the positions as the target has them: `goal` undone."""
    positions = variant_of(source.variant).positions
    return scatter_positions(output, positions(batch.plain_N, output[0, 0].numel())) if positions else output


def gather_positions(z: Tensor, order_NP: Tensor) -> Tensor:
    """`z` (N, C, H, W) with the value of position order[p] at position p; (N, C) as it is."""
    if z.dim() == 2:
        return z
    index = order_NP[:, None].expand(-1, z.shape[1], -1).to(z.device)
    return z.flatten(2).gather(2, index).reshape(z.shape)


def scatter_positions(z: Tensor, order_NP: Tensor) -> Tensor:
    """The inverse of `gather_positions`."""
    if z.dim() == 2:
        return z
    index = order_NP[:, None].expand(-1, z.shape[1], -1).to(z.device)
    return torch.empty_like(z.flatten(2)).scatter_(2, index, z.flatten(2)).reshape(z.shape)


def seen(source: Source, batch: Batch) -> Tensor:
    """The images that a source sees in a batch."""
    return batch.permuted.get(source.variant, batch.plain_N)
