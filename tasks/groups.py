"""One group of channels as the source of one fit, and its held-out error without a forward pass.

Legend: as in `tasks.channels`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tasks.channels import Channels, Moments
from tasks.cuts import Arm
from tasks.fit import Fit, solve
from tasks.gram import ChannelMoments, Factor, PatchMoments, Regular, factorise, fraction_unexplained, regular
from tasks.seeds import stream
from tasks.spec import Pool


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
    """A group's held-out FVU, and how many of the d directions of its patches the fitting images show."""

    fvu: float
    kept: int
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

    def fit(self, target: int, arm: Arm, group_c: Tensor, factor: Factor | Regular) -> Fit:
        """The least-squares map from a group to what an arm gives in the target."""
        cross_Od = self.train.crosses[target, arm][:, self.channels.dims(arm, group_c)]
        return solve(factor, cross_Od.T, self.train.outputs[target, arm], self.channels.tile.options.ridge)

    def trial(self, target: int, arm: Arm, group_c: Tensor) -> Trial:
        """Fit a group to a target and score it on the held-out images."""
        patches = self.patches(self.train, arm, group_c)
        factor = regular(patches) or factorise(patches)
        fitted = self.fit(target, arm, group_c, factor)
        output = self.test.outputs[target, arm]
        cross_Od = self.test.crosses[target, arm][:, self.channels.dims(arm, group_c)]
        error_O = mean_square_error(fitted, self.patches(self.test, arm, group_c), cross_Od, output)
        dim = len(factor.mean_D)
        kept = dim if isinstance(factor, Regular) else len(factor.values_K)
        return Trial(fraction_unexplained(error_O, output.variance_C), kept, dim)


def mean_square_error(fitted: Fit, patches: PatchMoments, cross_OD: Tensor, output: ChannelMoments) -> Tensor:
    """Mean over rows of `(w^T u + b - z)^2`, (O,), of images that were not fitted, from their moments alone.

    With everything centred: `w^T G w - 2 w^T r + var z`, and the square of the error's mean.
    """
    mean_D, weight_DO = patches.sum_D / patches.rows, fitted.weight_DC
    covariance_DD = patches.gram_DD / patches.rows - torch.outer(mean_D, mean_D)
    cross_DO = cross_OD.T / patches.rows - torch.outer(mean_D, output.mean_C)
    explained_O = (weight_DO * (covariance_DD @ weight_DO - 2 * cross_DO)).sum(0)
    offset_O = mean_D @ weight_DO + fitted.bias_C - output.mean_C
    return explained_O + output.variance_C + offset_O.square()
