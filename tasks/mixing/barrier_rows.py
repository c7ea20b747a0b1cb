"""The path between two nets as rows: with and without a matching of channels, and of statistics.

Each matching brings net B's channels to other places, which changes no function; then the straight line
between the two nets' parameters is followed (docs/method.md, section 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from espalier.tasks.data.tensors import Data
from espalier.tasks.mixing.activation_matching import (
    Correlations,
    NetPair,
    correlations,
    match_activations,
    mean_correlation,
)
from espalier.tasks.mixing.linear_path import MEASURES, UNKNOWN, Score, barrier, between, places, score
from espalier.tasks.mixing.matching_cycles import cycle_share
from espalier.tasks.mixing.repair import Scales, output_scales, reordered_scales, repaired, scales_between
from espalier.tasks.mixing.weight_matching import PASSES, Orders, match_weights
from espalier.tasks.networks.architectures import is_trained
from espalier.tasks.networks.network import Network, free_streams, reordered
from espalier.tasks.seeds import stream
from espalier.tasks.spec import BarrierPair, Correction, Matching
from espalier.tasks.tables.axes import net_axes

Rows = list[dict[str, Any]]

A_TO_B: NetPair = (0, 1)
CYCLE: tuple[NetPair, ...] = (A_TO_B, (1, 2), (2, 0))


class Paths(NamedTuple):
    """Rows of the tables `barriers` and `barrier_curves`."""

    barriers: Rows
    curves: Rows


@torch.no_grad()
def paths(pair: BarrierPair, networks: Sequence[Network], data: Data, held: bool = True) -> Paths:
    """The path of a pair by every matching and correction.

    Args:
        pair: Two snapshots or three, and the options.
        networks: Their networks, in their order.
        data: All images and labels.
        held: As in `tasks.mixing.repair.repaired`.
    """
    few = few_images(data, pair.options.images)
    broken = [place for place, net in enumerate(networks) if not _finite(net)]
    sound = networks[:2] if 2 in broken else networks  # the path needs no third net
    ends = None if {0, 1} & {*broken} else _Ends(pair, sound, few, held)
    found = Paths([], [])
    for matching in pair.options.matchings:
        matched = ends.matched(matching) if ends else _Matched({}, _UNMATCHED)
        matched = replace(matched, warning="; ".join(filter(None, [_told(broken), matched.warning])))
        for correction in pair.options.corrections:
            scores = ends.path(matched.orders, correction) if ends else [UNKNOWN] * pair.options.points
            _add(found, pair, few, matched, {"matching": matching, "correction": correction}, scores)
    return found


def few_images(data: Data, count: int) -> Data:
    """So many training images, a random choice that is the same for all nets; and all held-out images."""
    images = len(data.y_train)
    if count >= images:
        return data
    order_N = torch.randperm(images, generator=stream("barrier images", images))
    chosen_N = order_N[:count].sort().values.to(data.y_train.device)
    return data._replace(x_train=data.x_train[chosen_N], y_train=data.y_train[chosen_N])


def _finite(network: Network) -> bool:
    return all(bool(value.isfinite().all()) for value in network.parameters.values())


def _told(broken: Sequence[int]) -> str:
    names = ("source", "target", "third")
    return "; ".join(f"the {names[place]} net has parameters that are not finite" for place in broken)


@dataclass(frozen=True)
class _Matched:
    """Orders of B's channels, what they achieve, and what is to be said of them."""

    orders: Orders
    columns: Mapping[str, float | None]
    warning: str = ""


_UNMATCHED: dict[str, float | None] = dict.fromkeys(
    ("weight_cosine", "channel_correlation", "cycle_share", "cycle_chance")
)


class _Ends:
    """The nets of a pair, and what all of its paths need of them."""

    def __init__(self, pair: BarrierPair, networks: Sequence[Network], data: Data, held: bool) -> None:
        self._pair, self._nets, self._data, self._held = pair, networks, data, held
        self._architecture, options = networks[0].architecture, pair.options
        cycle = len(networks) == 3 and "activations" in options.matchings
        pairs = CYCLE if cycle else (A_TO_B,)
        self._correlations: dict[NetPair, Correlations] = correlations(networks, pairs, data.x_train)
        self._scales: list[Scales] = (
            [output_scales(net, data.x_train) for net in networks[:2]]
            if "repair" in options.corrections
            else []
        )

    def matched(self, matching: Matching) -> _Matched:
        """Net B matched to net A; of three nets the cycle too."""
        orders, warning = self._orders(matching, A_TO_B)
        if not orders:
            return _Matched(orders, _UNMATCHED | {"weight_cosine": _cosine(*self._nets[:2])}, warning)
        columns = {
            "weight_cosine": _cosine(self._nets[0], reordered(self._nets[1], orders)),
            "channel_correlation": mean_correlation(self._architecture, self._correlations[A_TO_B], orders),
        }
        if matching == "none" or len(self._nets) < 3:
            return _Matched(orders, _UNMATCHED | columns, warning)
        (second, by_second), (third, by_third) = (self._orders(matching, pair) for pair in CYCLE[1:])
        share, chance = cycle_share(orders, second, third)
        columns |= {"cycle_share": share, "cycle_chance": chance}
        return _Matched(orders, columns, warning or _of_cycle(by_second or by_third))

    def _orders(self, matching: Matching, nets: NetPair) -> tuple[Orders, str]:
        """Of the second net's channels, to match the first's; and a warning or nothing."""
        if matching == "activations":
            return match_activations(self._correlations[nets]), ""
        if matching == "none":
            return {number: torch.arange(n) for number, n in free_streams(self._architecture).items()}, ""
        one, other = nets
        names = [self._pair.snapshots[place].key for place in nets]
        found = match_weights(self._nets[one], self._nets[other], *names)
        return found.orders, "" if found.settled else f"weight matching stopped after {PASSES} passes"

    def path(self, orders: Orders, correction: Correction) -> list[Score]:
        """The scores at all places, from A to B with its channels in these orders."""
        a, b = self._nets[0], reordered(self._nets[1], orders)
        loss, x = self._pair.snapshots[1].net.recipe.loss, self._data.x_train
        found: list[Score] = []
        for t in places(self._pair.options.points):
            network = between(a, b, t)
            if correction == "repair":
                ends = self._scales[0], reordered_scales(self._architecture, self._scales[1], orders)
                network = repaired(network, scales_between(*ends, t), x, self._held)
            found.append(score(network, self._data, loss))
        return found


def _of_cycle(warning: str) -> str:
    return f"{warning} (on the way round the cycle)" if warning else ""


def _cosine(a: Network, b: Network) -> float | None:
    """The cosine of the angle between all trained parameters of two nets."""
    one, other = (_flat(net) for net in (a, b))
    norms = (one.norm() * other.norm()).item()
    return (one @ other).item() / norms if norms else None


def _flat(network: Network) -> Tensor:
    trained = [value.flatten() for name, value in network.parameters.items() if is_trained(name)]
    return torch.cat(trained).double()


def _add(
    found: Paths,
    pair: BarrierPair,
    data: Data,
    matched: _Matched,
    way: dict[str, str],
    scores: Sequence[Score],
) -> None:
    """The rows of one path."""
    source, target, *more = pair.snapshots
    third = net_axes(more[0]) if more else {"net": None, "seed": None}
    axes = {"key": pair.key, **net_axes(source, "source_"), **net_axes(target, "target_"), **way}
    summary = {
        f"{measure}_{part}": value
        for measure in MEASURES
        for part, value in barrier(measure, scores)._asdict().items()
    }
    own = {
        "third_net": third["net"],
        "third_seed": third["seed"],
        **matched.columns,
        "points": len(scores),
        "images_train": len(data.y_train),
        "images_test": len(data.y_test),
        "warning": "; ".join(filter(None, [matched.warning, _lost(scores)])),
    }
    found.barriers.append(axes | own | summary)
    curve = zip(places(len(scores)), scores, strict=True)
    found.curves.extend(axes | {"t": t} | one._asdict() for t, one in curve)


def _lost(scores: Sequence[Score]) -> str:
    """Where a loss is not finite, in words."""
    curve = zip(places(len(scores)), scores, strict=True)
    lost = [f"{t:.3g}" for t, one in curve if one.loss_train is None or one.loss_test is None]
    if len(lost) > 3:
        return f"a loss is not finite at {len(lost)} of {len(scores)} places"
    return f"a loss is not finite at t = {', '.join(lost)}" if lost else ""
