"""One group of channels as the source of one fit, and its held-out error without a forward pass.

Legend: as in `tasks.mixing.channels`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from espalier.tasks.grafting.gram import (
    Centred,
    CentredGram,
    Factor,
    PatchMoments,
    centre,
    factorise,
    ridge_solution,
)
from espalier.tasks.grafting.row_rule import shrunk
from espalier.tasks.grafting.solve import Fit, Sums, solve
from espalier.tasks.mixing.channels import Channels, Moments
from espalier.tasks.networks.cuts import Arm
from espalier.tasks.seeds import stream
from espalier.tasks.spec import Pool


class Groups(NamedTuple):
    """Channels (c,) among all of a tile's: of whole nets, and of as many random groups per partition."""

    real: list[Tensor]
    dealt: list[list[Tensor]]


def deal(channels: Channels, pool: Pool, layer: int) -> Groups:
    """A pool's channels of h_{l-1} by net, and dealt at random; groups keep the pool's order of channels.

    Each partition has a stream named by the pool, the layer and its number.
    """
    members = (*pool.sources, *pool.wide)
    all_C = channels.of(members, layer - 1)
    count = len(all_C) // len(members)
    dealt = []
    for number in range(1, channels.tile.partitions + 1):
        order_C = torch.randperm(len(all_C), generator=stream("partition", pool.key, layer, number))
        dealt.append([all_C[part.sort().values] for part in order_C.split(count)])
    return Groups(list(all_C.split(count)), dealt)


class Trial(NamedTuple):
    """A group's held-out FVU, and how many of the d directions of its patches the fitting images show.

    FVU is None where the target is constant, `kept` where it is not known.
    """

    fvu: float | None
    kept: int | None
    dim: int


@dataclass(frozen=True)
class Fitter:
    """Fits of groups of channels to targets, from the moments of the fitting and of the held-out images."""

    channels: Channels
    train: Moments
    test: Moments

    def factor(self, arm: Arm, group_c: Tensor) -> Factor:
        """The factorised Gram matrix of a group."""
        return factorise(self.patches(self.train, arm, group_c))

    def patches(self, moments: Moments, arm: Arm, group_c: Tensor) -> PatchMoments:
        """A group's share in the Gram matrix of all channels."""
        return moments.patches[self.channels.readings[arm]].select(self.channels.dims(arm, group_c))

    def fit(self, target: int, arm: Arm, group_c: Tensor, factor: Factor) -> Fit:
        """The least-squares map from a group to what an arm gives in the target."""
        sums = self.sums(self.train, target, arm, group_c, factor)
        return solve(factor, sums, self.channels.tile.options.ridge)

    def sums(
        self, moments: Moments, target: int, arm: Arm, group_c: Tensor, patches: Factor | Centred
    ) -> Sums:
        """The sums from which the errors of a map from a group follow; `patches` are the group's."""
        cross_Od = moments.crosses[target, arm][:, self.channels.dims(arm, group_c)]
        return Sums(patches, cross_Od.T, moments.outputs[target, arm])

    def trial(self, target: int, arm: Arm, group_c: Tensor, spectrum: bool = False) -> Trial:
        """Fit a group to a target and score it on the held-out images, from their moments alone.

        `kept` is known where the fit needs the spectrum of the group's Gram matrix or `spectrum` asks for it.
        """
        patches = self.patches(self.train, arm, group_c)
        weight_DC = self._by_ridge(patches, target, arm, group_c)
        factor = factorise(patches) if weight_DC is None or spectrum else None
        if weight_DC is None and factor is not None:
            weight_DC = self.fit(target, arm, group_c, factor).weight_DC
        assert weight_DC is not None
        output = self.train.outputs[target, arm]
        bias_C = output.mean_C - (patches.sum_D / patches.rows) @ weight_DC
        held = self.sums(self.test, target, arm, group_c, centre(self.patches(self.test, arm, group_c)))
        kept = None if factor is None else len(factor.values_K)
        return Trial(held.unexplained(weight_DC, bias_C), kept, patches.dim)

    def _by_ridge(self, patches: PatchMoments, target: int, arm: Arm, group_c: Tensor) -> Tensor | None:
        """The weight, where no spectrum is needed for it."""
        ridge = self.channels.tile.options.ridge
        if patches.products != "float64" or not shrunk(ridge, patches.dim) or patches.few_MD() is not None:
            return None
        centred = centre(patches)
        assert isinstance(centred, CentredGram)
        cross_DC = self.sums(self.train, target, arm, group_c, centred).centred_DC
        return ridge_solution(centred, cross_DC, ridge)
