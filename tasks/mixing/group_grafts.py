"""Grafts of groups of channels: the target's top on what a group predicts, as rows of the graft tables.

Legend: as in `tasks.mixing.channels`; m >= l a layer at which the error is measured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from espalier.tasks.data.tensors import Data
from espalier.tasks.grafting.answers import answers
from espalier.tasks.grafting.graft import (
    GraftRows,
    error_warning,
    held_out,
    joined,
    later_layers,
    sizes,
)
from espalier.tasks.grafting.grafted_net import Top, exact_joint
from espalier.tasks.grafting.gram import ChannelMoments, Factor
from espalier.tasks.grafting.layer_input import LayerInput
from espalier.tasks.grafting.score import GraftScore, send
from espalier.tasks.grafting.solve import Fit
from espalier.tasks.mixing.channel_groups import Fitter
from espalier.tasks.mixing.channels import Channels, Features
from espalier.tasks.networks.cuts import Arm, Cut, Reading, norms_from
from espalier.tasks.spec import Pool, Snapshot, layer_name
from espalier.tasks.tables.axes import net_axes
from espalier.tasks.tables.image_blocks import ERROR_BY_BLOCK


class Draw(NamedTuple):
    """A group of channels grafted into a pool's target.

    `nets` are those that its channels come from; `sizes` the columns that describe the fit, so that no d x d
    matrix need be kept.
    """

    pool: Pool
    cut: Cut
    number: int
    nets: tuple[int, ...]
    group_c: Tensor
    fits: dict[Arm, Fit]
    sizes: dict[str, Any]


def draw(
    fitter: Fitter, pool: Pool, cut: Cut, number: int, nets: tuple[int, ...], group_c: Tensor, data: Data
) -> Draw:
    """Fit every arm of a cut to a group; arms of one reading share a factorisation."""
    factors: dict[Reading, Factor] = {}
    fits: dict[Arm, Fit] = {}
    for arm in cut.arms:
        place = fitter.channels.readings[arm]
        if place not in factors:
            factors[place] = fitter.factor(arm, group_c)
        fits[arm] = fitter.fit(pool.target, arm, group_c, factors[place])
    return Draw(
        pool,
        cut,
        number,
        nets,
        group_c,
        fits,
        sizes(list(factors.values()), len(data.y_train), len(data.y_test)),
    )


@dataclass
class Scores:
    """Held-out sums: of draws by their place, of whole nets, and moments of the targets' own z."""

    draws: dict[int, GraftScore] = field(default_factory=lambda: defaultdict(GraftScore))
    nets: dict[int, GraftScore] = field(default_factory=lambda: defaultdict(GraftScore))
    outputs: dict[int, dict[int, ChannelMoments]] = field(default_factory=dict)


def score(channels: Channels, draws: Sequence[Draw], data: Data) -> Scores:
    """Send the held-out images through the grafted nets."""
    scores = Scores()
    layers = list(enumerate(channels.architecture.layers, start=1))
    scores.outputs = {t: {m: ChannelMoments(layer.out) for m, layer in layers} for t in channels.targets}
    for images_N, features in channels.batches(data.x_test):
        _score_nets(channels, features, data.y_test[images_N], scores)
        _score_draws(channels, draws, features, data.y_test[images_N], scores)
    return scores


def _score_nets(channels: Channels, layers: Sequence[Features], y: Tensor, scores: Scores) -> None:
    for target, outputs in scores.outputs.items():
        for number, features in enumerate(layers, start=1):
            outputs[number].add(features[target].z)
    for net, features in layers[-1].items():
        scores.nets[net].add_answers(channels.loss, features.z, y)


def _score_draws(
    channels: Channels, draws: Sequence[Draw], layers: Sequence[Features], y: Tensor, scores: Scores
) -> None:
    together = {reads: channels.together(reads, layers[reads]) for reads in {d.cut.layer - 1 for d in draws}}
    for place, entry in enumerate(draws):
        target, h = entry.pool.target, together[entry.cut.layer - 1][:, entry.group_c]
        joint = exact_joint(channels.architecture, entry.cut, _predict(channels, entry, h))
        own = [features[target].z for features in layers]
        outputs = send(Top(channels.networks[target]), entry.cut, joint, own, scores.draws[place])
        scores.draws[place].add_answers(channels.loss, outputs, y)


def _predict(channels: Channels, entry: Draw, h: Tensor) -> dict[Arm, Tensor]:
    """The outputs of a draw's arms from its channels of a batch; arms of one reading share their patches."""
    inputs: dict[Reading, LayerInput] = {}
    given: dict[Arm, Tensor] = {}
    for arm, fitted in entry.fits.items():
        place = channels.readings[arm]
        if place not in inputs:
            inputs[place] = channels.inputs(arm, h)
        given[arm] = inputs[place].predict(fitted.weight_DC, fitted.bias_C)
    return given


def graft_rows(channels: Channels, draws: Sequence[Draw], data: Data) -> GraftRows:
    """Rows of the tables `grafts` and `downstream`, the target's BN statistics where there is BN."""
    scores, rows = score(channels, draws, data), GraftRows([], [], [])
    for place, entry in enumerate(draws):
        axes, layer = _axes(channels, entry), entry.cut.layer
        total, outputs = scores.draws[place], scores.outputs[entry.pool.target]
        source = scores.nets[entry.nets[0]] if len(entry.nets) == 1 else None
        scored = {
            **held_out(total, outputs[layer], layer),
            **answers(total, scores.nets[entry.pool.target], source, len(data.y_test)),
            ERROR_BY_BLOCK: None,
            **entry.sizes,
            "fvu_train": entry.fits[entry.cut.arms[0]].fvu_train,
            "layer": layer,
            "layer_name": layer_name(channels.architecture, layer),
            "ridge": channels.tile.options.ridge,
        }
        row = axes | scored
        rows.grafts.append(row | {"warning": joined(row["warning"], error_warning(row))})
        later = later_layers(channels.architecture, layer, total, outputs)
        rows.downstream.extend(axes | row for row in later)
    return rows


def _axes(channels: Channels, entry: Draw) -> dict[str, Any]:
    snapshots = channels.tile.snapshots
    return {
        "key": entry.pool.key,
        **shared_axes([snapshots[net] for net in entry.nets]),
        **net_axes(snapshots[entry.pool.target], "target_"),
        "method": entry.cut.method,
        "null": entry.pool.null,
        "bn": "target" if norms_from(channels.architecture, entry.cut.layer) else "none",
        "pairing": "same_width",
        "skip": entry.cut.skip,
        "draw": entry.number,
        "source_nets": len(entry.nets),
    }


def shared_axes(snapshots: Sequence[Snapshot]) -> dict[str, Any]:
    """The axes of a source that is made of several nets: null where they differ."""
    first, *others = [net_axes(snapshot, "source_") for snapshot in snapshots]
    return {
        name: value if all(other[name] == value for other in others) else None
        for name, value in first.items()
    }
