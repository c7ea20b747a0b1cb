"""Grafts between nets of different widths, and of different epochs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from espalier.analysis.figures.captioned import CaptionedFigure, in_layers, ratio_note, rows_in_words, when
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
from espalier.analysis.limits.excess import NULL
from espalier.analysis.limits.ratios import ratio_estimates
from espalier.analysis.limits.resample import groups, summarise
from espalier.analysis.limits.selection import largest, narrower_width, where

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
        figure = cross_epoch(rows, untrained_rows(grafts, rows))
        yield CaptionedFigure("cross_epoch", title, _EPOCHS, figure)


def findings(grafts: pd.DataFrame, level: float) -> list[str]:
    """A sentence about each pairing."""
    rows = epoch_rows(grafts)
    return [
        *_widths_in_words(width_rows(grafts), level),
        *_epochs_in_words(rows, untrained_rows(grafts, rows), level),
    ]


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


def untrained_rows(grafts: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Untrained sources into the targets of `epoch_rows`, at each of their epochs; real ones at epoch 0."""
    if rows.empty:
        return rows
    plain = (grafts["pairing"] == "same_width") & (grafts["source_epoch"] == 0)
    wide = where(grafts, plain & (grafts["target_width"] == largest(rows["target_width"])))
    found = where(wide, (wide["null"] == NULL) | ((wide["null"] == "none") & (wide["target_epoch"] == 0)))
    return found.assign(null="none") if NULL in set(found["null"]) else found.iloc[:0]


def epoch_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean error by layer and both epochs."""
    return summarise(rows, "fvu_test", ["pairing", "layer", "source_epoch", "target_epoch"])


@styled
def cross_epoch(rows: pd.DataFrame, untrained: pd.DataFrame) -> Figure:
    """Held-out error against the earlier net's epoch, a line per layer; rows of `epoch_rows`.

    On the right dashed and hollow: untrained sources into the same targets (`untrained_rows`).
    """
    names, means, last = layer_names(rows), epoch_means(rows), rows["target_epoch"].max()
    figure, panels = new_panels(2, row_height=3.3, more_height=0.9)
    for axes, earlier, later in zip(panels, ("source", "target"), ("target", "source"), strict=True):
        part = where(means, means[f"{later}_epoch"] == last)
        _draw_epochs(axes, part, f"{earlier}_epoch", names)
        axes.set_title(f"{later} {when(largest(last))}")
        axes.set_xlabel(f"epoch of the {earlier}")
    if len(untrained):
        words = {layer: f"{name}, untrained" for layer, name in names.items()}
        _draw_epochs(panels[1], epoch_means(untrained), "target_epoch", words, mfc="none", ls="--", lw=1.0)
    log_values(panels[0])
    figure.supylabel(FVU, fontsize=10)
    shared_legend(figure, panels, ncols=4)
    return figure


def _draw_epochs(axes: Axes, means: pd.DataFrame, epoch: str, names: dict[int, str], **more: Any) -> None:
    colours = ramp(sorted(names))
    for k, (group, part) in enumerate(groups(means, ["layer"])):
        part = part.sort_values(epoch)
        style = {"color": colours[group["layer"]], "marker": MARKERS[k % len(MARKERS)], **more}
        axes.errorbar(part[epoch], part["mean"], part["error"], label=names[group["layer"]], **style)
    epoch_axis(axes, sorted(means[epoch].unique()))


def _real(grafts: pd.DataFrame, pairings: list[str]) -> pd.DataFrame:
    return where(grafts, (grafts["null"] == "none") & grafts["pairing"].isin(pairings))


def _widths_in_words(rows: pd.DataFrame, level: float) -> list[str]:
    if rows.empty:
        return []
    widths, wide = narrower_width(rows), rows[["source_width", "target_width"]].max().max()
    narrow = widths.min()
    here = where(rows, widths == narrow)
    own = where(here, here["direction"] == "")
    into, out = (
        in_layers(ratio_estimates(where(here, here["direction"] == way), own, level)) for way in (INTO, OUT)
    )
    if not into or not out:
        return []
    return [
        f"Between widths {narrow} and {wide} the error of a graft, over that between nets of width {narrow}: "
        f"into the wide net {into}; into the narrow net {out} ({ratio_note(level)}; {rows_in_words(here)})."
    ]


def _epochs_in_words(rows: pd.DataFrame, untrained: pd.DataFrame, level: float) -> list[str]:
    if rows.empty:
        return []
    last = largest(rows["target_epoch"])
    first, width = -largest(-rows["source_epoch"]), largest(rows["target_width"])

    def at(source: int, target: int, frame: pd.DataFrame = rows) -> pd.DataFrame:
        return where(frame, (frame["source_epoch"] == source) & (frame["target_epoch"] == target))

    early, back = (
        in_layers(ratio_estimates(at(*place), at(last, last), level))
        for place in ((first, last), (last, first))
    )
    if not early or not back:
        return []
    beside = in_layers(ratio_estimates(at(0, first, untrained), at(last, last), level))
    told = f" (an untrained source: {beside})" if beside and first else ""
    return [
        f"At width {width}, errors over those of sources of epoch {last} into targets of epoch {last}: "
        f"a source of epoch {first} into a target of epoch {last} {early}; a source of epoch {last} into a "
        f"target of epoch {first} {back}{told} ({ratio_note(level)}; {rows_in_words(rows)}). The second "
        "changes with the target too: the figure has untrained sources beside it."
    ]


_WIDTHS = (
    "Nets of every width grafted into the widest ones, and the widest into them, against the width of "
    "the narrower net. A narrow source has fewer channels to explain the target with; a narrow target has "
    "fewer to be explained. The dashed line is the error between nets of one width, for comparison. Bars are "
    "one standard error over nets; the widest nets are the same at every point."
)
_EPOCHS = (
    "Left, sources at each epoch are grafted into targets at the end of training: the targets stay the same, "
    "and epoch 0 is the untrained source. Where a left line is flat, an early net serves as well as a late "
    "one. Right, sources at the end into targets at each epoch: here the targets change, and the dashed line "
    "has untrained sources into the same targets. Where both move together it is the targets that become "
    "easier or harder to serve; only the distance between the lines says what the late source has. Bars are "
    "one standard error over nets."
)
