"""The figures of a report: pure functions from frames to figures.

Every mean is over rows of nets, every error bar one standard error over nets (`analysis.limits.resample`),
that of an accuracy drop with the part of the held-out images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from espalier.analysis.figures.style import (
    MARKERS,
    epoch_axis,
    log_values,
    new_figure,
    new_panels,
    ramp,
    shared_legend,
    styled,
    width_axis,
)
from espalier.analysis.limits.excess import NULL
from espalier.analysis.limits.held_out import drop_means
from espalier.analysis.limits.resample import groups, summarise
from espalier.analysis.limits.selection import where
from espalier.analysis.limits.snapshots import SnapshotFits
from espalier.analysis.limits.width_limit import WidthLimit

FVU = "held-out error of the graft (FVU, 1 = mean)"
SMALLEST = 1e-12
"""Errors below are drawn here: a log axis has no zero."""


@styled
def error_by_width(snapshot: SnapshotFits, guide: float | None = None) -> Figure:
    """Held-out error against width, a line per layer, log-log; fits with their bootstrap band.

    Where a snapshot has untrained sources their error stands beside it, hollow and dotted, and their exponent
    beside the fit's.

    Args:
        snapshot: The rows and fits of one snapshot.
        guide: Draw a reference slope `w^-guide` through the lowest point of the first layer.
    """
    grafts, fits = snapshot.rows, snapshot.fits
    means = summarise(grafts, "fvu_test", ["layer"])
    names, fitted = layer_names(grafts), {fit.group["layer"]: fit for fit in fits if fit.chosen}
    null = {fit.group["layer"]: fit.untrained for fit in snapshot.excess}
    colours = ramp(sorted(names))
    figure, axes = new_figure(9.0, 4.6)
    for k, (group, part) in enumerate(groups(means, ["layer"])):
        layer = group["layer"]
        label, fit = names[layer], fitted.get(layer)
        if fit:
            low, high = fit.alpha_interval
            label += f": α = {fit.alpha:.2f} [{low:.2f}, {high:.2f}]"
            label += _null_label(null[layer]) if layer in null else ""
            _draw_fit(axes, fit, colours[layer])
        style = {"color": colours[layer], "marker": MARKERS[k % len(MARKERS)], "label": label}
        axes.errorbar(part["width"], part["mean"], part["error"], ls="none" if fit else ":", **style)
    _draw_untrained(axes, snapshot.pairs, names, colours)
    if guide is not None and len(means):
        _draw_guide(axes, means, guide)
    width_axis(axes, sorted(means["width"].unique()))
    log_values(axes)
    axes.set_ylabel(FVU)
    title = "re-fitted layer" + (" (hollow: untrained source)" if len(snapshot.pairs) else "")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), title=title)
    return figure


def _null_label(fit: WidthLimit) -> str:
    low, high = fit.alpha_interval
    return f"\n   untrained source: {fit.alpha:.2f} [{low:.2f}, {high:.2f}]" if fit.chosen else ""


def _draw_untrained(axes: Axes, pairs: pd.DataFrame, names: dict[int, str], colours: dict[Any, Any]) -> None:
    """The error of untrained sources into the same targets."""
    means = summarise(pairs, "untrained", ["layer"])
    for k, (group, part) in enumerate(groups(means, ["layer"])):
        style = {"color": colours[group["layer"]], "marker": MARKERS[k % len(MARKERS)], "mfc": "none"}
        style["label"] = f"_{names[group['layer']]}, untrained source"  # no entry of the legend
        axes.errorbar(part["width"], part["mean"], part["error"], ls=":", lw=1.0, **style)


def _draw_fit(axes: Axes, fit: WidthLimit, colour: object) -> None:
    widths = np.geomspace(fit.means[0].width, fit.means[-1].width, 60)
    curve, low, high = fit.band(widths)
    axes.plot(widths, curve, color=colour)
    axes.fill_between(widths, low, high, color=colour, alpha=0.16, lw=0)


def _draw_guide(axes: Axes, means: pd.DataFrame, slope: float) -> None:
    first = where(means, means["layer"] == means["layer"].min())
    widths, last = first["width"].to_numpy(dtype=np.float64), first["mean"].to_numpy()[-1]
    guide = 0.6 * last * (widths / widths[-1]) ** -slope
    axes.plot(widths, guide, color="#1f2933", ls="--", lw=1.1, label=f"slope of $w^{{-{slope:g}}}$")


@styled
def drop_by_layer(grafts: pd.DataFrame) -> Figure:
    """Accuracy lost by grafting against the layer, a line per width; rows of one snapshot.

    The thick bar is one standard error over nets; the thin one has the held-out images' part as well
    (`analysis.limits.held_out`). Widths are set apart along the axis, so that bars can be told apart.
    """
    means = drop_means(grafts, ["layer"])
    widths = sorted(means["width"].unique())
    colours = ramp(widths, "plasma")
    figure, axes = new_figure(7.6, 4.2)
    for k, width in enumerate(widths):
        part = where(means, means["width"] == width)
        place = part["layer"] + 0.5 * ((k + 0.5) / len(widths) - 0.5)
        style = {"color": colours[width], "marker": MARKERS[k % len(MARKERS)], "label": f"{width}"}
        axes.errorbar(place, 100 * part["mean"], 100 * part["error_nets"], lw=0.7, elinewidth=2.2, **style)
        thin = {"color": colours[width], "elinewidth": 0.8, "label": f"_{width}, with the images' part"}
        axes.errorbar(place, 100 * part["mean"], 100 * part["error"], ls="none", **thin)
    axes.axhline(0, color="#5b6470", lw=0.9)
    layer_axis(axes, grafts)
    axes.set_ylabel("accuracy lost by grafting\n(percentage points, held out)")
    axes.legend(title="width", loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


@styled
def error_by_epoch(grafts: pd.DataFrame) -> Figure:
    """Held-out error against the epoch of both nets, a line per layer, a panel per width.

    Dashed and hollow beside each: untrained sources into the same targets, which at epoch 0 are the sources;
    the line is broken where a snapshot between has no such null.
    """
    means = summarise(grafts, "fvu_test", ["layer", "target_epoch"])
    null, epochs = untrained_by_epoch(grafts, means), sorted(means["target_epoch"].unique())
    widths, names = sorted(means["width"].unique()), layer_names(grafts)
    colours = ramp(sorted(names))
    figure, panels = new_panels(len(widths), row_height=2.6, more_height=0.9)
    for axes, width in zip(panels, widths, strict=True):
        for k, (group, part) in enumerate(groups(where(means, means["width"] == width), ["layer"])):
            layer = group["layer"]
            style = {"color": colours[layer], "marker": MARKERS[k % len(MARKERS)], "label": names[layer]}
            axes.errorbar(part["target_epoch"], part["mean"], part["error"], **style)
            beside = where(null, (null["width"] == width) & (null["layer"] == layer))
            hollow = style | {
                "mfc": "none",
                "ls": "--",
                "lw": 1.0,
                "label": f"{names[layer]}, untrained",
            }
            if len(beside):
                known = beside.drop_duplicates("target_epoch").set_index("target_epoch")
                line = known[["mean", "error"]].reindex(epochs)  # broken where there is none
                axes.errorbar(epochs, line["mean"], line["error"], **hollow)
        axes.set_title(f"width {width}")
        epoch_axis(axes, epochs)
        if axes.xaxis.get_tick_params()["labelbottom"]:
            axes.set_xlabel("epoch of the target")
    log_values(panels[0])
    figure.supylabel(FVU, fontsize=10)
    shared_legend(figure, panels, ncols=4)
    return figure


def untrained_by_epoch(grafts: pd.DataFrame, real: pd.DataFrame) -> pd.DataFrame:
    """Mean error of untrained sources by layer, target's epoch and width; at epoch 0 those of real grafts.

    Args:
        grafts: Rows of the table, with those of the null.
        real: The means of the real grafts.
    """
    rows = where(grafts, grafts["null"] == NULL)
    if rows.empty:
        return real.iloc[:0]
    means = summarise(rows, "fvu_test", ["null", "layer", "target_epoch"]).drop(columns="null")
    start = where(real, real["target_epoch"] == 0)
    return pd.concat([start, means]).sort_values(["layer", "width", "target_epoch"], ignore_index=True)


@styled
def training(curves: pd.DataFrame) -> Figure:
    """Loss and accuracy (if any) against the epoch, a colour per width: training dashed, held out full."""
    measures = [f"{measure}_{split}" for measure in ("loss", "accuracy") for split in ("train", "test")]
    means = curves.pivot_table(index=["width", "epoch"], values=measures, aggfunc="mean")
    means = means.reindex(columns=measures).reset_index()
    widths = sorted(means["width"].unique())
    colours = ramp(widths, "plasma")
    figure = Figure(figsize=(9.0, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    for width in widths:
        part = where(means, means["width"] == width)
        for axes, measure in ((left, "loss"), (right, "accuracy")):
            own = {"color": colours[width], "lw": 1.1, "label": f"_{width}, training images"}
            axes.plot(part["epoch"], part[f"{measure}_train"], "--", **own)
            axes.plot(part["epoch"], part[f"{measure}_test"], "-", color=colours[width], label=f"{width}")
    regression = not len(means["accuracy_test"].dropna())
    left.set_ylabel("mean squared error" if regression else "cross-entropy (nats)")
    right.set_visible(not regression)
    right.set_ylabel("accuracy (share right)")
    left.set_yscale("log")
    for axes in (left, right):
        axes.set_xlabel("epoch of training")
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, title="width", loc="outside right center")
    return figure


def layer_names(grafts: pd.DataFrame) -> dict[int, str]:
    """Layer numbers with their names, as in `3 · conv3`."""
    pairs = sorted(set(zip(grafts["layer"], grafts["layer_name"], strict=True)))
    return {int(layer): f"{layer} · {name}" for layer, name in pairs}


def layer_axis(axes: Axes, grafts: pd.DataFrame, inches: float = 6.0) -> None:
    """An axis with a tick at each re-fitted layer, and its name where so many have room in the inches."""
    names = layer_names(grafts)
    room = inches / len(names)
    step = 1 if room > 0.2 else 2
    words = [name.replace(" · ", "\n") if room > 0.55 else str(layer) for layer, name in names.items()]
    axes.set_xticks(list(names)[::step], words[::step])
    axes.set_xlabel("re-fitted layer")
