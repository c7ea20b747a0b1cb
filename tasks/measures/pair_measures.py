"""Measures that are made pair by pair from `X^T Y`: their values, and the same of permuted images.

Legend: C channels of a net, S nets, n permutations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from espalier.tasks.measures.found import Found, Kind, Pair, nothing
from espalier.tasks.measures.known_measures import permutations_of
from espalier.tasks.measures.layer_matrices import LayerMatrices
from espalier.tasks.measures.permuted_products import permuted_products

Statistic = Callable[[Tensor], Tensor]
"""From products `X^T P Y` (n, C_s, C_t) of centred features, in float64, to values (n,)."""


@dataclass(frozen=True)
class PairMeasure:
    """A measure of pairs from `X^T Y`.

    Attributes:
        kind: See `tasks.measures.found`.
        make: From two nets to their value and the statistic that gives permuted values.
        best: The value farthest from the null.
        refuses: From two nets to why they have no value, or None.
        dear: Whether a permutation needs singular vectors.
    """

    kind: Kind
    make: Callable[[int, int], tuple[float, Statistic]]
    best: float
    refuses: Callable[[int, int], str | None] = lambda *_: None
    dear: bool = False


def over_pairs(layer: LayerMatrices, measures: Mapping[str, PairMeasure]) -> dict[str, Found]:
    """Each measure's value for each pair of sound nets and each net with itself, and its permuted values.

    The products of permuted images are made once for all measures, and dropped pair by pair.
    """
    found = {name: nothing(one.kind, "images", layer.nets, one.best) for name, one in measures.items()}
    statistics: dict[Pair, dict[str, Statistic]] = defaultdict(dict)
    for name, measure in measures.items():
        for pair in [*layer.selves, *layer.pairs]:
            reason = measure.refuses(*pair)
            if reason:
                found[name].reasons[pair] = reason
                continue
            value, statistic = measure.make(*pair)
            found[name].put(*pair, value)
            if pair[0] != pair[1]:
                statistics[pair][name] = statistic
    for count, pairs in _by_count(layer, list(statistics)).items():
        rows = {
            net: layer.centred_rows(net) / layer.unit(net) for net in {net for pair in pairs for net in pair}
        }
        for pair, products_nCC in permuted_products(rows, pairs, layer.few_orders, count):
            exact_nCC = products_nCC.double().mul_(layer.unit(pair[0]) * layer.unit(pair[1]))
            for name, statistic in statistics.pop(pair).items():
                few = permutations_of(_widest(layer, pair), count, measures[name].dear)
                found[name].nulls[pair] = statistic(exact_nCC[:few]).cpu()
    return found


def _by_count(layer: LayerMatrices, pairs: list[Pair]) -> dict[int, list[Pair]]:
    grouped: dict[int, list[Pair]] = defaultdict(list)
    for pair in pairs:
        grouped[permutations_of(_widest(layer, pair), layer.permutations)].append(pair)
    return grouped


def _widest(layer: LayerMatrices, pair: Pair) -> int:
    return max(layer.gram.channels[net] for net in pair)
