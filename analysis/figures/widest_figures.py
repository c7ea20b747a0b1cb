"""Narrower nets beside the widest ones, compared without a fit: how far from them is each width?"""

from __future__ import annotations

from collections.abc import Iterator
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
from espalier.analysis.limits.resample import summarise
from espalier.analysis.limits.selection import largest, where
from espalier.analysis.limits.similarity_fits import FITTED, SIGNED, Compared, gaps


def captioned_figures(found: Compared) -> Iterator[CaptionedFigure]:
    """A figure for each fitted measure of pairs with the widest nets at the last snapshot."""
    rows = where(found.rows, found.rows["source_epoch"] == found.rows["target_epoch"])
    crossed = where(rows, rows["pairing"] == "cross_width")
    if crossed.empty:
        return
    epoch, widest = largest(crossed["target_epoch"]), largest(crossed["target_width"])
    rows = where(rows, (rows["target_epoch"] == epoch) & (rows["target_width"] == widest))
    for name in FITTED:
        own = where(rows, rows["measure"] == name)
        distance = bool((own["kind"] == "distance").any())
        ready = gaps(own, distance)
        if "cross_width" in set(ready["pairing"]):
            label = name if distance else f"1 - {name}"
            title = f"{label} of each width to the widest nets {when(epoch)}"
            figure = distance_to_widest(ready, label, signed=name in SIGNED)
            yield CaptionedFigure(f"widest_{name}", title, _READING, figure)


@styled
def distance_to_widest(rows: pd.DataFrame, label: str, signed: bool) -> Figure:
    """`gap` of nets of each width and the widest nets, a panel per layer.

    Args:
        rows: As `analysis.limits.similarity_fits.gaps` gives them, of one measure: pairs whose target is one
            of the widest nets, those of two widest nets among them.
        label: What is drawn.
        signed: Whether values may lie below 0: then the axis is linear.
    """
    names = layer_names(rows)
    figure, panels = new_panels(len(names), row_height=2.7, more_height=0.9)
    widest = largest(rows["target_width"])
    for axes, (layer, name) in zip(panels, names.items(), strict=True):
        here = where(rows, rows["layer"] == layer)
        crossed = where(here, here["pairing"] == "cross_width")
        means, nulls = (summarise(crossed, column, ["layer"]) for column in ("gap", "null_gap"))
        _bars(axes, means, color=PALETTE[0], marker="o", ls="-", label=_CROSSED)
        axes.plot(nulls["width"], nulls["mean"], color="#5a6672", ls="--", lw=1.1, label="mean of their null")
        own = summarise(where(here, here["pairing"] == "same_width"), "gap", ["layer"])
        _bars(axes, own, color=PALETTE[1], marker="s", mfc="none", ls="none", label=_OWN)
        if signed:
            axes.axhline(0, color="#1f2933", lw=0.9)
        axes.set_title(name, fontsize=9)
        width_axis(axes, sorted({*np.unique(crossed["source_width"]).tolist(), widest}))
    if not signed:
        log_values(panels[0])
    bottom_labels(panels, "width of the narrower net (channel multiple)")
    figure.supylabel(label, fontsize=10)
    shared_legend(figure, panels)
    return figure


def _bars(axes: Axes, means: pd.DataFrame, **style: Any) -> None:
    axes.errorbar(means["width"], means["mean"], means["error"], **style)


_CROSSED, _OWN = "a net of this width and one of the widest", "two of the widest nets"
_READING = (
    "Each full mark is the mean over pairs of a net of that width and one of the widest nets, of other "
    "seeds. The hollow mark is what two of the widest nets show between them. Where the line comes down to "
    "it, nets of that width are as near to the widest as these are to one another; how near these are to "
    "the limit of width is not said. Nets of few channels are farther by chance as well: the dashed line is "
    "the mean of the pairs' null, and what else moves with the width is in docs/method.md, section 6. Bars "
    "are one standard error over nets. Of a similarity 1 - value is drawn."
)
