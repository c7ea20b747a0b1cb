"""Exchangeability of nets' channels: the nulls `pooled` and `wider_subset` (docs/method.md, section 3)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from espalier.analysis.figures.captioned import CaptionedFigure, span, when
from espalier.analysis.figures.main_figures import layer_names
from espalier.analysis.figures.style import (
    PALETTE,
    bottom_labels,
    log_values,
    new_panels,
    shared_legend,
    styled,
    width_axis,
)
from espalier.analysis.limits.selection import largest, where

LEVEL = 0.05
"""p-values up to this one count as rejections."""
TIE = 1e-9
_NAMES = {"pooled": "exchangeability", "wider_subset": "wider_subset"}
_TITLES = {
    "pooled": "Exchangeability: one net against a pool of nets",
    "wider_subset": "Excess: a narrow net against as many channels of the widest",
}


def captioned_figures(rows: pd.DataFrame) -> Iterator[CaptionedFigure]:
    """For each null a figure of the last epoch and one of the first; rows of one setting."""
    rows = current(rows)
    for null, name in _NAMES.items():
        of_null = where(rows, rows["null"] == null)
        epochs = sorted(set(of_null["target_epoch"]), reverse=True)
        for epoch in dict.fromkeys([*epochs[:1], *epochs[-1:]]):
            here = where(of_null, of_null["target_epoch"] == epoch)
            suffix = "" if epoch == epochs[0] else "_at_start"
            reading = _READING[null] if epoch == epochs[0] else _START
            yield CaptionedFigure(
                name + suffix, f"{_TITLES[null]}, {when(int(epoch))}", reading, ratios(here)
            )


def current(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each null, target and layer: a sweep that grew keeps the rows of its smaller pools.

    Those of the most nets are taken, of `wider_subset` those drawn from the widest nets alone.
    """
    rows = where(rows, rows["ratio"].notna())  # of a constant target nothing is known
    widest = rows.groupby("null")["null_width"].transform("max")
    rows = where(rows, (rows["null"] == "pooled") | (rows["null_width"] == widest))
    target = ["null", "target_net", "target_epoch", "layer"]
    return rows.sort_values("nets", kind="stable").drop_duplicates(target, keep="last").sort_index()


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


@styled
def ratios(rows: pd.DataFrame) -> Figure:
    """The ratio against width with its band under exchangeability, a panel per layer; one null and epoch."""
    names, found = layer_names(rows), summary(rows)
    figure, panels = new_panels(len(names), row_height=2.7, more_height=0.9)
    for axes, layer in zip(panels, names, strict=True):
        part = where(found, found["layer"] == layer)
        _draw(axes, where(rows, rows["layer"] == layer), part)
        axes.set_title(names[layer])
        width_axis(axes, sorted(found["target_width"].unique()))
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(low, high * (high / low) ** 0.15)  # room for the counts
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
    for place, rejects, targets in zip(width, found["rejects"], found["targets"], strict=True):
        text, at = f"{rejects}/{targets}", axes.get_xaxis_transform()
        axes.text(place, 0.98, text, transform=at, ha="center", va="top", fontsize=7.5)


def findings(rows: pd.DataFrame) -> list[str]:
    """Sentences about the first and the last epoch of each null."""
    rows, said = current(rows), []
    for null in _NAMES:
        of_null = where(rows, rows["null"] == null)
        epochs = sorted(set(of_null["target_epoch"]))
        for epoch in dict.fromkeys([*epochs[:1], *epochs[-1:]]):
            said += _in_words(null, int(epoch), where(of_null, of_null["target_epoch"] == epoch))
    return [*said, _DEPENDENT] if said else []


def _in_words(null: str, epoch: int, rows: pd.DataFrame) -> list[str]:
    rows = where(rows, np.isfinite(rows["ratio"]))
    if rows.empty:
        return []
    start, mean = when(epoch).capitalize(), np.exp(np.log(rows["ratio"]).mean())
    return [
        f"{start} a net serves a target with {mean:.2f} times the error of {_SOURCES[null]} "
        f"(geometric mean; {span(summary(rows)['ratio'])} by layer and width); {_tests(null, rows)}."
    ]


def _tests(null: str, rows: pd.DataFrame) -> str:
    partitions = -largest(-rows["partitions"])
    if not rejected(np.array(1 / (1 + partitions))):
        return f"{partitions} partitions allow no p-value of {LEVEL}"
    text = (
        f"p <= {LEVEL} for {_share(rejected(rows['p_value']))} of {len(rows)} targets and layers, where "
        f"exchangeable channels give {100 * LEVEL:.0f} %"
    )
    if null != "pooled":
        return text
    better = rows["p_value"].to_numpy() > 1 - LEVEL + TIE
    spread = rejected(rows["p_spread"])
    return (
        f"{text}; a net serves better than the pool (p > {1 - LEVEL}) for {_share(better)}, and nets differ "
        f"more from one another than groups do (p_spread <= {LEVEL}) for {_share(spread)}"
    )


def rejected(p_values: ArrayLike) -> NDArray[np.bool_]:
    """Which p-values are at most `LEVEL`; they are fractions, so rounding must not decide."""
    return np.asarray(p_values, dtype=np.float64) <= LEVEL + TIE


def _share(true: NDArray[np.bool_]) -> str:
    return f"{100 * true.mean():.0f} %"


_SOURCES = {
    "pooled": "as many channels of a pool of other nets",
    "wider_subset": "as many channels of one of the widest nets",
}
_DEPENDENT = (
    "Targets of one pool share the nets that serve them, so that their p-values depend on one another: these "
    "shares are of no independent tests."
)
_SHARED = (
    "Targets share the nets that serve them, so their p-values depend on one another, and there is no "
    "standard error here. "
)
_START = (
    "The same for the first snapshot. Of initial nets this checks the instrument: the channels of layer 1 "
    "are independent draws, so that at layer 2 the ratio is 1 up to chance. The channels of a deeper layer "
    "share the layers below of their own net, and are not exactly exchangeable."
)
_READING = {
    "pooled": (
        "How much worse a target is served by one other net than by as many channels dealt at random from a "
        "pool of such nets. If all nets' channels are draws from one distribution the ratio is about 1, and "
        "lies in the grey band for 9 of 10 targets. Above the band, a net's channels belong together less "
        "well than mixed ones: each net has its own distribution. Below it, a whole net serves better than "
        "the pool (p near 1): its channels complement each other. The numbers on top are the targets with p "
        "<= 0.05 (a net worse than the pool) of all targets. " + _SHARED
    ),
    "wider_subset": (
        "How much worse a target is served by a net of its own width than by as many channels drawn at "
        "random from one of the widest nets. Both have the same number of channels, so that what is left is "
        "not the number of draws but what they are drawn from: 1 says that narrow and wide nets draw from "
        "one distribution, above 1 is the narrow nets' excess. In the grey band lie 9 of 10 targets if so. "
        "The numbers on top are the targets with p <= 0.05 (two-sided) of all targets. " + _SHARED
    ),
}
