"""All measures of all pairs of nets at one layer (docs/method.md, section 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from espalier.tasks.measures.channel_gram import ChannelGram
from espalier.tasks.measures.channel_samples import energy, mmd, mmd_inputs
from espalier.tasks.measures.fitted_rotation import alignment
from espalier.tasks.measures.found import Found, name_in
from espalier.tasks.measures.known_measures import FITTED, MEASURES
from espalier.tasks.measures.layer_matrices import LayerMatrices
from espalier.tasks.measures.matched_channels import match, semi_match
from espalier.tasks.measures.pair_measures import PairMeasure, over_pairs
from espalier.tasks.measures.sample_measures import cka, cka_channels, rsa
from espalier.tasks.measures.sliced_distance import sliced_w2
from espalier.tasks.measures.spectral_measures import cca_mean, procrustes, pwcca

WHOLE: dict[str, Callable[[LayerMatrices], Found]] = {
    "cka": cka,
    "cka_channels": cka_channels,
    "rsa": rsa,
    "energy": energy,
    "mmd": mmd,
    "sliced_w2": sliced_w2,
    "mmd_inputs": mmd_inputs,
}
"""Measures that go over all pairs themselves."""

BY_PAIR: dict[str, Callable[[LayerMatrices], PairMeasure]] = {
    "cca_mean": cca_mean,
    "pwcca": pwcca,
    "procrustes": procrustes,
    "match": match,
    "semi_match": semi_match,
}
"""Measures from `X^T Y`, which share the products of permuted images."""


def compare(
    layer: LayerMatrices, measures: Sequence[str] = MEASURES, train: ChannelGram | None = None
) -> dict[str, Found]:
    """What each measure finds for each pair of nets.

    A net whose features are not finite, or all constant, has no value in any pair; the reason stands there.

    Args:
        layer: The nets' features of the held-out images, all batches added.
        measures: Which of `MEASURES`, in any order.
        train: The channel Gram matrix of the same nets on training images, for `alignment` alone.

    Raises:
        ValueError: An unknown measure, fewer than 4 images, or `alignment` without `train`.
    """
    unknown = [name for name in measures if name not in MEASURES]
    if unknown:
        raise ValueError(f"unknown measure {unknown[0]!r}: give some of {', '.join(MEASURES)}")
    if FITTED in measures and train is None:
        raise ValueError("alignment is fitted on training images: give their channel Gram matrix as `train`")
    pairwise = {name: BY_PAIR[name](layer) for name in measures if name in BY_PAIR}
    if FITTED in measures and train is not None:
        pairwise[FITTED] = alignment(layer, train)
    _ = layer.orders  # refuses fewer than 4 images before anything is computed
    found = {name: WHOLE[name](layer) for name in measures if name in WHOLE}
    found |= over_pairs(layer, pairwise)
    for one in found.values():
        _tell(layer, one)
    return {name: found[name] for name in measures}


def _tell(layer: LayerMatrices, found: Found) -> None:
    """Say of pairs with a net that cannot be compared why they are left out, and where a null is no null."""
    for pair in [*((net, net) for net in range(layer.nets)), *layer.wanted]:
        net = next((net for net in pair if net in layer.faults), None)
        if net is not None:
            found.reasons[pair] = layer.faults[net].format(name_in(pair, net))
    for pair, null_n in found.nulls.items():
        lost = int((~null_n.isfinite()).sum())
        if lost and pair not in found.reasons:
            told = f"no p-value: {lost} of {len(null_n)} permuted values are not finite"
            found.notes[pair] = "; ".join(filter(None, (found.notes.get(pair), told)))


def scale_ratios(layer: LayerMatrices) -> torch.Tensor:
    """Root mean square of net s over that of net t (S, S): distances have their common scale taken out."""
    size_S = torch.stack([squares.mean().sqrt() for squares in layer.gram.squares])
    return size_S[:, None] / size_S
