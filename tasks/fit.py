"""The fit of a tile: each source's Gram matrix and each pair's cross term in one pass, then the solves.

A source is factorised once per layer for all its targets; a pair's numbers do not depend on which other
pairs share its tile. Legend: as in `tasks.gram`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tasks.architectures import input_shapes, patch_dim
from tasks.gram import (
    ChannelMoments,
    Factor,
    PatchMoments,
    factorise,
    fraction_unexplained,
)
from tasks.layer_input import LayerInput
from tasks.spec import GraftOptions
from tasks.walk import Batch, Source, Step, Walk, gather_positions, gram_source, position_order


class Fit(NamedTuple):
    """A re-fitted layer: weight (D, C) and bias (C,) in float64, and its error on the fitting images."""

    weight_DC: Tensor
    bias_C: Tensor
    fvu_train: float


@dataclass(frozen=True)
class Fits:
    """Factors by (source, layer) and fits by (pair key, layer)."""

    factors: dict[tuple[Source, int], Factor]
    fits: dict[tuple[str, int], Fit]


class _Sums:
    """What one pass over the fitting images adds up."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.grams: dict[tuple[Source, int], PatchMoments] = {}
        self.crosses: dict[tuple[str, int], Tensor] = {}
        self.outputs: dict[tuple[int, int], ChannelMoments] = {}
        layers = walk.architecture.layers
        dims = [
            patch_dim(layer, shape)
            for layer, shape in zip(layers, input_shapes(walk.architecture), strict=True)
        ]
        for source in {gram_source(source) for source in walk.pairs_of}:
            for layer in range(2, len(layers) + 1):
                self.grams[source, layer] = PatchMoments(dims[layer - 1])
        for target in walk.targets:
            for layer in range(2, len(layers) + 1):
                self.outputs[target, layer] = ChannelMoments(layers[layer - 1].out)

    def add(self, step: Step, batch: Batch) -> None:
        layer = self.walk.architecture.layers[step.layer - 1]
        for target, features in step.targets.items():
            self.outputs[target, step.layer].add(features.z)
        for source, features in step.sources.items():
            inputs = LayerInput(layer, features.h_in, self.walk.tile.options.products)
            if (source, step.layer) in self.grams:
                self.grams[source, step.layer].add(inputs)
            for pair in self.walk.pairs_of.get(source, []):
                z = step.targets[pair.target].z
                if source.variant == "shuffled_images":
                    z = gather_positions(z, position_order(batch.plain_N, z[0, 0].numel()))
                place, product = (pair.key, step.layer), inputs.cross_CD(z)
                self.crosses[place] = self.crosses[place].add_(product) if place in self.crosses else product


def fit(walk: Walk, x: Tensor, options: GraftOptions) -> Fits:
    """Fit every graft of the tile on images `x` (N, C, H, W)."""
    sums = _Sums(walk)
    for batch in walk.batches(len(x), "train"):
        for step in walk.steps(x, batch):
            if step.layer > 1:
                sums.add(step, batch)
    factors = {place: factorise(moments) for place, moments in sums.grams.items()}
    factors |= {
        (source, layer): factors[gram_source(source), layer]
        for source, _, layer in walk.grafts()
        if (source, layer) not in factors
    }
    fits = {
        (pair.key, layer): solve(
            factors[source, layer],
            sums.crosses[pair.key, layer].T,
            sums.outputs[pair.target, layer],
            options.ridge,
        )
        for source, pair, layer in walk.grafts()
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
