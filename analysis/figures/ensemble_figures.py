"""Nets of one width together: variance over seeds, distance from the widest nets, what averaging does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from espalier.analysis.answers.seed_variance import latest
from espalier.analysis.figures.captioned import CaptionedFigure, when
from espalier.analysis.figures.main_figures import layer_names
from espalier.analysis.figures.style import (
    MARKERS,
    PALETTE,
    REFERENCE,
    log_values,
    new_panels,
    ramp,
    shared_legend,
    styled,
    width_axis,
)
from espalier.analysis.limits.resample import groups
from espalier.analysis.limits.selection import largest, where

OUTPUTS: dict[str, Any] = {"color": PALETTE[1], "marker": "*", "ls": "--"}
"""How the line of the outputs is drawn among those of the layers."""


def captioned_figures(spread: pd.DataFrame, ensembles: pd.DataFrame) -> Iterator[CaptionedFigure]:
    """Figures of the last epoch, where there are nets of several widths, or of several seeds; one setting."""
    kernels, scores = latest(spread), latest(ensembles)
    if len(set(kernels["width"])) > 1 and _any(kernels, "kernel_variance"):
        title = f"Nets of one width together {when(largest(kernels['epoch']))}"
        yield CaptionedFigure("seed_variance", title, _WIDTHS, by_width(kernels, scores))
    if len(scores) and largest(scores["size"]) > 1 and _any(scores, "loss"):
        title = f"Ensembles {when(largest(scores['epoch']))}"
        yield CaptionedFigure("ensembles", title, _SIZES, by_size(scores))


def _any(rows: pd.DataFrame, column: str) -> bool:
    """Whether a column has any value."""
    return bool(np.any(rows[column].notna()))


def of_outputs(scores: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """What is known of the outputs, by `width`: columns `variance` and `bias`, and in words of what.

    Of probabilities as they are; of a regression's outputs as a share of their mean square.
    """
    single = where(scores, scores["size"] == 1)
    if _any(single, "probability_variance"):
        name, unit = "probability", np.ones(len(single))
    else:
        name, unit = "output", single["output_square"].where(single["output_square"] > 0).to_numpy()
    values = {part: single[f"{name}_{part}"] / unit for part in ("variance", "bias")}
    return {"probability": "probabilities", "output": "outputs"}[name], single[["width"]].assign(**values)


@styled
def by_width(kernels: pd.DataFrame, scores: pd.DataFrame) -> Figure:
    """Left the variance over seeds, right the squared distance from the widest; a line for each layer."""
    figure, panels = new_panels(2, row_height=3.2, more_height=1.0, one_scale=False)
    names = layer_names(kernels)
    colours = ramp([*names])
    label, outputs = of_outputs(scores)
    for axes, part, slope in zip(panels, ("variance", "bias"), (-1, -2), strict=True):
        for number, (group, rows) in enumerate(groups(kernels, ["layer"])):
            layer = int(group["layer"])
            style = {"color": colours[layer], "marker": MARKERS[number % len(MARKERS)]}
            _line(axes, rows, f"kernel_{part}", names[layer], style)
        _line(axes, outputs, part, label, OUTPUTS)
        width_axis(axes, sorted(set(kernels["width"])))
        axes.set_yscale("log")
        _guide(axes, kernels, f"kernel_{part}", slope)
        log_values(axes)
    panels[0].set_title("variance over seeds")
    panels[1].set_title("squared distance from the widest nets")
    shared_legend(figure, panels)
    return figure


def _line(axes: Axes, rows: pd.DataFrame, column: str, label: str, style: dict[str, Any]) -> None:
    """Positive values; others, which a log axis has no place for, are hollow marks at its foot."""
    x, y = rows["width"].to_numpy(), rows[column].to_numpy(dtype=np.float64)
    axes.plot(x[y > 0], y[y > 0], label=label, **style)
    if len(foot := x[y <= 0]):
        hollow = {"color": style["color"], "marker": style["marker"], "ls": "", "mfc": "none"}
        axes.plot(foot, np.full(len(foot), 0.02), transform=axes.get_xaxis_transform(), **hollow)


def _guide(axes: Axes, kernels: pd.DataFrame, column: str, slope: int) -> None:
    """A power of the width through the first point of the first layer that has one."""
    rows = where(kernels, kernels[column] > 0)
    if rows.empty:
        return
    widths = np.array(sorted(set(rows["width"])), dtype=np.float64)
    start = float(rows[column].iloc[0])
    axes.plot(widths, start * (widths / widths[0]) ** slope, label=f"width^{slope}", **REFERENCE)


@styled
def by_size(scores: pd.DataFrame) -> Figure:
    """Loss, and accuracy if there is one, of the mean output of k nets; a line for each width."""
    judged = [column for column in ("loss", "accuracy") if _any(scores, column)]
    figure, panels = new_panels(len(judged), row_height=3.0, more_height=1.0, one_scale=False)
    colours = ramp(sorted(set(scores["width"])), "plasma")
    for axes, column in zip(panels, judged, strict=True):
        for group, rows in groups(scores, ["width"]):
            width = int(group["width"])
            line = rows.sort_values("size")
            axes.plot(line["size"], line[column], marker="o", color=colours[width], label=f"{width}")
        width_axis(axes, sorted(set(scores["size"])))
        axes.set_xlabel("nets that are averaged")
        axes.set_title(f"{column} of their mean output")
    shared_legend(figure, panels, title="width")
    return figure


_WIDTHS = (
    "All nets of a width together, differing in their seeds. Left: how much the sample kernel of each layer "
    "varies over seeds, as a share of its mean square, and how much the outputs do. Theory says that nets "
    "that learn features vary as 1/width (dashed). Right: the squared distance of their mean kernel, and "
    "mean output, from those of the widest nets, with the sampling error of both means taken out: what no "
    "averaging of narrow nets takes away. It should fall as 1/width² (dashed), or faster next to the widest. "
    "Hollow marks at the foot are estimates of 0 or below: no distance could be seen. There are no bars; of "
    "S nets a variance is known to within a share of about √(2/(S − 1)), less exactly where single nets "
    "stand out."
)
_SIZES = (
    "k nets of one width are averaged: held-out loss and accuracy of their mean output, means over ensembles "
    "that share no net. Averaging takes the variance over seeds away. Where ensembles of narrow nets stay "
    "worse than one wide net, narrow nets are biased, and no number of them makes up for the width."
)
