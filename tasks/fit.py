"""The fit of a tile: each source's Gram matrices and each pair's cross terms in one pass, then the solves.

A source is factorised once per reading (`tasks.cuts`) for all its targets; a pair's numbers do not depend on
which other pairs share its tile. Legend: as in `tasks.gram`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from tasks.adam import AdamMap, adam_maps
from tasks.cuts import Arm, Cut, Reading, arm_sizes
from tasks.gram import (
    Centred,
    ChannelMoments,
    Factor,
    PatchMoments,
    centre,
    factorise,
)
from tasks.layer_input import LayerInput
from tasks.solve import Fit, Sums, Trial, choose, solve, split
from tasks.spec import GraftOptions, Pair
from tasks.walk import Batch, Source, Step, Walk, arm_output, goal, gram_source


@dataclass(frozen=True)
class Fits:
    """Factors by (source, reading); fits by (pair key, arm), of least squares and of Adam.

    `trials` are the ridges that were tried, if any, by (pair key, arm); `images` is the number fitted on.
    """

    factors: dict[tuple[Source, Reading], Factor]
    fits: dict[tuple[str, Arm], Fit]
    adam: dict[tuple[str, Arm], Fit]
    trials: dict[tuple[str, Arm], list[Trial]]
    images: int

    def of(self, pair_key: str, cut: Cut, arm: Arm) -> Fit:
        """The fit of a pair's arm by the cut's method."""
        return (self.adam if cut.by_adam else self.fits)[pair_key, arm]


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
            output = goal(arm, source, step.targets[pair.target], batch)
            place, product = (pair.key, arm), inputs.cross_CD(output)
            self.crosses[place] = self.crosses[place].add_(product) if place in self.crosses else product

    def of(self, pair: Pair, arm: Arm, patches: Factor | Centred) -> Sums:
        """What the errors of a pair's map at an arm follow from."""
        return Sums(patches, self.crosses[pair.key, arm].T, self.outputs[pair.target, arm])


def fit(walk: Walk, x: Tensor, options: GraftOptions) -> Fits:
    """Fit every arm of every pair of the tile on images `x` (N, C, H, W).

    With `options.ridges` some images are held back, on which the ridge of each map is chosen.

    Raises:
        ValueError: Too few images to hold some back.
    """
    fitting_N, held_N = split(len(x), options)
    x_fit = x[fitting_N] if options.ridges else x
    sums = _summed(walk, x_fit, "train")
    held = _summed(walk, x[held_N], "validation") if options.ridges else None
    factors = _factors(walk, sums, held)
    fits: dict[tuple[str, Arm], Fit] = {}
    trials: dict[tuple[str, Arm], list[Trial]] = {}
    for source, pair, arm, place in _maps(walk):
        factor = factors[source, place]
        if held is None or factor.held is None:
            fits[pair.key, arm] = solve(factor, sums.of(pair, arm, factor), options.ridge)
        else:
            parts = sums.of(pair, arm, factor), held.of(pair, arm, factor.held)
            fits[pair.key, arm], trials[pair.key, arm] = choose(factor, *parts, options.ridges)
    adam = {
        (pair.key, arm): _adam_fit(made, sums.of(pair, arm, factors[source, walk.arms[arm].reading]))
        for (source, pair, arm), made in adam_maps(walk, x_fit).items()
    }
    return Fits(factors, fits, adam, trials, len(x_fit))


def _summed(walk: Walk, x: Tensor, split: str) -> _Sums:
    sums = _Sums(walk)
    for batch in walk.batches(len(x), split):
        for step in walk.steps(x, batch):
            sums.add(step, batch)
    return sums


def _factors(walk: Walk, sums: _Sums, held: _Sums | None) -> dict[tuple[Source, Reading], Factor]:
    """The factor of every source at every reading, each made once."""
    made = {place: factorise(moments) for place, moments in sums.grams.items()}
    if held is not None:
        made = {place: replace(factor, held=centre(held.grams[place])) for place, factor in made.items()}
    return made | {(source, place): made[gram_source(source), place] for source, _, _, place in _maps(walk)}


def _maps(walk: Walk) -> Iterator[tuple[Source, Pair, Arm, Reading]]:
    """Every map to fit, and what it reads."""
    for source, pairs in walk.pairs_of.items():
        for arm, _, reading in walk.arms.values():
            for pair in pairs:
                yield source, pair, arm, reading


def _adam_fit(made: AdamMap, sums: Sums) -> Fit:
    """A map of Adam's; its error on all fitting images follows from the sums, as that of an exact fit."""
    weight_DC, bias_C = made.weight.flatten(1).T.double(), made.bias.double()
    return Fit(weight_DC, bias_C, sums.unexplained(weight_DC, bias_C), None)
