"""Exchangeability of nets' channels: the nulls `pooled` and `wider_subset` (docs/method.md, section 3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from espalier.analysis.answers.pool_tests import LEVEL, TIE, largest_pools
from espalier.analysis.figures.captioned import CaptionedFigure, when
from espalier.analysis.figures.main_figures import layer_axis, layer_names
from espalier.analysis.figures.style import (
    PALETTE,
    REFERENCE,
    bottom_labels,
    log_values,
    new_panels,
    shared_legend,
    styled,
    width_axis,
)
from espalier.analysis.limits.selection import largest, where

NAMES = {"pooled": "exchangeability", "wider_subset": "wider_subset"}
TITLES = {
    "pooled": "Exchangeability: one net against a pool of nets",
    "wider_subset": "Excess: a narrow net against as many channels of the widest",
}


def captioned_figures(rows: pd.DataFrame) -> Iterator[CaptionedFigure]:
    """For each null a figure of the last epoch and one of the first; rows of one setting."""
    rows = largest_pools(rows)
    for null, name in NAMES.items():
        of_null = where(rows, rows["null"] == null)
        epochs = sorted(set(of_null["target_epoch"]), reverse=True)
        for epoch in dict.fromkeys([*epochs[:1], *epochs[-1:]]):
            here = where(of_null, of_null["target_epoch"] == epoch)
            suffix = "" if epoch == epochs[0] else "_at_start"
            reading = _READING[null] if epoch == epochs[0] else _START
            start = where(of_null, of_null["target_epoch"] == 0) if epoch else here.iloc[:0]
            title = f"{TITLES[null]}, {when(int(epoch))}"
            yield CaptionedFigure(name + suffix, title, reading, ratios(here, start))
        if len(of_null) and testable(of_null):
            title = f"{TITLES[null]}: how often it is rejected"
            yield CaptionedFigure(f"{name}_tests", title, _TESTS, rejections(of_null))


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """By layer and width: geometric means over targets, how many there are and how many reject.

    There is no standard error: targets share the nets that serve them, and the table has one row a target.
    """
    logs = rows.assign(**{name: np.log(rows[name]) for name in ("ratio", "ratio_low", "ratio_high")})
    logs = logs.assign(rejects=rejected(rows["p_value"]), targets=1)
    found = logs.groupby(["layer", "target_width"]).agg(
        {"ratio": "mean", "ratio_low": "mean", "ratio_high": "mean", "rejects": "sum", "targets": "sum"}
    )
    found[["ratio", "ratio_low", "ratio_high"]] = np.exp(found[["ratio", "ratio_low", "ratio_high"]])
    return found.reset_index()


def rates(rows: pd.DataFrame) -> pd.DataFrame:
    """By epoch and layer the shares of targets, of all widths, that each test rejects; rows of one null."""
    shares = rows.assign(targets=1, **{name: rejected(rows[name]) for name in ("p_value", "p_spread")})
    told = {"p_value": "mean", "p_spread": "mean", "targets": "sum"}
    return shares.groupby(["target_epoch", "layer"]).agg(told).reset_index()


def testable(rows: pd.DataFrame) -> bool:
    """Whether so many partitions allow a p-value of `LEVEL`."""
    return bool(rejected(np.array(1 / (1 - largest(-rows["partitions"])))))


@styled
def rejections(rows: pd.DataFrame) -> Figure:
    """Share of targets that each test rejects against the layer, first and last epoch; rows of one null."""
    found, epochs = rates(rows), sorted(set(rows["target_epoch"]))
    figure, panels = new_panels(2, row_height=2.9, more_height=0.9)
    for axes, (name, words) in zip(panels, _TEST_NAMES.items(), strict=True):
        for epoch, style in zip(dict.fromkeys([epochs[-1], epochs[0]]), _EPOCH_STYLES, strict=False):
            part = where(found, found["target_epoch"] == epoch)
            axes.plot(part["layer"], part[name], label=when(int(epoch)), **style)
        axes.axhline(LEVEL, label=f"{LEVEL:g}, if exchangeable", **REFERENCE)
        axes.set_title(words)
        axes.set_ylim(-0.03, 1.03)
        layer_axis(axes, rows, inches=3.4)
    panels[0].set_ylabel(f"share of targets with p <= {LEVEL:g}")
    shared_legend(figure, panels)
    return figure


_TEST_NAMES = {"p_value": "mean error (p_value)", "p_spread": "spread of errors (p_spread)"}
_EPOCH_STYLES: tuple[dict[str, Any], ...] = (
    {"color": PALETTE[0], "marker": "o"},
    {"color": PALETTE[6], "marker": "s", "mfc": "none", "ls": "--", "lw": 1.1},
)


@styled
def ratios(rows: pd.DataFrame, start: pd.DataFrame) -> Figure:
    """The ratio against width with its band under exchangeability, a panel per layer; one null and epoch.

    Args:
        rows: Those that are drawn.
        start: Those of initial nets, whose rejections are counted beside; empty where there are none.
    """
    names, found = layer_names(rows), summary(rows)
    before = summary(start).set_index(["layer", "target_width"])["rejects"].to_dict() if len(start) else {}
    figure, panels = new_panels(len(names), row_height=2.7, more_height=0.9)
    for axes, layer in zip(panels, names, strict=True):
        part = where(found, found["layer"] == layer)
        _draw(axes, where(rows, rows["layer"] == layer), part)
        _count(axes, part, {width: before.get((layer, width)) for width in part["target_width"]})
        axes.set_title(names[layer])
        width_axis(axes, sorted(found["target_width"].unique()))
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(low, high * (high / low) ** 0.25)  # room for the counts
    log_values(panels[0])
    bottom_labels(panels, "width (channel multiple)")
    figure.supylabel("error of one net / error of the null", fontsize=10)
    shared_legend(figure, panels)
    return figure


def _draw(axes: Axes, rows: pd.DataFrame, found: pd.DataFrame) -> None:
    colour, width = PALETTE[0], found["target_width"]
    band = {"color": "#5b6470", "alpha": 0.18, "lw": 0, "label": "90 % band of a target, if exchangeable"}
    # A band of one width alone would have no extent.
    edges = width if len(width) > 1 else [0.9 * width.iloc[0], 1.1 * width.iloc[0]]
    low, high = (np.resize(found[name], len(edges)) for name in ("ratio_low", "ratio_high"))
    axes.set_yscale("log")
    axes.fill_between(edges, low, high, **band)
    axes.axhline(1, color="#5b6470", lw=0.9)
    axes.plot(rows["target_width"], rows["ratio"], "o", color=colour, alpha=0.35, ms=3.5, label="one target")
    axes.plot(width, found["ratio"], marker="s", color=colour, label="geometric mean")


def _count(axes: Axes, found: pd.DataFrame, before: dict[int, int | None]) -> None:
    """At the top of a panel how many targets are rejected, and of initial nets how many."""
    for place, rejects, targets in zip(
        found["target_width"], found["rejects"], found["targets"], strict=True
    ):
        start = "" if before[place] is None else f"\n({before[place]})"
        text, at = f"{rejects}/{targets}{start}", axes.get_xaxis_transform()
        axes.text(place, 0.98, text, transform=at, ha="center", va="top", fontsize=7.5)


def rejected(p_values: ArrayLike) -> NDArray[np.bool_]:
    """Which p-values are at most `LEVEL`."""
    return np.asarray(p_values, dtype=np.float64) <= LEVEL + TIE


_SHARED = (
    "Targets share the nets that serve them, so their p-values depend on one another, and there is no "
    "standard error here. "
)
_START = (
    "The same for the first snapshot. Of initial nets this checks the instrument: the channels of layer 1 "
    "are independent draws, so that at layer 2 the ratio is 1 up to chance. The channels of a deeper layer "
    "share the layers below of their own net, and are not exactly exchangeable."
)
_NUMBERS = (
    "The numbers on top are the targets with p <= 0.05 of all targets, in parentheses how many there are of "
    "initial nets, where the tables have those. Initial nets are independent draws, so above layer 2 only "
    "what exceeds their number says anything about training. "
)
_TESTS = (
    "Shares of targets of all widths whose p-value is at most 0.05. Nets of different seeds are independent "
    "draws, the initial ones as well. Where a dashed line of initial nets lies above 5 %, the test rejects "
    "for another reason than different distributions: channels of one net share the layers below. There a "
    "share of trained nets is to be held against the dashed line. The test of the spread asks whether the "
    "nets serve a target less evenly than groups of mixed channels do. " + _SHARED
)
_READING = {
    "pooled": (
        "How much worse a target is served by one other net than by as many channels dealt at random from a "
        "pool of such nets. If channels are exchangeable the ratio is about 1, and lies in the grey band for "
        "9 of 10 targets. Above the band, the channels of one net together serve less well than mixed ones. "
        "Below it, a whole net serves better than the pool (p near 1): its channels complement each other. "
        "The upper edge of the band is what the test can find: a true ratio there is missed for about half "
        "of the targets. " + _NUMBERS + _SHARED
    ),
    "wider_subset": (
        "How much worse a target is served by a net of its own width than by as many channels drawn at "
        "random from one of the widest nets. Both have the same number of channels, so that what is left is "
        "not the number of draws but what they are drawn from, and that channels of one net belong together. "
        "In the grey band lie 9 of 10 targets if all channels are exchangeable; p is two-sided. "
        + _NUMBERS
        + _SHARED
    ),
}
