"""The fit of a tile: each source's Gram matrices and each pair's cross terms in one pass, then the solves.

A source is factorised once per reading (`tasks.cuts`) for all its targets; a pair's numbers do not depend on
which other pairs share its tile. Legend: as in `tasks.gram`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tasks.cuts import Arm, Reading, arm_sizes
from tasks.gram import (
    ChannelMoments,
    Factor,
    PatchMoments,
    Regular,
    factorise,
    fraction_unexplained,
)
from tasks.layer_input import LayerInput
from tasks.network import LayerFeatures
from tasks.spec import GraftOptions
from tasks.walk import Batch, Source, Step, Walk, gather_positions, gram_source, position_order


class Fit(NamedTuple):
    """A fitted map: weight (D, C) and bias (C,) in float64, and its error on the fitting images."""

    weight_DC: Tensor
    bias_C: Tensor
    fvu_train: float


@dataclass(frozen=True)
class Fits:
    """Factors by (source, reading) and fits by (pair key, arm)."""

    factors: dict[tuple[Source, Reading], Factor]
    fits: dict[tuple[str, Arm], Fit]


class _Sums:
    """What one pass over the fitting images adds up."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.grams: dict[tuple[Source, Reading], PatchMoments] = {}
        self.crosses: dict[tuple[str, Arm], Tensor] = {}
        self.outputs: dict[tuple[int, Arm], ChannelMoments] = {}
        for arm, _, reading in walk.arms.values():
            sizes = arm_sizes(walk.architecture, arm)
            for source in {gram_source(source) for source in walk.pairs_of}:
                if (source, reading) not in self.grams:
                    self.grams[source, reading] = PatchMoments(sizes.dim)
            for target in walk.targets:
                self.outputs[target, arm] = ChannelMoments(sizes.out)

    def add(self, step: Step, batch: Batch) -> None:
        fitted = self.walk.arms_at(step.layer)
        for target, features in step.targets.items():
            for arm, _, _ in fitted:
                self.outputs[target, arm].add(arm_output(arm, features))
        for source, features in step.sources.items():
            inputs = {
                reading: LayerInput(layer, features.h_in, self.walk.tile.options.products)
                for _, layer, reading in fitted
            }
            for reading, entry in inputs.items():
                if (source, reading) in self.grams:
                    self.grams[source, reading].add(entry)
            for arm, _, reading in fitted:
                self._add_crosses(source, arm, inputs[reading], step, batch)

    def _add_crosses(self, source: Source, arm: Arm, inputs: LayerInput, step: Step, batch: Batch) -> None:
        for pair in self.walk.pairs_of.get(source, []):
            output = arm_output(arm, step.targets[pair.target])
            if source.variant == "shuffled_images":
                output = gather_positions(output, position_order(batch.plain_N, output[0, 0].numel()))
            place, product = (pair.key, arm), inputs.cross_CD(output)
            self.crosses[place] = self.crosses[place].add_(product) if place in self.crosses else product


def arm_output(arm: Arm, features: LayerFeatures) -> Tensor:
    """What the target gives where an arm of a source is to give the same; features of layer `reads` + 1."""
    if arm.gives == "z":
        return features.z
    return features.shortcuts[arm.into] if arm.gives == "shortcut" else features.h_in


def fit(walk: Walk, x: Tensor, options: GraftOptions) -> Fits:
    """Fit every arm of every pair of the tile on images `x` (N, C, H, W)."""
    sums = _Sums(walk)
    for batch in walk.batches(len(x), "train"):
        for step in walk.steps(x, batch):
            sums.add(step, batch)
    factors = {place: factorise(moments) for place, moments in sums.grams.items()}
    places = {(source, reading) for source in walk.pairs_of for _, _, reading in walk.arms.values()}
    factors |= {
        (source, reading): factors[gram_source(source), reading]
        for source, reading in places - factors.keys()
    }
    fits = {
        (pair.key, arm): solve(
            factors[source, reading],
            sums.crosses[pair.key, arm].T,
            sums.outputs[pair.target, arm],
            options.ridge,
        )
        for source, pairs in walk.pairs_of.items()
        for arm, _, reading in walk.arms.values()
        for pair in pairs
    }
    return Fits(factors, fits)


def solve(factor: Factor | Regular, cross_DC: Tensor, output: ChannelMoments, ridge: float) -> Fit:
    """Weight, bias and in-sample error from a pair's uncentred cross term `U^T Z`.

    Per channel the squared error is `w^T G w - 2 w^T r + z^T z`: no second pass over the images.
    """
    centred_DC = cross_DC - factor.rows * torch.outer(factor.mean_D, output.mean_C)
    weight_DC = factor.solve(centred_DC, ridge)
    bias_C = output.mean_C - factor.mean_D @ weight_DC
    residual_C = factor.explained(weight_DC) - 2 * (weight_DC * centred_DC).sum(0)
    error_C = residual_C / output.rows + output.variance_C
    return Fit(weight_DC, bias_C, fraction_unexplained(error_C, output.variance_C))
