"""Nets compared without a fit: each measure against the width with its null, and the maps over epochs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from espalier.analysis.figures.captioned import CaptionedFigure, when
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
from espalier.analysis.limits.epoch_map import EpochMap
from espalier.analysis.limits.resample import summarise
from espalier.analysis.limits.selection import where
from espalier.analysis.limits.similarity_fits import Compared, MeasureFits

SIDES = 1.645
"""Standard deviations within which 90 % of a Gaussian lie."""


def captioned_figures(found: Compared) -> Iterator[CaptionedFigure]:
    """A figure for each fitted measure that is there, and a map for each mapped one at several epochs."""
    before = {one.measure: one for one in found.first}
    for one in found.last:
        title = f"{one.label} against width {when(one.epoch)}"
        figure = gap_by_width(one, before.get(one.measure))
        yield CaptionedFigure(f"similarity_{one.measure}", title, _reading(one), figure, one.measure)
    for one in found.maps:
        title = f"{one.measure} of nets at two epochs, width {one.width}"
        reading = _MAP.format(most="least" if one.distance else "largest")
        yield CaptionedFigure(f"epochs_{one.measure}", title, reading, map_of_epochs(one), one.measure)


@styled
def gap_by_width(last: MeasureFits, first: MeasureFits | None) -> Figure:
    """Distance, or 1 - similarity, against width: a panel per layer, with its null, its fit and the start.

    Args:
        last: The snapshot that is drawn full, with its null.
        first: The initial nets, drawn hollow.
    """
    names = layer_names(last.rows)
    figure, panels = new_panels(len(names), row_height=2.7, more_height=0.9)
    for axes, (layer, name) in zip(panels, names.items(), strict=True):
        _draw_null(axes, where(last.rows, last.rows["layer"] == layer))
        _draw_means(axes, last, layer, {"marker": "o", "ls": "none", "label": f"pairs {when(last.epoch)}"})
        if first is not None:
            hollow = {"marker": "s", "mfc": "none", "ls": ":", "lw": 1.0, "label": "before training"}
            _draw_means(axes, first, layer, hollow)
        _draw_fit(axes, last, layer)
        axes.set_title(f"{name}\n{_exponent(last, layer)}", fontsize=9)
        width_axis(axes, sorted(set(last.rows["target_width"])))
    if last.signed:
        for axes in panels:
            axes.axhline(0, color="#1f2933", lw=0.9)
    else:
        log_values(panels[0])
    bottom_labels(panels, "width (channel multiple)")
    figure.supylabel(last.label, fontsize=10)
    shared_legend(figure, panels)
    return figure


def null_by_width(rows: pd.DataFrame) -> pd.DataFrame:
    """By width the null of a pair, on the scale of `gap`: its mean and where 90 % of its values lie.

    Means over the pairs of their null's mean and standard deviation; the band is that of a Gaussian.
    """
    means = rows.groupby("target_width").agg({"null_gap": "mean", "null_spread": "mean"}).reset_index()
    half = SIDES * means["null_spread"]
    return means.assign(low=means["null_gap"] - half, high=means["null_gap"] + half)


def _draw_null(axes: Axes, rows: pd.DataFrame) -> None:
    null, colour = null_by_width(rows), "#5b6470"
    width = null["target_width"]
    # A band of one width alone would have no extent.
    edges = width if len(width) > 1 else [0.9 * width.iloc[0], 1.1 * width.iloc[0]]
    mean, low, high = (np.resize(null[name], len(edges)) for name in ("null_gap", "low", "high"))
    axes.fill_between(edges, low, high, color=colour, alpha=0.22, lw=0, label="null of a pair, 90 %")
    axes.plot(edges, mean, color=colour, ls="--", lw=1.1, label="mean of the null")


def _draw_means(axes: Axes, found: MeasureFits, layer: int, style: dict[str, Any]) -> None:
    means = summarise(where(found.rows, found.rows["layer"] == layer), "gap", ["layer"])
    colour = PALETTE[0] if style["ls"] == "none" else PALETTE[1]
    axes.errorbar(means["width"], means["mean"], means["error"], color=colour, **style)


def _draw_fit(axes: Axes, found: MeasureFits, layer: int) -> None:
    fit = found.fits.get(layer)
    if fit is None:
        return
    widths = np.geomspace(fit.means[0].width, fit.means[-1].width, 60)
    curve, low, high = fit.band(widths)
    axes.plot(widths, curve, color=PALETTE[0], label="fit c + a w^-α")
    axes.fill_between(widths, low, high, color=PALETTE[0], alpha=0.16, lw=0)


def _exponent(found: MeasureFits, layer: int) -> str:
    fit = found.fits.get(layer)
    if fit is None:
        return "no fit"
    low, high = fit.alpha_interval
    return f"α = {fit.alpha:.2f} [{low:.2f}, {high:.2f}]"


@styled
def map_of_epochs(found: EpochMap) -> Figure:
    """Means of one measure by the epochs of two nets, a panel per layer; the best of each row is framed."""
    names = layer_names(found.rows)
    rows_of_panels = 2.75 if len(names) > 4 else min(9.0 / (len(names) + 0.7), 4.0)
    figure, panels = new_panels(len(names), rows_of_panels, more_height=0.7)
    values = np.stack(list(found.mean_LEE.values()))
    known = values[np.isfinite(values)]
    low, high = float(known.min()), float(known.max())
    images = []
    for axes, (layer, name) in zip(panels, names.items(), strict=True):
        colours = "cividis" if found.distance else "cividis_r"  # dark is alike
        images.append(axes.imshow(found.mean_LEE[layer], vmin=low, vmax=high, cmap=colours))
        _annotate(axes, found, layer, found.epochs, low, high)
        axes.set_title(name)
    figure.colorbar(images[0], ax=panels, label=found.measure, shrink=0.8, aspect=30)
    figure.supxlabel("epoch of the other net", fontsize=10)
    figure.supylabel("epoch of the one net", fontsize=10)
    return figure


ANNOTATED = 8
"""Up to this many epochs, each cell shows its number."""


def _annotate(
    axes: Axes, found: EpochMap, layer: int, epochs: Sequence[int], low: float, high: float
) -> None:
    axes.grid(visible=False)
    axes.set_facecolor("#e4e7eb")
    for ticks in (axes.set_xticks, axes.set_yticks):
        ticks(range(len(epochs)), [str(epoch) for epoch in epochs])
    for best in (best for best in found.best if best.layer == layer):
        place = epochs.index(best.best), epochs.index(best.epoch)
        axes.plot(*place, marker="s", ms=150 / (len(epochs) * 1.9), mfc="none", mec="#d55e00", mew=1.6)
    if len(epochs) > ANNOTATED:
        return
    for (row, column), value in np.ndenumerate(found.mean_LEE[layer]):
        if np.isfinite(value):
            share = (value - low) / ((high - low) or 1.0)
            dark = share < 0.5 if found.distance else share > 0.5
            text, colour = f"{value:.2g}", "white" if dark else "#1f2933"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)


def _reading(found: MeasureFits) -> str:
    scale = _SIGNED if found.signed else _LOG
    return f"{_NULLS[str(found.rows['permuted'].iloc[0])]} {scale} {_BARS}"


_NULLS = {
    "images": (
        "The null (dashed, grey band) permutes the images of one net: it is what two nets with nothing in "
        "common would show. Outside the band there is something in common; how much is not said by that. A "
        "fall with the width is no sign of learning by itself: nets of few channels that are draws of one "
        "population differ by chance, and less so the wider they are (docs/method.md, section 6). Read it "
        "against the initial nets (hollow)."
    ),
    "labels": (
        "The null (dashed, grey band) deals the channels of both nets anew to the two: it is what two nets "
        "whose channels are draws of one distribution would show. Inside the band a pair is no evidence of "
        "different distributions, which is not evidence of one: few channels tell little. Above it, channels "
        "of one net are more like one another than like the other net's; in layers that share lower "
        "layers that holds of initial nets (hollow) as well."
    ),
}
_SIGNED = (
    "The measure is a U-statistic with the mean 0 for draws of one distribution, and single values lie below "
    "0 as often as above: so the axis is linear, and a power law is fitted only where the mean lies above 0 "
    "at every width, interval and all."
)
_LOG = (
    "Both axes are logarithmic; of a similarity 1 - value is drawn and fitted, which falls to 0 for like "
    "nets."
)
_BARS = (
    "Bars are one standard error over nets, the curve's band is a bootstrap over nets. The null's band is "
    "that of one pair, not of the mean. The channels of the last layer are the net's outputs: they are no "
    "draws, and as many at every width."
)
_MAP = (
    "Each cell is the mean over pairs of differently seeded nets, one at either epoch. Pairs are unordered "
    "and both orders are averaged, so the map is symmetric. Dark is alike. The frame marks the {most} value "
    "of a row: the epoch at which another net is most like a net of that row. On the diagonal, nets are most "
    "like nets of their own epoch. Cells of a row share nets, so that small differences may be chance; the "
    "findings say which are not."
)
