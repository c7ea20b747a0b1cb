"""The grafts of a tile as rows: every pair, cut and choice of BN statistics (docs/method.md, section 2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from espalier.tasks.data.tensors import Data
from espalier.tasks.grafting.answers import answers
from espalier.tasks.grafting.error_blocks import error_by_block
from espalier.tasks.grafting.fit import Factors, Fits, fit
from espalier.tasks.grafting.fvu import fraction_unexplained, fraction_unexplained_mean, live_channels
from espalier.tasks.grafting.gram import ChannelMoments, Factor
from espalier.tasks.grafting.score import Graft, GraftScore, Scores, score
from espalier.tasks.grafting.tile_nets import Bottoms, TileNets
from espalier.tasks.grafting.tile_parts import Source, parts
from espalier.tasks.networks.cuts import Cut
from espalier.tasks.networks.network import Network
from espalier.tasks.spec import Architecture, AtOnce, GraftTile, Pair, layer_name
from espalier.tasks.tables.axes import net_axes, pairing
from espalier.tasks.tables.image_blocks import ERROR_BY_BLOCK
from espalier.tasks.tables.marks import BELOW_FLOOR, CONSTANT_TARGET

ALL = AtOnce()


@dataclass(frozen=True)
class GraftRows:
    """Rows of the tables `grafts`, `downstream` and `ridges`."""

    grafts: list[dict[str, Any]]
    downstream: list[dict[str, Any]]
    ridges: list[dict[str, Any]]


@torch.no_grad()
def graft(tile: GraftTile, networks: list[Network], data: Data, at_once: AtOnce = ALL) -> GraftRows:
    """All grafts of a tile: fitted on the training images, scored on the held-out ones.

    Args:
        tile: The pairs; their indices point into its snapshots.
        networks: The networks of the tile's snapshots, in their order.
        data: Images and labels.
        at_once: What is computed in one pass over the images; smaller parts need less memory.

    Returns:
        Rows by pair in the tile's order, then by layer; the same whatever `at_once` is.
    """
    rows, bottoms = GraftRows([], [], []), Bottoms(tile, networks, data)
    for some_layers in parts(tile, at_once):
        factors: Factors = {}
        for part in some_layers:
            nets = TileNets(tile, networks, bottoms, part)
            fits = fit(nets, data.x_train, tile.options, factors)
            factors = fits.factors
            add_rows(rows, nets, fits, score(nets, fits, data), data)
    place = {pair.key: number for number, pair in enumerate(tile.pairs)}
    for made in (rows.grafts, rows.downstream, rows.ridges):
        made.sort(key=lambda row: place[row["key"]])
    return rows


def add_rows(rows: GraftRows, nets: TileNets, fits: Fits, scores: Scores, data: Data) -> None:
    """Add the rows of the grafts of a tile."""
    for source, pair, cut in nets.grafts():
        for statistics in nets.statistics(pair.target, cut):
            axes = _axes(nets.tile, pair, cut) | {"bn": statistics, "draw": 0, "source_nets": 1}
            row = axes | _graft_row(nets, scores, source, pair, (pair.key, cut, statistics))
            row |= _sizes(nets, data, fits, source, pair, cut)
            row["warning"] = joined(row["warning"], error_warning(row, _floor(fits, pair, cut)))
            rows.grafts.append(row)
            downstream = _downstream_rows(nets, scores, pair, (pair.key, cut, statistics))
            rows.downstream.extend(axes | row for row in downstream)
        rows.ridges.extend(_ridge_rows(nets, data, fits, pair, cut))


def _axes(tile: GraftTile, pair: Pair, cut: Cut) -> dict[str, Any]:
    return {
        "key": pair.key,
        **net_axes(tile.snapshots[pair.source], "source_"),
        **net_axes(tile.snapshots[pair.target], "target_"),
        "method": cut.method,
        "null": pair.null,
        "pairing": pairing(tile.snapshots[pair.source], tile.snapshots[pair.target], cut.skip, pair.null),
        "skip": cut.skip,
    }


def _graft_row(nets: TileNets, scores: Scores, source: Source, pair: Pair, graft: Graft) -> dict[str, Any]:
    layer, images = graft[1].layer, scores.images
    return {
        **held_out(scores.grafts[graft], scores.outputs[pair.target, layer], layer),
        **answers(scores.grafts[graft], scores.targets[pair.target], scores.sources[source], images),
        ERROR_BY_BLOCK: _by_block(scores, pair, graft),
        "layer": layer,
        "layer_name": layer_name(nets.frame, layer),
    }


def _by_block(scores: Scores, pair: Pair, graft: Graft) -> bytes | None:
    """What blocks of images add to the error, where that is kept."""
    place, error_K = (pair.target, graft[1].layer), scores.grafts[graft].error_K
    if error_K is None:
        return None
    return error_by_block(error_K, scores.blocks[place], scores.outputs[place])


def held_out(entry: GraftScore, output: ChannelMoments, layer: int) -> dict[str, Any]:
    """Errors of a graft at layer l; `output` are the moments of the target's own z_l."""
    error_C = entry.error_C[layer] / output.rows
    return {
        "fvu_test": fraction_unexplained(error_C, output.variance_C),
        "fvu_channel_mean": fraction_unexplained_mean(error_C, output.variance_C),
        "dead_channels": int((~live_channels(output.variance_C)).sum()),
    }


def _sizes(nets: TileNets, data: Data, fits: Fits, source: Source, pair: Pair, cut: Cut) -> dict[str, Any]:
    factors = [fits.factors[source, nets.arms[arm].reading] for arm in cut.arms]
    main = fits.of(pair.key, cut, cut.arms[0])
    products = {"products": "float32"} if cut.by_adam else {}
    # A stitch is fitted below l: its in-sample error at l was not measured.
    fvu_train = None if cut.method == "stitch" else main.fvu_train
    shared = sizes(factors, fits.images, len(data.y_test))
    return {"fvu_train": fvu_train, "ridge": main.ridge, **shared, **products}


def _floor(fits: Fits, pair: Pair, cut: Cut) -> float:
    """The FVU below which a graft's is rounding; of maps whose truth is 0, and of approximate ones, none."""
    if pair.source == pair.target or cut.method != "exact":
        return 0.0
    return fits.of(pair.key, cut, cut.arms[0]).floor


def sizes(factors: Sequence[Factor], images: int, images_test: int) -> dict[str, Any]:
    """Sizes and spectrum of the main path's fit, the first, on so many images; a warning of any arm's."""
    warnings = [warning(len(factor.values_K), factor.dim, images) for factor in factors]
    return {
        "products": factors[0].products,
        "patch_dim": factors[0].dim,
        "effective_rank": factors[0].effective_rank,
        "condition_number": factors[0].condition_number,
        "rows": factors[0].rows,
        "images_train": images,
        "images_test": images_test,
        "warning": next((text for text in warnings if text), ""),
    }


def warning(kept: int, dim: int, images: int) -> str:
    """Why a fit should be read with care, or nothing.

    `kept` of the `dim` directions of its patches occur in the fitting images. Patches of one image are not
    independent, so images, not rows, are held against d.
    """
    if not kept:
        return "the source layer is constant"
    if images < 2 * dim:
        return f"few images: {images} < 2 x {dim} patch dimensions"
    if kept < dim:
        unseen = dim - kept
        return f"{unseen} of {dim} patch directions (almost) do not occur in the fitting images"
    return ""


def error_warning(row: Mapping[str, Any], floor: float = 0.0) -> str:
    """Why a row's errors say nothing, or nothing: it lacks some of them, or one is below the floor."""
    names = ["fvu_test"] if row["method"] == "stitch" else ["fvu_test", "fvu_train"]
    if any(row[name] is None for name in names):
        return CONSTANT_TARGET
    low = [f"{name} {row[name]:.1g}" for name in names if row[name] < floor]
    return f"{BELOW_FLOOR} of rounding, {floor:.1g}: {', '.join(low)}" if low else ""


def joined(*texts: str) -> str:
    """Those that say something."""
    return "; ".join(text for text in texts if text)


def _ridge_rows(nets: TileNets, data: Data, fits: Fits, pair: Pair, cut: Cut) -> Iterator[dict[str, Any]]:
    """The ridges that were tried for the main path's map."""
    for trial in () if cut.by_adam else fits.trials.get((pair.key, cut.arms[0]), ()):
        yield {
            **_axes(nets.tile, pair, cut),
            "layer": cut.layer,
            "layer_name": layer_name(nets.frame, cut.layer),
            **trial._asdict(),
            "images_validation": len(data.y_train) - fits.images,
        }


def _downstream_rows(nets: TileNets, scores: Scores, pair: Pair, graft: Graft) -> list[dict[str, Any]]:
    outputs = {layer: scores.outputs[pair.target, layer] for layer in scores.grafts[graft].error_C}
    return later_layers(nets.frame, graft[1].layer, scores.grafts[graft], outputs)


def later_layers(
    architecture: Architecture, graft_layer: int, entry: GraftScore, outputs: Mapping[int, ChannelMoments]
) -> list[dict[str, Any]]:
    """Errors of a graft at each layer from l on; `outputs` are the moments of the target's own z."""
    rows = []
    for layer, error_C in entry.error_C.items():
        fvu = fraction_unexplained(error_C / outputs[layer].rows, outputs[layer].variance_C)
        name = layer_name(architecture, layer)
        rows.append({"graft_layer": graft_layer, "layer": layer, "layer_name": name, "fvu_test": fvu})
    return rows
