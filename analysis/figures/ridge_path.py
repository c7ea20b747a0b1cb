"""The ridge path: the error on held-back images against the ridge, and which ridge was chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from espalier.analysis.figures.captioned import CaptionedFigure, when
from espalier.analysis.figures.main_figures import layer_names
from espalier.analysis.figures.style import bottom_labels, log_values, new_panels, ramp, shared_legend, styled
from espalier.analysis.limits.resample import groups, summarise
from espalier.analysis.limits.selection import METHODS, largest, where


def captioned_figures(ridges: pd.DataFrame) -> Iterator[CaptionedFigure]:
    """The figure of the path, where there is one; rows of one setting."""
    rows = path_rows(ridges)
    if len(rows):
        title = f"Choice of the ridge {when(largest(rows['target_epoch']))}"
        yield CaptionedFigure("ridge_path", title, _READING, ridge_path(rows))


def findings(ridges: pd.DataFrame) -> list[str]:
    """Which ridge was chosen most often, and whether an end of the list was."""
    rows = path_rows(ridges)
    chosen = where(rows, rows["chosen"])["ridge"].to_numpy(dtype=np.float64)
    if not len(chosen):
        return []
    tried, count = np.unique(chosen, return_counts=True)
    most, largest_tried = tried[count.argmax()], rows["ridge"].max()
    at_end = np.mean(chosen == largest_tried)
    return [
        f"The ridge {most:g} was chosen most often ({100 * count.max() / len(chosen):.0f} % of "
        f"{len(chosen):,} real grafts of the last epoch), "
        f"the largest one tried, {largest_tried:g}, for {100 * at_end:.0f} %."
    ]


def path_rows(ridges: pd.DataFrame) -> pd.DataFrame:
    """Real pairs of one width and epoch at the last epoch, by one method."""
    rows = where(ridges, (ridges["null"] == "none") & (ridges["pairing"] == "same_width"))
    rows = where(rows, rows["target_epoch"] == rows["target_epoch"].max())
    method = next((name for name in METHODS if name in set(rows["method"])), "")
    return where(rows, rows["method"] == method)


def path_means(rows: pd.DataFrame) -> pd.DataFrame:
    """By layer, ridge and width the mean error on held-back images, and the share of pairs that chose it."""
    means = summarise(rows, "fvu_validation", ["layer", "ridge"])
    axes = ["layer", "ridge", "target_width"]
    share = rows.groupby(axes, as_index=False).agg({"chosen": "mean"})
    return means.merge(share.rename(columns={"target_width": "width"}), on=["layer", "ridge", "width"])


@styled
def ridge_path(rows: pd.DataFrame) -> Figure:
    """Validation error against the ridge: a panel per layer, a line per width, discs where it was chosen."""
    names, means = layer_names(rows), path_means(rows)
    figure, panels = new_panels(len(names), row_height=2.7, more_height=1.1)
    colours = ramp(sorted(set(means["width"])), "plasma")
    for axes, layer in zip(panels, names, strict=True):
        for group, part in groups(where(means, means["layer"] == layer), ["width"]):
            _draw(axes, part, colours[group["width"]], f"{group['width']}")
        axes.set_title(names[layer])
        _ridge_axis(axes, sorted(set(means["ridge"])))
    log_values(panels[0])
    bottom_labels(panels, "ridge")
    figure.supylabel("error on held-back images (FVU)", fontsize=10)
    shared_legend(figure, panels, title="width (area of a disc: share of pairs that chose the ridge)")
    return figure


def _draw(axes: Axes, means: pd.DataFrame, colour: object, label: str) -> None:
    axes.errorbar(means["ridge"], means["mean"], means["error"], color=colour, lw=1.2, label=label)
    axes.scatter(means["ridge"], means["mean"], s=90 * means["chosen"], color=colour, lw=0)


def _ridge_axis(axes: Axes, ridges: Sequence[float]) -> None:
    """Logarithmic from the least positive ridge on, with a place for 0 one decade below it."""
    positive = [ridge for ridge in ridges if ridge > 0]
    least = min(positive, default=1.0)
    axes.set_xscale("symlog", linthresh=least, linscale=1.0)
    axes.xaxis.set_major_locator(FixedLocator(list(ridges)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.tick_params(axis="x", labelsize=8)


_READING = (
    "The error on the training images that were held back for the choice, against the ridge; each pair and "
    "layer takes the ridge with the least (held-out images have no part in it). The larger the disc, the "
    "more pairs chose that ridge. A line that still falls at an end of the axis asks for more ridges there. "
    "Bars are one standard error over nets."
)
