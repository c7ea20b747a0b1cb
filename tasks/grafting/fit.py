"""The fit of a tile: each source's Gram matrices and each pair's cross terms in one pass, then the solves.

A source is factorised once per reading (`tasks.networks.cuts`) for all its targets; a pair's numbers do not
depend on which other pairs share its tile. Legend: as in `tasks.grafting.gram`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from espalier.tasks.data.augment import view
from espalier.tasks.grafting.adam import AdamMap, adam_maps
from espalier.tasks.grafting.gram import (
    Centred,
    ChannelMoments,
    Factor,
    PatchMoments,
    add_to,
    centre,
    factorise,
)
from espalier.tasks.grafting.layer_input import LayerInput
from espalier.tasks.grafting.row_fit import RowFactor, TileRows, factorise_rows, wanted
from espalier.tasks.grafting.shared_crosses import shared_crosses
from espalier.tasks.grafting.solve import Fit, Sums, Trial, choose, solve, split
from espalier.tasks.grafting.tile_nets import Batch, Features, Layers, TileNets, arm_output, goal
from espalier.tasks.grafting.tile_parts import Source, gram_source
from espalier.tasks.networks.cuts import Arm, Cut, Reading, arm_sizes
from espalier.tasks.spec import GraftOptions, Pair

Factors = dict[tuple[Source, Reading], Factor]
"""By source and what is read of it."""


@dataclass(frozen=True)
class Fits:
    """Factors by (source, reading); fits by (pair key, arm), of least squares and of Adam.

    `trials` are the ridges that were tried, if any, by (pair key, arm); `images` is the number fitted on.
    """

    factors: Factors
    fits: dict[tuple[str, Arm], Fit]
    adam: dict[tuple[str, Arm], Fit]
    trials: dict[tuple[str, Arm], list[Trial]]
    images: int

    def of(self, pair_key: str, cut: Cut, arm: Arm) -> Fit:
        """The fit of a pair's arm by the cut's method."""
        return (self.adam if cut.by_adam else self.fits)[pair_key, arm]


class _Sums:
    """The sums of one pass over the fitting images, without Gram matrices whose factors are `known`."""

    def __init__(self, nets: TileNets, known: Factors) -> None:
        self.nets = nets
        self.grams: dict[tuple[Source, Reading], PatchMoments] = {}
        self.crosses: dict[tuple[str, Arm], Tensor] = {}
        self.outputs: dict[tuple[int, Arm], ChannelMoments] = {}
        for source in {gram_source(source) for source in nets.pairs_of}:
            for arm, _, reading in nets.arms.values():
                if (source, reading) not in known:
                    net = nets.networks[source.snapshot].architecture
                    sizes = arm_sizes(net, nets.frame, arm)
                    self.grams.setdefault((source, reading), PatchMoments(sizes.dim))
        self.shared = shared_crosses(nets)
        for target in nets.targets:
            net = nets.networks[target].architecture
            for arm in nets.arms:
                self.outputs[target, arm] = ChannelMoments(arm_sizes(net, net, arm).out)

    def add(self, features: Features, batch: Batch) -> None:
        for (target, arm), moments in self.outputs.items():
            moments.add(arm_output(arm, features.targets[target]))
        together: dict[Arm, dict[Source, LayerInput]] = defaultdict(dict)
        for source, layers in features.sources.items():
            self._add_source(source, layers, features, batch, together)
        for arm, shared in self.shared.items():
            shared.add(together[arm], features.targets)

    def _add_source(
        self,
        source: Source,
        layers: Layers,
        features: Features,
        batch: Batch,
        together: dict[Arm, dict[Source, LayerInput]],
    ) -> None:
        inputs: dict[Reading, LayerInput] = {}
        for arm, entry in self.nets.arms.items():
            place = entry.reading
            if place not in inputs:
                inputs[place] = entry.input(layers[arm.reads].h_in, self.nets.tile.options.products)
                if (source, place) in self.grams:
                    self.grams[source, place].add(inputs[place])
            self._add_crosses(source, arm, inputs[place], features, batch)
            if source in self.shared[arm].sources:
                together[arm][source] = inputs[place]

    def _add_crosses(
        self, source: Source, arm: Arm, inputs: LayerInput, features: Features, batch: Batch
    ) -> None:
        for pair in self.nets.pairs_of.get(source, []):
            if self.shared[arm].has(pair):
                continue
            output = goal(arm, source, features.targets[pair.target], batch)
            add_to(self.crosses, (pair.key, arm), inputs.cross_CD(output))

    def of(self, pair: Pair, arm: Arm, patches: Factor | Centred) -> Sums:
        """The sums from which the errors of a pair's map at an arm follow."""
        shared = self.shared[arm]
        cross_CD = shared.of(pair) if shared.has(pair) else self.crosses[pair.key, arm]
        return Sums(patches, cross_CD.T, self.outputs[pair.target, arm])


def fit(nets: TileNets, x: Tensor, options: GraftOptions, known: Factors | None = None) -> Fits:
    """Fit every arm of every pair of the tile on images `x` (N, C, H, W).

    With `options.augment` each image is shown as drawn: once to exact fits, anew in each epoch to Adam. With
    `options.ridges` some images are held back, on which the ridge of each map is chosen. `known` are
    factors of the same images from an earlier fit, which are used again.

    Raises:
        ValueError: Too few images to hold some back.
    """
    fitting_N, held_N = split(len(x), options)

    def views(number: int) -> Tensor:
        shown = view(x, options.augment, number)
        return shown[fitting_N] if options.ridges else shown

    x_fit = views(0)
    sums = _summed(nets, x_fit, "train", known or {})
    held = None
    if options.ridges:
        held = _summed(nets, view(x, options.augment)[held_N], "validation", known or {})
    factors = _factors(nets, sums, held, known or {})
    fits = _from_rows(nets, x_fit, options, factors)
    trials: dict[tuple[str, Arm], list[Trial]] = {}
    for source, pair, arm, place in _maps(nets):
        factor = factors[source, place]
        if (pair.key, arm) in fits:
            continue
        if held is None or factor.held is None:
            fits[pair.key, arm] = solve(factor, sums.of(pair, arm, factor), options.ridge)
        else:
            parts = sums.of(pair, arm, factor), held.of(pair, arm, factor.held)
            fits[pair.key, arm], trials[pair.key, arm] = choose(factor, *parts, options.ridges)
    adam = {
        (pair.key, arm): _adam_fit(made, sums.of(pair, arm, factors[source, nets.arms[arm].reading]))
        for (source, pair, arm), made in adam_maps(nets, len(x_fit), views).items()
    }
    return Fits(factors, fits, adam, trials, len(x_fit))


def _from_rows(
    nets: TileNets, x: Tensor, options: GraftOptions, factors: Factors
) -> dict[tuple[str, Arm], Fit]:
    """The fits that sums are too coarse for. Their sources' factors are replaced by those of the rows."""
    chosen = [
        entry
        for entry in _maps(nets)
        if isinstance(factor := factors[entry[0], entry[3]], RowFactor) or wanted(factor, options)
    ]
    if not chosen:
        return {}
    places: dict[Source, set[Arm]] = defaultdict(set)
    for source, _, arm, _ in chosen:
        places[source].add(arm)
    rows, fits = TileRows(nets, x, places), dict[tuple[str, Arm], Fit]()
    for source, pair, arm, place in chosen:
        factor = factors[source, place]
        if not isinstance(factor, RowFactor):
            factor = factors[source, place] = factorise_rows(rows.inputs[source, place], factor.live)
        fits[pair.key, arm] = rows.fit(factor, (source, place), pair.target, arm, options.ridge)
    return fits


def _summed(nets: TileNets, x: Tensor, split: str, known: Factors) -> _Sums:
    sums = _Sums(nets, known)
    for batch in nets.batches(len(x), split):
        sums.add(nets.features(x, batch), batch)
    for shared in sums.shared.values():
        shared.done()
    return sums


def _factors(nets: TileNets, sums: _Sums, held: _Sums | None, known: Factors) -> Factors:
    """The factor of every source at every reading, each made once."""
    made = {place: factorise(moments) for place, moments in sums.grams.items()}
    if held is not None:
        made = {place: replace(factor, held=centre(held.grams[place])) for place, factor in made.items()}
    made = known | made
    return {(source, place): made[gram_source(source), place] for source, _, _, place in _maps(nets)} | made


def _maps(nets: TileNets) -> Iterator[tuple[Source, Pair, Arm, Reading]]:
    """Every map to fit, and what it reads."""
    for source, pairs in nets.pairs_of.items():
        for arm, _, reading in nets.arms.values():
            for pair in pairs:
                yield source, pair, arm, reading


def _adam_fit(made: AdamMap, sums: Sums) -> Fit:
    """A map of Adam's; its error on all fitting images follows from the sums, as that of an exact fit."""
    weight_DC, bias_C = made.weight.flatten(1).T.double(), made.bias.double()
    return Fit(weight_DC, bias_C, sums.unexplained(weight_DC, bias_C), None)
