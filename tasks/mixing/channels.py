"""The channels of several nets side by side: one Gram matrix of all serves every choice among them.

Legend: N images, C channels of all nets together, c of one net, H x W positions; D patch dimensions of C
channels, d of a choice of c; O output channels of a target; l a cut's layer, which reads h_{l-1}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from espalier.tasks.grafting.gram import ChannelMoments, PatchMoments, add_to
from espalier.tasks.grafting.layer_input import LayerInput
from espalier.tasks.grafting.tile_nets import given
from espalier.tasks.networks.architectures import images_per_batch, shapes_of
from espalier.tasks.networks.cuts import Arm, Reading, all_arms, arm_map, arm_sizes, cuts, reading
from espalier.tasks.networks.layout import for_convs
from espalier.tasks.networks.network import LayerFeatures, Network
from espalier.tasks.seeds import stream
from espalier.tasks.spec import Loss, PoolTile

Features = Mapping[int, LayerFeatures]
"""One layer's features by snapshot."""


class Channels:
    """The nets of a tile by their roles. Every source has c channels at a cut, as many as the target.

    From a net with more, a fixed random choice of c is used, the same for every target.
    """

    def __init__(self, tile: PoolTile, networks: Sequence[Network]) -> None:
        self.tile, self.networks = tile, networks
        self.targets = sorted({pool.target for pool in tile.pools})
        self.architecture = networks[self.targets[0]].architecture
        self.members = sorted({index for pool in tile.pools for index in (*pool.sources, *pool.wide)})
        self.loss: Loss = tile.snapshots[self.targets[0]].net.recipe.loss
        self.cuts = cuts(self.architecture)
        self.readings = {arm: reading(self.architecture, arm) for arm in all_arms(self.cuts)}
        self.shapes = shapes_of(self.architecture)
        self.chosen = {
            (member, arm.reads): self._choose(member, arm.reads)
            for member in self.members
            for arm in self.readings
        }

    def _choose(self, member: int, reads: int) -> Tensor:
        there, wanted = shapes_of(self.networks[member].architecture)[reads][0], self.shapes[reads][0]
        if there == wanted:
            return torch.arange(wanted)
        name = self.tile.snapshots[member].net_key
        return torch.randperm(there, generator=stream("wider_subset", name, reads))[:wanted].sort().values

    def of(self, members: Sequence[int], reads: int) -> Tensor:
        """Where the channels of h_reads of some members lie among all, member by member."""
        count = self.shapes[reads][0]
        return torch.cat([self.members.index(member) * count + torch.arange(count) for member in members])

    def dims(self, arm: Arm, chosen_c: Tensor) -> Tensor:
        """The patch dimensions (d,) of chosen channels: those of one channel are consecutive."""
        each = arm_sizes(self.architecture, self.architecture, arm).dim // self.shapes[arm.reads][0]
        return (chosen_c[:, None] * each + torch.arange(each)).flatten()

    def together(self, reads: int, features: Features) -> Tensor:
        """`h_reads` of all members side by side, (N, C) or (N, C, H, W); features of layer `reads` + 1."""
        return torch.cat([features[m].h_in[:, self.chosen[m, reads]] for m in self.members], 1)

    def inputs(self, arm: Arm, h: Tensor) -> LayerInput:
        """What an arm reads, of all members or of a choice."""
        layer, count = arm_map(self.architecture, arm), self.shapes[arm.reads][0]
        return LayerInput(layer, h, self.tile.options.products, count)

    def batches(self, x: Tensor, depth: int | None = None) -> Iterator[tuple[Tensor, list[Features]]]:
        """The indices of a batch of images, and the features of all nets at layers 1 to `depth`, or to L."""
        nets = sorted({*self.targets, *self.members})
        for images_N in torch.arange(len(x)).split(images_per_batch(self.architecture)):
            images = for_convs(x[images_N])
            features = {net: self.networks[net].features(images) for net in nets}
            layers = range(depth or self.architecture.depth)
            yield images_N, [{net: next(made) for net, made in features.items()} for _ in layers]


class Moments:
    """What a pass over images adds up for some arms: patches of all channels, cross terms of each target."""

    def __init__(self, channels: Channels, arms: Sequence[Arm]) -> None:
        self._channels, self._arms = channels, arms
        self.patches: dict[Reading, PatchMoments] = {}
        self.crosses: dict[tuple[int, Arm], Tensor] = {}
        self.outputs: dict[tuple[int, Arm], ChannelMoments] = {}
        for arm in arms:
            sizes = arm_sizes(channels.architecture, channels.architecture, arm)
            dim = sizes.dim * len(channels.members)
            self.patches[channels.readings[arm]] = PatchMoments(dim)
            for target in channels.targets:
                self.outputs[target, arm] = ChannelMoments(sizes.out)

    def add(self, layers: Sequence[Features]) -> None:
        """Add a batch: the features of layers 1 to that which the arms' last reading is of."""
        inputs: dict[Reading, LayerInput] = {}
        for arm in self._arms:
            features, place = layers[arm.reads], self._channels.readings[arm]
            if place not in inputs:
                inputs[place] = self._channels.inputs(arm, self._channels.together(arm.reads, features))
                self.patches[place].add(inputs[place])
            for target in self._channels.targets:
                output = given(arm, features[target])
                self.outputs[target, arm].add(output)
                add_to(self.crosses, (target, arm), inputs[place].cross_CD(output))


def measure(channels: Channels, arms: Sequence[Arm], x: Tensor) -> Moments:
    """The moments of some arms over images `x` (N, C, H, W)."""
    moments = Moments(channels, arms)
    for _, layers in channels.batches(x, 1 + max(arm.reads for arm in arms)):
        moments.add(layers)
    return moments
