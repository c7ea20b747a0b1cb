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
    factorise,
    fraction_unexplained,
)
from tasks.layer_input import LayerInput
from tasks.parts import Source, gram_source
from tasks.spec import GraftOptions
from tasks.walk import Batch, Features, Layers, Walk, gather_positions, position_order


class Fit(NamedTuple):
    """A fitted map: weight (D, C) and bias (C,) in float64, and its error on the fitting images."""

    weight_DC: Tensor
    bias_C: Tensor
    fvu_train: float


Factors = dict[tuple[Source, Reading], Factor]
"""By source and what is read of it."""


@dataclass(frozen=True)
class Fits:
    """Factors by (source, reading) and fits by (pair key, arm)."""

    factors: Factors
    fits: dict[tuple[str, Arm], Fit]


class _Sums:
    """What one pass over the fitting images adds up. Of what `known` has, no Gram matrix is taken."""

    def __init__(self, walk: Walk, known: Factors) -> None:
        self.walk = walk
        self.grams: dict[tuple[Source, Reading], PatchMoments] = {}
        self.crosses: dict[tuple[str, Arm], Tensor] = {}
        self.outputs: dict[tuple[int, Arm], ChannelMoments] = {}
        for source in {gram_source(source) for source in walk.pairs_of}:
            for arm, _, reading in walk.arms.values():
                if (source, reading) not in known:
                    net = walk.networks[source.snapshot].architecture
                    sizes = arm_sizes(net, walk.frame, arm)
                    self.grams.setdefault((source, reading), PatchMoments(sizes.dim))
        for target in walk.targets:
            net = walk.networks[target].architecture
            for arm in walk.arms:
                self.outputs[target, arm] = ChannelMoments(arm_sizes(net, net, arm).out)

    def add(self, features: Features, batch: Batch) -> None:
        for (target, arm), moments in self.outputs.items():
            moments.add(arm_output(arm, features.targets[target]))
        for source, layers in features.sources.items():
            self._add_source(source, layers, features, batch)

    def _add_source(self, source: Source, layers: Layers, features: Features, batch: Batch) -> None:
        inputs: dict[Reading, LayerInput] = {}
        for arm, entry in self.walk.arms.items():
            place = entry.reading
            if place not in inputs:
                inputs[place] = entry.input(layers[arm.reads].h_in, self.walk.tile.options.products)
                if (source, place) in self.grams:
                    self.grams[source, place].add(inputs[place])
            self._add_crosses(source, arm, inputs[place], features, batch)

    def _add_crosses(
        self, source: Source, arm: Arm, inputs: LayerInput, features: Features, batch: Batch
    ) -> None:
        for pair in self.walk.pairs_of.get(source, []):
            output = arm_output(arm, features.targets[pair.target])
            if source.variant == "shuffled_images":
                output = gather_positions(output, position_order(batch.plain_N, output[0, 0].numel()))
            place, product = (pair.key, arm), inputs.cross_CD(output)
            self.crosses[place] = self.crosses[place].add_(product) if place in self.crosses else product


def arm_output(arm: Arm, layers: Layers) -> Tensor:
    """What the target gives where an arm of a source is to give the same."""
    if arm.gives == "z":
        return layers[arm.into - 1].z
    features = layers[arm.reads]
    return features.shortcuts[arm.into] if arm.gives == "shortcut" else features.h_in


def fit(walk: Walk, x: Tensor, options: GraftOptions, known: Factors | None = None) -> Fits:
    """Fit every arm of every pair of the walk on images `x` (N, C, H, W).

    `known` are factors of the same images from an earlier walk, which are used again.
    """
    known = known or {}
    sums = _Sums(walk, known)
    for batch in walk.batches(len(x), "train"):
        sums.add(walk.features(x, batch), batch)
    made = known | {place: factorise(moments) for place, moments in sums.grams.items()}
    factors = {
        (source, entry.reading): made[gram_source(source), entry.reading]
        for source in walk.pairs_of
        for entry in walk.arms.values()
    } | made
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


def solve(factor: Factor, cross_DC: Tensor, output: ChannelMoments, ridge: float) -> Fit:
    """Weight, bias and in-sample error from a pair's uncentred cross term `U^T Z`.

    Per channel the squared error is `w^T G w - 2 w^T r + z^T z`: no second pass over the images.
    """
    centred_DC = cross_DC - factor.rows * torch.outer(factor.mean_D, output.mean_C)
    weight_DC = factor.solve(centred_DC, ridge)
    bias_C = output.mean_C - factor.mean_D @ weight_DC
    residual_C = factor.explained(weight_DC) - 2 * (weight_DC * centred_DC).sum(0)
    error_C = residual_C / output.rows + output.variance_C
    return Fit(weight_DC, bias_C, fraction_unexplained(error_C, output.variance_C))
