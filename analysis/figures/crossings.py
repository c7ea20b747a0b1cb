"""Grafts between nets of different widths, and of different epochs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from espalier.analysis.figures.captioned import CaptionedFigure, span, when
from espalier.analysis.figures.main_figures import FVU, layer_names
from espalier.analysis.figures.style import (
    MARKERS,
    PALETTE,
    REFERENCE,
    bottom_labels,
    epoch_axis,
    log_values,
    new_panels,
    ramp,
    shared_legend,
    styled,
    width_axis,
)
from espalier.analysis.limits.resample import groups, summarise
from espalier.analysis.limits.selection import largest, where

INTO, OUT = "into the widest", "out of the widest"


def captioned_figures(grafts: pd.DataFrame) -> Iterator[CaptionedFigure]:
    """The figures of both pairings, where they have rows; rows of one setting and method."""
    rows = width_rows(grafts)
    if len(rows):
        title = f"Grafts across widths {when(largest(rows['target_epoch']))}"
        yield CaptionedFigure("cross_width", title, _WIDTHS, cross_width(rows))
    rows = epoch_rows(grafts)
    if len(rows):
        title = f"Grafts across epochs at width {largest(rows['target_width'])}"
        yield CaptionedFigure("cross_epoch", title, _EPOCHS, cross_epoch(rows))


def findings(grafts: pd.DataFrame) -> list[str]:
    """A sentence about each pairing."""
    return [*_widths_in_words(width_rows(grafts)), *_epochs_in_words(epoch_rows(grafts))]


def width_rows(grafts: pd.DataFrame) -> pd.DataFrame:
    """Pairs across widths at their last epoch, with those of one width; empty if there are none across.

    Column `direction`: into the widest, out of it, or empty within a width. A sweep that grew wider also has
    the pairs of what was its widest before; they are left out.
    """
    across = where(grafts, grafts["pairing"] == "cross_width")
    if across.empty:
        return across.assign(direction="")
    wider = across[["source_width", "target_width"]].max(axis=1)
    across = where(across, wider == wider.max())
    last = across["target_epoch"].max()
    same = _real(grafts, ["same_width"])
    rows = pd.concat([across, where(same, same["source_epoch"] == same["target_epoch"])])
    rows = where(rows, rows["target_epoch"] == last)
    more = rows["source_width"].to_numpy() - rows["target_width"].to_numpy()
    return rows.assign(direction=np.select([more < 0, more > 0], [INTO, OUT], ""))


def width_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean error by direction, layer and narrower width."""
    return summarise(rows, "fvu_test", ["pairing", "direction", "layer"])


@styled
def cross_width(rows: pd.DataFrame) -> Figure:
    """Held-out error against the narrower width, a panel per layer; rows of `width_rows`."""
    names, means = layer_names(rows), width_means(rows)
    figure, panels = new_panels(len(names), row_height=2.6, more_height=0.9)
    for axes, layer in zip(panels, names, strict=True):
        _draw_widths(axes, where(means, means["layer"] == layer))
        axes.set_title(names[layer])
        width_axis(axes, sorted(means["width"].unique()))
    log_values(panels[0])
    bottom_labels(panels, "narrower width")
    figure.supylabel(FVU, fontsize=10)
    shared_legend(figure, panels)
    return figure


def _draw_widths(axes: Axes, means: pd.DataFrame) -> None:
    for place, direction in enumerate((INTO, OUT)):
        part = where(means, means["direction"] == direction)
        style: dict[str, Any] = {"color": PALETTE[place], "marker": MARKERS[place], "label": direction}
        axes.errorbar(part["width"], part["mean"], part["error"], **style)
    part = where(means, means["direction"] == "")
    axes.errorbar(part["width"], part["mean"], part["error"], **REFERENCE, label="within one width")


def epoch_rows(grafts: pd.DataFrame) -> pd.DataFrame:
    """Pairs with one net at the last epoch, of the widest nets; empty if there are none across epochs."""
    across = where(grafts, grafts["pairing"] == "cross_epoch")
    if across.empty:
        return across
    rows = _real(grafts, ["cross_epoch", "same_width"])
    rows = where(rows, rows["target_width"] == across["target_width"].max())
    last = across[["source_epoch", "target_epoch"]].max().max()
    return where(rows, (rows["source_epoch"] == last) | (rows["target_epoch"] == last))


def epoch_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean error by layer and both epochs."""
    return summarise(rows, "fvu_test", ["pairing", "layer", "source_epoch", "target_epoch"])


@styled
def cross_epoch(rows: pd.DataFrame) -> Figure:
    """Held-out error against the earlier net's epoch, a line per layer; rows of `epoch_rows`."""
    names, means, last = layer_names(rows), epoch_means(rows), rows["target_epoch"].max()
    figure, panels = new_panels(2, row_height=3.3, more_height=0.9)
    for axes, earlier, later in zip(panels, ("source", "target"), ("target", "source"), strict=True):
        part = where(means, means[f"{later}_epoch"] == last)
        _draw_epochs(axes, part, f"{earlier}_epoch", names)
        axes.set_title(f"{later} {when(largest(last))}")
        axes.set_xlabel(f"epoch of the {earlier}")
    log_values(panels[0])
    figure.supylabel(FVU, fontsize=10)
    shared_legend(figure, panels)
    return figure


def _draw_epochs(axes: Axes, means: pd.DataFrame, epoch: str, names: dict[int, str]) -> None:
    colours = ramp(sorted(names))
    for k, (group, part) in enumerate(groups(means, ["layer"])):
        part = part.sort_values(epoch)
        style = {"color": colours[group["layer"]], "marker": MARKERS[k % len(MARKERS)]}
        axes.errorbar(part[epoch], part["mean"], part["error"], label=names[group["layer"]], **style)
    epoch_axis(axes, sorted(means[epoch].unique()))


def _real(grafts: pd.DataFrame, pairings: list[str]) -> pd.DataFrame:
    return where(grafts, (grafts["null"] == "none") & grafts["pairing"].isin(pairings))


def _widths_in_words(rows: pd.DataFrame) -> list[str]:
    if rows.empty:
        return []
    means = width_means(rows)
    narrow, wide = means["width"].min(), rows[["source_width", "target_width"]].max().max()
    means = where(means, means["width"] == narrow)
    table = means.pivot_table(index="layer", columns="direction", values="mean")
    if not {"", INTO, OUT} <= set(table.columns):
        return []
    into, out = (span((table[way] / table[""]).dropna()) for way in (INTO, OUT))
    return [
        f"Between widths {narrow} and {wide} the error of a graft into the wide net is {into} times that "
        f"between nets of width {narrow}, and into the narrow net {out} times (by layer)."
    ]


def _epochs_in_words(rows: pd.DataFrame) -> list[str]:
    if rows.empty:
        return []
    means, last = epoch_means(rows), largest(rows["target_epoch"])
    first, width = -largest(-means["source_epoch"]), largest(rows["target_width"])
    table = means.pivot_table(index="layer", columns=["source_epoch", "target_epoch"], values="mean")
    if not {(first, last), (last, first), (last, last)} <= set(table.columns):
        return []
    both = table[last, last]
    early, back = (span((table[pair] / both).dropna()) for pair in ((first, last), (last, first)))
    return [
        f"At width {width} a source of epoch {first} serves a target of epoch {last} with {early} times the "
        f"error of a source of epoch {last}; a source of epoch {last} serves a target of epoch {first} with "
        f"{back} times that error (by layer)."
    ]


_WIDTHS = (
    "Nets of every width grafted into the widest ones, and the widest into them, against the width of "
    "the narrower net. A narrow source has fewer channels to explain the target with; a narrow target has "
    "fewer to be explained. The dashed line is the error between nets of one width, for comparison. Bars are "
    "one standard error over nets; the widest nets are the same at every point."
)
_EPOCHS = (
    "Left, sources at each epoch are grafted into targets at the end of training; right, sources at the end "
    "into targets at each epoch. Where a left line is flat, an early net has the features already that the "
    "late ones use; where a right line is flat, late nets keep what the early ones had. Bars are one "
    "standard error over nets."
)
