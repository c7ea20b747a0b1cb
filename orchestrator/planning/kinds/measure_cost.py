"""What each measure of `tasks.measures` takes of two layers, beside what all of them share.

Fitted to single pairs on an Intel Xeon: 16 to 1,000 channels, 500 and 1,000 images, 1 to 64 positions, 99 and
999 permutations. Operations are in units of which a core does a quarter of a float32 product's.

Legend: N images, P positions, C channels of a net; n permutations.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache
from typing import NamedTuple

from espalier.tasks.measures.known_measures import DIRECTIONS, inputs_of, permutations_of


class Sizes(NamedTuple):
    """Of two layers: images, positions, channels of the narrower and the wider net, permutations wanted."""

    images: int
    positions: int
    narrow: int
    wide: int
    permutations: int

    @property
    def both(self) -> int:
        """Channels of both nets."""
        return self.narrow + self.wide

    def few(self, dear: bool = False) -> int:
        """Permutations of a measure that needs a product for each."""
        return permutations_of(self.wide, self.permutations, dear)


def _decomposed(each: float, dear: bool = False) -> Callable[[Sizes], float]:
    return lambda at: at.few(dear) * each * at.narrow**2 * at.wide


def _labels_dealt(at: Sizes) -> float:
    return (5.0 * at.permutations + 7000.0) * at.both**2


OF_IMAGES = {"cka": 1100.0, "cka_channels": 2300.0, "rsa": 2200.0}
"""Of a net, for each two images: forms, their ranks, and all their shifts."""

OF_PAIRS: dict[str, Callable[[Sizes], float]] = {
    "cca_mean": _decomposed(10.0),
    "pwcca": _decomposed(25.0, dear=True),
    "procrustes": _decomposed(10.0),
    "alignment": lambda at: 45.0 * at.narrow**2 * at.wide,
    "match": lambda at: at.few() * 350.0 * at.wide**2.3,
    "semi_match": lambda at: at.few() * 50.0 * at.narrow * at.wide,
    "energy": _labels_dealt,
    "mmd": _labels_dealt,
    "sliced_w2": lambda at: 19.0 * at.both**3 + at.few() * 350.0 * at.both * DIRECTIONS,
    "mmd_inputs": lambda at: inputs_of(at.both) * 1000.0 * at.both**2 + 5.0 * at.permutations * at.both**2,
}
"""Of a pair, beside the products of permuted images."""

BY_PRODUCTS = {"cca_mean", "pwcca", "procrustes", "alignment", "match", "semi_match"}
"""Those that need `X^T Y` under permuted images, which is made once for all of them."""

LONGEST = 250
"""Frequencies of a circle of images, at most."""


@lru_cache(maxsize=4096)
def pair_flops(names: tuple[str, ...], at: Sizes) -> float:
    """Operations for some measures of two layers; pairs of one width and layer ask for the same."""
    own = sum(OF_PAIRS[name](at) for name in names if name in OF_PAIRS)
    if not BY_PRODUCTS & {*names}:
        return own
    frequencies = min(LONGEST, at.images // 2 + 1)
    each = 20.0 * at.images * at.positions + 9.0 * at.few() * frequencies
    return own + each * at.narrow * at.wide


def net_flops(names: Collection[str], images: int) -> float:
    """Operations for some measures of a net's layer, before it is compared with any other."""
    return sum(OF_IMAGES[name] for name in names if name in OF_IMAGES) * float(images) ** 2
