"""Which nets are partners: all of them, or k a net by a circulant design (docs/decisions/partners.md).

The nets stand in a line, in the order of their seeds. With the offsets D, one for each distance 1..k, the net
at place p is grafted into those at p + d for d in D. Places do not depend on how many nets there are, nor do
the offsets of k on those of k + 1: more seeds and a larger k add pairs and take none away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.planning.kind import Ladder


def offsets(count: int, turn: int) -> tuple[int, ...]:
    """The offsets D from a source to its targets: of distances 1..count, half of them backward.

    Of the distances 1 and 2, 3 and 4, ... one points forward and the other backward; `turn` seeds the coin
    that says which. So no two nets are paired in both orders, and a net near an end of the line, where
    neighbours are missing, is still a source about as often as a target.

    >>> offsets(5, 0)
    (-1, 2, -3, 4, 5)
    >>> offsets(4, 0) == offsets(5, 0)[:4]
    True
    """
    found: list[int] = []
    for distance in range(1, count + 1, 2):
        digest = hashlib.sha256(f"partners {turn} {distance}".encode()).digest()
        sign = 1 if digest[0] % 2 else -1
        found += [sign * distance, -sign * (distance + 1)]
    return tuple(found[:count])


class Partners:
    """The design for some seeds: the same at every width and setting.

    >>> line = Partners((0, 1, 2, 3), 1, 0)
    >>> line.sources(2), line.targets(2), line.targets(0)
    ([3], [1], [])
    """

    def __init__(self, seeds: Iterable[int], count: int, turn: int) -> None:
        self._line = sorted(seeds)
        self._place = {seed: place for place, seed in enumerate(self._line)}
        self._offsets = offsets(count, turn)

    def sources(self, target: int) -> list[int]:
        """Seeds of the nets that are grafted into the net of this seed, rising."""
        return self._at(self._place[target] - offset for offset in self._offsets)

    def targets(self, source: int) -> list[int]:
        """Seeds of the nets that the net of this seed is grafted into, rising."""
        return self._at(self._place[source] + offset for offset in self._offsets)

    def _at(self, places: Iterable[int]) -> list[int]:
        return [self._line[place] for place in sorted(places) if 0 <= place < len(self._line)]


class Mates:
    """The partners that a net has in a group of ladders, by place; itself too, if it is there."""

    def __init__(self, config: SweepConfig, group: Sequence[Ladder]) -> None:
        graft, self._group = config.graft, group
        self._partners: Partners | None = None
        if graft.partners != "all":
            self._partners = Partners(config.sweep.seeds, graft.partners, graft.partners_seed)
        self._at = {ladder[0].net.seed: place for place, ladder in enumerate(group)}

    def sources(self, target: Ladder) -> list[int] | None:
        """Places, rising, of the nets that are grafted into this one; None where all are."""
        return self._partners and self._places(target, self._partners.sources(target[0].net.seed))

    def targets(self, source: Ladder) -> list[int] | None:
        """Places, rising, of the nets that this one is grafted into; None where it is into all."""
        return self._partners and self._places(source, self._partners.targets(source[0].net.seed))

    def are_sources(self, targets: Sequence[Ladder]) -> NDArray[np.bool_]:
        """Of N targets and the M nets of the group whether these are grafted into those (N, M)."""
        return self._mask(map(self.sources, targets), len(targets))

    def are_targets(self, sources: Sequence[Ladder]) -> NDArray[np.bool_]:
        """Of N sources and the M nets of the group whether those are grafted into these (N, M)."""
        return self._mask(map(self.targets, sources), len(sources))

    def _mask(self, places: Iterable[list[int] | None], count: int) -> NDArray[np.bool_]:
        found = np.zeros((count, len(self._group)), np.bool_)
        for row, mates in enumerate(places):
            found[row, slice(None) if mates is None else mates] = True
        return found

    def _places(self, ladder: Ladder, seeds: Sequence[int]) -> list[int]:
        places = {self._at[seed] for seed in seeds if seed in self._at}
        own = self._at.get(ladder[0].net.seed)
        if own is not None and self._group[own] is ladder:
            places.add(own)
        return sorted(places)


def refuse_rewiring(earlier: SweepConfig, now: SweepConfig) -> None:
    """Refuse seeds that would move others from their places in the line.

    Raises:
        ConfigError: With k partners a net, there or now, one list of seeds does not begin with the other.
    """
    if "all" in (earlier.graft.partners, now.graft.partners):
        return
    there, here = sorted(earlier.sweep.seeds), sorted(now.sweep.seeds)
    common = min(len(there), len(here))
    if there[:common] != here[:common]:
        odd = sorted({*here} ^ {*there}, key=lambda seed: (seed > there[-1], seed))[0]
        raise ConfigError(
            f"sweep.seeds: seed {odd} was put between those of the folder ({there[0]} to {there[-1]}) or "
            f"taken from them, so that other nets would be partners (graft.partners = {now.graft.partners}): "
            f"add seeds above {there[-1]}, or take 'all'"
        )
