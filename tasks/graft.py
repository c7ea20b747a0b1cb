"""Exact grafts of a tile as rows: every pair, every layer 2 to L (docs/method.md, section 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from tasks.data import Data
from tasks.fit import Fits, fit
from tasks.gram import Factor, fraction_unexplained, fraction_unexplained_mean, live_channels
from tasks.network import Network
from tasks.rows import net_axes
from tasks.score import GraftScore, Scores, score
from tasks.spec import GraftTile, Pair, layer_name
from tasks.walk import Source, Walk


@dataclass(frozen=True)
class GraftRows:
    """Rows of the tables `grafts` and `downstream`."""

    grafts: list[dict[str, Any]]
    downstream: list[dict[str, Any]]


@torch.no_grad()
def graft(tile: GraftTile, networks: list[Network], data: Data) -> GraftRows:
    """All grafts of a tile: fitted on the training images, scored on the held-out ones.

    Args:
        tile: The pairs; their indices point into its snapshots.
        networks: The networks of the tile's snapshots, in their order.
        data: Images and labels.
    """
    walk = Walk(tile, networks)
    fits = fit(walk, data.x_train, tile.options)
    scores = score(walk, fits, data)
    rows = GraftRows([], [])
    for source, pair, layer in walk.grafts():
        axes = _axes(tile, pair)
        rows.grafts.append(
            axes | _graft_row(walk, fits, scores, source, pair, layer) | _sizes(data, fits, source, layer)
        )
        rows.downstream.extend(axes | row for row in _downstream_rows(walk, scores, pair, layer))
    return rows


def _axes(tile: GraftTile, pair: Pair) -> dict[str, Any]:
    return {
        "key": pair.key,
        **net_axes(tile.snapshots[pair.source], "source_"),
        **net_axes(tile.snapshots[pair.target], "target_"),
        "method": tile.options.method,
        "null": pair.null,
    }


def _graft_row(
    walk: Walk, fits: Fits, scores: Scores, source: Source, pair: Pair, layer: int
) -> dict[str, Any]:
    entry, output = scores.grafts[pair.key, layer], scores.outputs[pair.target, layer]
    error_C = entry.error_C[layer] / output.rows
    accuracy, target_accuracy = entry.right / scores.images, scores.target_right[pair.target] / scores.images
    return {
        "layer": layer,
        "layer_name": layer_name(walk.architecture, layer),
        "fvu_train": fits.fits[pair.key, layer].fvu_train,
        "fvu_test": fraction_unexplained(error_C, output.variance_C),
        "fvu_channel_mean": fraction_unexplained_mean(error_C, output.variance_C),
        "loss_test": entry.loss / scores.images,
        "accuracy_test": accuracy,
        "target_accuracy_test": target_accuracy,
        "source_accuracy_test": scores.source_right[source] / scores.images,
        "accuracy_drop": target_accuracy - accuracy,
        "ridge": walk.tile.options.ridge,
        "dead_channels": int((~live_channels(output.variance_C)).sum()),
    }


def _sizes(data: Data, fits: Fits, source: Source, layer: int) -> dict[str, Any]:
    factor = fits.factors[source, layer]
    return {
        "products": factor.products,
        "patch_dim": factor.dim,
        "effective_rank": factor.effective_rank,
        "condition_number": factor.condition_number,
        "rows": factor.rows,
        "images_train": len(data.y_train),
        "images_test": len(data.y_test),
        "warning": warning(factor, len(data.y_train)),
    }


def warning(factor: Factor, images: int) -> str:
    """Why a fit should be read with care, or nothing.

    Patches of one image are not independent, so images, not rows, are held against d.
    """
    if not len(factor.values_K):
        return "the source layer is constant"
    if images < 2 * factor.dim:
        return f"few images: {images} < 2 x {factor.dim} patch dimensions"
    if len(factor.values_K) < factor.dim:
        unseen = factor.dim - len(factor.values_K)
        return f"{unseen} of {factor.dim} patch directions (almost) do not occur in the fitting images"
    return ""


def _downstream_rows(walk: Walk, scores: Scores, pair: Pair, layer: int) -> list[dict[str, Any]]:
    entry: GraftScore = scores.grafts[pair.key, layer]
    rows = []
    for later, error_C in entry.error_C.items():
        output = scores.outputs[pair.target, later]
        fvu = fraction_unexplained(error_C / output.rows, output.variance_C)
        name = layer_name(walk.architecture, later)
        rows.append({"graft_layer": layer, "layer": later, "layer_name": name, "fvu_test": fvu})
    return rows
