"""What training the sources adds, against the width: the excess over untrained sources, and the ratio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from espalier.analysis.figures.main_figures import layer_names
from espalier.analysis.figures.style import MARKERS, new_panels, ramp, shared_legend, styled, width_axis
from espalier.analysis.limits.excess import ExcessFit
from espalier.analysis.limits.resample import groups, summarise
from espalier.analysis.limits.snapshots import SnapshotFits


@styled
def excess_by_width(snapshot: SnapshotFits) -> Figure:
    """Left trained minus untrained error against width, right their ratio; a line per layer, paired rows."""
    names = layer_names(snapshot.pairs)
    colours = ramp(sorted(names))
    figure, panels = new_panels(2, row_height=3.9, more_height=1.0, one_scale=False)
    for axes, y in zip(panels, ("excess", "ratio"), strict=True):
        means = summarise(snapshot.pairs, y, ["layer"])
        _draw(axes, means, names, colours)
        axes.axhline(0 if y == "excess" else 1, color="#1f2933", lw=0.9)
        width_axis(axes, sorted(means["width"].unique()))
    _draw_ratios(panels[1], snapshot.excess, colours)
    panels[0].set_ylabel("trained - untrained error (FVU)")
    panels[1].set_ylabel("trained / untrained error")
    shared_legend(figure, panels, title="re-fitted layer", ncols=4)
    return figure


def _draw(axes: Axes, means: pd.DataFrame, names: Mapping[int, str], colours: dict[Any, Any]) -> None:
    for k, (group, part) in enumerate(groups(means, ["layer"])):
        layer = group["layer"]
        style = {"color": colours[layer], "marker": MARKERS[k % len(MARKERS)], "label": names[layer]}
        axes.errorbar(part["width"], part["mean"], part["error"], ls=":", lw=1.0, **style)


def _draw_ratios(axes: Axes, fits: Sequence[ExcessFit], colours: dict[Any, Any]) -> None:
    """The fitted power laws of the ratio, with their bands."""
    for fit in fits:
        if fit.ratio.chosen is None:
            continue
        colour, ends = colours[fit.group["layer"]], [mean.width for mean in fit.ratio.means]
        widths = np.geomspace(ends[0], ends[-1], 60)
        curve, low, high = fit.ratio.band(widths)
        axes.plot(widths, curve, color=colour)
        axes.fill_between(widths, low, high, color=colour, alpha=0.14, lw=0)
