"""Rows of tables `similarity` and `features`: measures of a tile's pairs, statistics of a net's layers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from espalier.tasks.data.tensors import Data
from espalier.tasks.measures.best_layer import BestLayer
from espalier.tasks.measures.channel_gram import ChannelGram
from espalier.tasks.measures.compare_layers import compare, scale_ratios
from espalier.tasks.measures.found import Found
from espalier.tasks.measures.known_measures import FITTED, MEASURES
from espalier.tasks.measures.layer_matrices import LayerMatrices
from espalier.tasks.measures.layer_statistics import layer_statistics
from espalier.tasks.measures.streamed_layers import chosen, layers_of
from espalier.tasks.networks.network import Network
from espalier.tasks.spec import Comparison, SimilarityTile, Snapshot, layer_name
from espalier.tasks.tables.axes import net_axes, pairing

Row = dict[str, Any]


@torch.no_grad()
def similarities(tile: SimilarityTile, networks: Sequence[Network], data: Data) -> list[Row]:
    """Rows of table `similarity`: every pair, layer and measure of a tile.

    Args:
        tile: The pairs; their indices point into its snapshots.
        networks: The networks of the tile's snapshots, in their order.
        data: Images and labels.

    Raises:
        ValueError: There are fewer than 4 held-out images.
    """
    asked = {name for pair in tile.pairs for name in pair.keys}
    measures = [name for name in MEASURES if name in asked]
    held_out = layers_of(networks, data.x_test[chosen(data.y_test, tile.images)])
    fitting = (
        layers_of(networks, data.x_train[chosen(data.y_train, tile.images)]) if FITTED in asked else None
    )
    pairs = [(pair.left, pair.right) for pair in tile.pairs]
    rows, bests = list[Row](), dict[str, BestLayer]()
    for number, batches in held_out:
        layer = LayerMatrices([h.shape[1] for h in batches[0]], tile.permutations, pairs=pairs)
        for some in batches:
            layer.add(some)
        train = None
        if fitting is not None:
            train = ChannelGram(layer.gram.channels)
            for some in next(fitting)[1]:
                train.add(some)
        found = compare(layer, measures, train)
        rows += _layer_rows(tile, number, layer, found)
        _add_to_bests(bests, tile, number, found)
    for row in rows:
        row |= _of_best(row, bests.get(row["key"]))
    return rows


def _add_to_bests(
    bests: dict[str, BestLayer], tile: SimilarityTile, number: int, found: Mapping[str, Found]
) -> None:
    """By the key of a pair's measure its best layer so far; none where layers are not permuted alike."""
    for pair in tile.pairs:
        at = pair.left, pair.right
        for name, key in pair.keys.items():
            one = found[name]
            if one.null == "images" and at in one.nulls:
                best = bests.setdefault(key, BestLayer(one.large_is_extreme))
                best.add(number, one.value_SS[at].item(), one.nulls[at])


def _of_best(row: Row, best: BestLayer | None) -> Row:
    if best is None or best.layer != row["layer"]:
        return {"best_p_value": None, "best_calibrated": None}
    columns = best.calibrated(1.0 if best.larger else 0.0)
    return {"best_p_value": _number(columns.p_value), "best_calibrated": _number(columns.calibrated)}


def _layer_rows(
    tile: SimilarityTile, number: int, layer: LayerMatrices, found: Mapping[str, Found]
) -> Iterator[Row]:
    ratio_SS, channels = scale_ratios(layer), layer.gram.channels
    columns = {name: one.calibrated() for name, one in found.items()}
    for pair in tile.pairs:
        source, target = tile.snapshots[pair.left], tile.snapshots[pair.right]
        shared = {
            **net_axes(source, "source_"),
            **net_axes(target, "target_"),
            "pairing": pairing(source, target, 0, "none"),
            "layer": number,
            "layer_name": layer_name(source.net.architecture, number),
            "scale_ratio": _number(ratio_SS[pair.left, pair.right]),
            "images": layer.images,
            "positions": layer.positions,
            "source_channels": channels[pair.left],
            "target_channels": channels[pair.right],
        }
        for name, key in pair.keys.items():
            null = {
                column: _number(value_SS[pair.left, pair.right])
                for column, value_SS in columns[name]._asdict().items()
            }
            yield {"key": key, **shared, "measure": name, **null, **_values(found[name], pair)}


def _values(found: Found, pair: Comparison) -> Row:
    at, selves = (pair.left, pair.right), found.value_SS.diagonal()[[pair.left, pair.right]]
    permuted = found.nulls.get(at)
    corrected = found.extra.get("corrected")
    return {
        "kind": found.kind,
        "value": _number(found.value_SS[at]),
        "self_value": _number(selves.mean()),
        "corrected": None if corrected is None else _number(corrected[at]),
        "null": found.null,
        "permutations": 0 if permuted is None else len(permuted),
        "warning": found.reasons.get(at) or found.notes.get(at, ""),
    }


def _number(value: Tensor) -> float | None:
    found = float(value)
    return found if math.isfinite(found) else None


@torch.no_grad()
def features(snapshot: Snapshot, key: str, network: Network, data: Data, images: int) -> list[Row]:
    """Rows of table `features`: every channel of every layer of one net, on some held-out images."""
    rows: list[Row] = []
    for number, batches in layers_of([network], data.x_test[chosen(data.y_test, images)]):
        layer = LayerMatrices([batches[0][0].shape[1]])
        for some in batches:
            layer.add(some)
        found = layer_statistics(layer, 0)
        shared = {
            "key": key,
            **net_axes(snapshot),
            "layer": number,
            "layer_name": layer_name(network.architecture, number),
            "images": layer.images,
            "positions": layer.positions,
            "decay_first": found.decay_first,
            "decay_last": found.decay_last,
        }
        names = ("dead_share", "participation_ratio", "effective_rank", "decay")
        shared |= {name: _number(torch.tensor(getattr(found, name))) for name in names}
        moments = zip(found.mean_C, found.variance_C, found.kurtosis_C, strict=True)
        rows += [
            {
                **shared,
                "channel": channel,
                "mean": _number(mean),
                "variance": _number(variance),
                "kurtosis": _number(kurtosis),
            }
            for channel, (mean, variance, kurtosis) in enumerate(moments)
        ]
    return rows
