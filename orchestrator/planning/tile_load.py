"""What of a tile decides its cost: how many nets of each architecture do what, by counts over columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from espalier.tasks.grafting.nulls.known_nulls import AS_IT_IS, variant_name, variant_of
from espalier.tasks.grafting.pair_table import PairTable
from espalier.tasks.grafting.tile_parts import groups
from espalier.tasks.networks.cuts import Cut, cuts
from espalier.tasks.spec import Architecture, AtOnce, GraftOptions, Snapshot

Counts = tuple[tuple[Architecture, int], ...]
"""How many nets there are of each architecture."""

Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Load:
    """A part of a tile (`tasks.grafting.tile_parts`) in numbers.

    Attributes:
        cuts: The cuts of the part.
        options: How it is fitted.
        frame: Architecture of a target: targets differ in channels alone.
        targets: How many there are.
        variants: How many ways there are in which its sources are shown, plain included.
        sources: Its bottoms.
        grams: Sources that have a Gram matrix of their own.
        new: Those of `grams` that no earlier part of these layers has factorised.
        made: Nets that go forward on a sample so that `new` sources can be made.
        passes: Nets that go forward, each as it is and in each variant.
        ends: Pairs, by the architectures of source and target.
    """

    cuts: tuple[Cut, ...]
    options: GraftOptions
    frame: Architecture
    targets: int
    variants: int
    sources: Counts
    grams: Counts
    new: Counts
    made: Counts
    passes: Counts
    ends: tuple[tuple[tuple[Architecture, Architecture], int], ...]


class Census:
    """Snapshots by the number of their architecture."""

    def __init__(self, snapshots: Sequence[Snapshot]) -> None:
        numbers: dict[Architecture, int] = {}
        # Nets of one width share the object; to hash it takes long.
        by_object: dict[int, int] = {}
        found: list[int] = []
        for snap in snapshots:
            net = snap.net.architecture
            number = by_object.get(id(net))
            if number is None:
                number = by_object[id(net)] = numbers.setdefault(net, len(numbers))
            found.append(number)
        self.kinds = tuple(numbers)
        self.numbers = np.array(found, np.int64)

    def count(self, places: Ints | range) -> Counts:
        """How many of the snapshots at these places have each architecture."""
        counts = np.bincount(self.numbers[places], minlength=len(self.kinds))
        return tuple((net, int(n)) for net, n in zip(self.kinds, counts, strict=True) if n)

    def ends(self, pairs: PairTable) -> tuple[tuple[tuple[Architecture, Architecture], int], ...]:
        """How many pairs there are of each source's and target's architecture."""
        kinds = len(self.kinds)
        counts = np.bincount(self.numbers[pairs.sources] * kinds + self.numbers[pairs.targets])
        return tuple(
            ((self.kinds[place // kinds], self.kinds[place % kinds]), int(counts[place]))
            for place in np.flatnonzero(counts).tolist()
        )


def distinct(values: Ints, bound: int) -> Ints:
    """Each of some numbers below `bound` once, in order; without sorting where they are many."""
    if bound > 16 * len(values):
        return np.unique(values)
    seen = np.zeros(bound, np.bool_)
    seen[values] = True
    return np.flatnonzero(seen)


def loads(
    pairs: PairTable,
    nets: Census,
    options: GraftOptions,
    at_once: AtOnce = AtOnce(),  # noqa: B008 - frozen
) -> list[list[Load]]:
    """The parts of a tile, by group of layers, as `tasks.grafting.tile_parts.parts` makes them."""
    frame = nets.kinds[nets.numbers[pairs.targets[0]]]
    made = cuts(frame, options.methods, options.skips)
    layers = sorted({cut.layer for cut in made})
    by_layers = [tuple(cut for cut in made if cut.layer in some) for some in groups(layers, at_once.layers)]
    if at_once.targets:
        targets = np.unique(pairs.targets)
        by_targets = [
            pairs.that(np.isin(pairs.targets, some)) for some in groups(targets.tolist(), at_once.targets)
        ]
    else:
        by_targets = [pairs]
    return [_by_targets(some, by_targets, nets, options) for some in by_layers]


def _by_targets(
    some_cuts: tuple[Cut, ...], by_targets: Sequence[PairTable], nets: Census, options: GraftOptions
) -> list[Load]:
    found: list[Load] = []
    factored = np.zeros(0, np.int64)
    for pairs in by_targets:
        load, grams = _load(some_cuts, pairs, nets, options, factored)
        found.append(load)
        factored = np.union1d(factored, grams)
    return found


def _load(
    some_cuts: tuple[Cut, ...], pairs: PairTable, nets: Census, options: GraftOptions, factored: Ints
) -> tuple[Load, Ints]:
    """One part, and its sources with a Gram matrix of their own, as numbers."""
    bottoms, tops = _variants(pairs.names)
    kinds, count = len(bottoms.names), len(nets.numbers)
    sources = distinct(pairs.sources.astype(np.int64) * kinds + bottoms.codes[pairs.nulls], count * kinds)
    grams = np.unique(sources // kinds * kinds + tops[sources % kinds])
    new = grams if not len(factored) else np.setdiff1d(grams, factored)
    targets = distinct(pairs.targets, count)
    plain = np.union1d(grams[grams % kinds == 0] // kinds, targets)
    walks = np.array([variant_of(name).walks for name in bottoms.names])
    varied = sources[sources % kinds != 0]
    load = Load(
        cuts=some_cuts,
        options=options,
        frame=nets.kinds[nets.numbers[targets[0]]],
        targets=len(targets),
        variants=1 + len(np.unique(varied % kinds)),
        sources=nets.count(sources // kinds),
        grams=nets.count(grams // kinds),
        new=nets.count(new // kinds),
        made=nets.count(np.repeat(new // kinds, walks[new % kinds])),
        passes=nets.count(np.concatenate([plain, varied // kinds])),
        ends=nets.ends(pairs),
    )
    return load, grams


@dataclass(frozen=True)
class _Bottoms:
    """Variants of sources by number, 0 for a source as it is, and the variant of each null."""

    names: tuple[str, ...]
    codes: Ints


def _variants(nulls: Sequence[str]) -> tuple[_Bottoms, Ints]:
    """The variants, and for each the one whose Gram matrix serves it (`tile_parts.gram_source`)."""
    variants = [variant_name(null) for null in nulls]
    names = tuple(dict.fromkeys([AS_IT_IS, *variants]))
    codes = np.array([names.index(variant) for variant in variants], np.int64)
    served = [0 if variant_of(name).plain_sums else number for number, name in enumerate(names)]
    return _Bottoms(names, codes), np.array(served, np.int64)
