"""Exact fits from the rows themselves, where sums of products would lose too many digits.

`U^T U` squares the condition number of `U`: of float64's 16 digits, 8 are left for the spread of its singular
values. An ill-conditioned fit of few rows is therefore solved by the singular value decomposition of the rows
(docs/decisions/fits-from-rows.md). Whether it is depends on its source, its ridge and its size alone.

Legend: as in `tasks.grafting.gram`; P S V^T the decomposition of the centred rows, K singular values kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from espalier.tasks.grafting.fvu import fraction_unexplained
from espalier.tasks.grafting.gram import ChannelMoments, Factor
from espalier.tasks.grafting.layer_input import channel_rows
from espalier.tasks.grafting.row_rule import CONDITION, may_be_read
from espalier.tasks.grafting.solve import Fit, float32_floor
from espalier.tasks.grafting.tile_nets import TileNets, goal
from espalier.tasks.grafting.tile_parts import Source
from espalier.tasks.networks.cuts import Arm, Reading
from espalier.tasks.spec import GraftOptions

K = TypeVar("K")

FLOAT32 = 2.0**-25
"""Root mean square of the rounding of a float32 number, as a share of its size."""


@dataclass(frozen=True)
class RowFactor(Factor):
    """A source's factor from its rows: `U = P S V^T`, so that `G = V S^2 V^T`."""

    left_MK: Tensor = field(kw_only=True)

    def from_rows(self, z_MC: Tensor, ridge: float) -> Tensor:
        """`W` (D, C) for the rows of a centred output, lambda = ridge x trace(G) / D."""
        shift = ridge * self.values_K.sum() / self.dim
        scaled_K = self.values_K.sqrt() / (self.values_K + shift)
        return self.vectors_DK @ (scaled_K[:, None] * (self.left_MK.T @ z_MC))


def wanted(factor: Factor, options: GraftOptions) -> bool:
    """Whether the fits of a source with this factor are made from its rows."""
    values_K = factor.values_K
    if not len(values_K) or not may_be_read(options, factor.products, factor.rows, factor.dim):
        return False
    shift = options.ridge * values_K.sum() / factor.dim
    full = len(values_K) >= min(factor.live, factor.rows - 1)
    least = (values_K.min() if full else 0.0) + shift
    return bool(values_K.max() + shift > CONDITION * least)


def factorise_rows(rows_MD: Tensor, live: int) -> RowFactor:
    """Centre and decompose rows of which `live` dimensions are not constant.

    Singular values of no more than the rounding of float32 features are left out: the largest one of a matrix
    of independent errors is about their size times `sqrt(M) + sqrt(D)`. Fitted, they would be noise.
    """
    rows, dim = rows_MD.shape
    mean_D = rows_MD.mean(0)
    left_MK, singular_K, right_KD = torch.linalg.svd(rows_MD - mean_D, full_matrices=False)
    noise = FLOAT32 * rows_MD.square().mean().sqrt() * (rows**0.5 + dim**0.5)
    kept = singular_K > noise
    values_K, vectors_DK = singular_K[kept].square(), right_KD[kept].T
    return RowFactor(rows, "float64", mean_D, values_K, vectors_DK, live, left_MK=left_MK[:, kept])


class TileRows:
    """The rows of some sources at some arms, and of what their pairs' targets are to give, in one order.

    Rows of a target are the same for all sources that see the images in one way.
    """

    def __init__(self, nets: TileNets, x: Tensor, places: Mapping[Source, set[Arm]]) -> None:
        inputs: dict[tuple[Source, Reading], list[Tensor]] = defaultdict(list)
        goals: dict[tuple[str, int, Arm], list[Tensor]] = defaultdict(list)
        for batch in nets.batches(len(x), "train"):
            features = nets.features(x, batch)
            seen = set[tuple[Source, Reading] | tuple[str, int, Arm]]()
            for source, arms in places.items():
                for arm in arms:
                    entry = nets.arms[arm]
                    if (source, entry.reading) not in seen:
                        seen.add((source, entry.reading))
                        h = features.sources[source][arm.reads].h_in
                        inputs[source, entry.reading].append(
                            entry.input(h, nets.tile.options.products).patches_MD
                        )
                    for pair in nets.pairs_of[source]:
                        name = (source.variant, pair.target, arm)
                        if name not in seen:
                            seen.add(name)
                            output = goal(arm, source, features.targets[pair.target], batch)
                            goals[name].append(channel_rows(output))
        self.inputs, self.goals = _whole(inputs), _whole(goals)

    def fit(
        self, factor: RowFactor, place: tuple[Source, Reading], target: int, arm: Arm, ridge: float
    ) -> Fit:
        """The least-squares map from a source's rows at a reading to a target's, and its error on them."""
        rows_MD, z_MC = self.inputs[place], self.goals[place[0].variant, target, arm]
        mean_C = z_MC.mean(0)
        weight_DC = factor.from_rows(z_MC - mean_C, ridge)
        bias_C = mean_C - factor.mean_D @ weight_DC
        output = ChannelMoments(z_MC.shape[1])
        output.add(z_MC)
        error_C = (torch.addmm(bias_C, rows_MD, weight_DC) - z_MC).square().mean(0)
        fvu = fraction_unexplained(error_C, output.variance_C)
        return Fit(weight_DC, bias_C, fvu, ridge, float32_floor(factor, weight_DC, output))


def _whole(parts: Mapping[K, list[Tensor]]) -> dict[K, Tensor]:
    return {name: torch.cat(some) for name, some in parts.items()}
