"""A tile in parts that are computed one after another, with the sources and targets of each (plain Python).

A part is a group of layers by a group of targets. All sources take part in each, and keep their factors for
all groups of targets of a group of layers: a source is factorised once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from espalier.tasks.grafting.nulls.known_nulls import AS_IT_IS, variant_name, variant_of
from espalier.tasks.networks.cuts import Cut, cuts
from espalier.tasks.spec import AtOnce, GraftTile, Pair

T = TypeVar("T")


class Source(NamedTuple):
    """A bottom: a snapshot as it is (`plain`), or as the null that names the variant changes it."""

    snapshot: int
    variant: str


class Part(NamedTuple):
    """The cuts and the pairs of one pass over the images."""

    cuts: list[Cut]
    pairs: list[Pair]

    @property
    def targets(self) -> list[int]:
        """Indices of the targets, each once."""
        return sorted({pair.target for pair in self.pairs})

    @property
    def sources(self) -> list[Source]:
        """The sources, each once."""
        return list(dict.fromkeys(source_of(pair) for pair in self.pairs))


def source_of(pair: Pair) -> Source:
    """Which bottom a pair grafts; nulls that change nothing are plain grafts of other snapshots."""
    return Source(pair.source, variant_name(pair.null))


def gram_source(source: Source) -> Source:
    """Whose Gram matrix serves `source`: permuting the images changes no sum over them."""
    return Source(source.snapshot, AS_IT_IS) if variant_of(source.variant).plain_sums else source


def tile_cuts(tile: GraftTile) -> list[Cut]:
    """The cuts of a tile: its targets differ in channels alone."""
    architecture = tile.snapshots[tile.pairs[0].target].net.architecture
    return cuts(architecture, tile.options.methods, tile.options.skips)


def parts(tile: GraftTile, at_once: AtOnce) -> list[list[Part]]:
    """The parts of a tile, by group of layers."""
    made = tile_cuts(tile)
    layers, targets = sorted({cut.layer for cut in made}), sorted({pair.target for pair in tile.pairs})
    by_layers = [[cut for cut in made if cut.layer in some] for some in groups(layers, at_once.layers)]
    by_targets = [
        [pair for pair in tile.pairs if pair.target in some] for some in groups(targets, at_once.targets)
    ]
    return [[Part(some_cuts, some_pairs) for some_pairs in by_targets] for some_cuts in by_layers]


def whole(tile: GraftTile) -> Part:
    """The tile as one part."""
    return Part(tile_cuts(tile), list(tile.pairs))


def groups(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Consecutive groups of `size` items, the last one smaller; 0 for all in one.

    >>> groups([1, 2, 3], 2)
    [[1, 2], [3]]
    """
    return [items[start : start + size] for start in range(0, len(items), size)] if size else [items]
