"""Hybrid nets: accuracy against the share of one parent's channels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from espalier.analysis.figures.captioned import CaptionedFigure, when
from espalier.analysis.figures.style import MARKERS, bottom_labels, new_panels, ramp, shared_legend, styled
from espalier.analysis.limits.resample import groups, mean_over_nets
from espalier.analysis.limits.selection import largest, where


def captioned_figures(rows: pd.DataFrame) -> Iterator[CaptionedFigure]:
    """The figure of the hybrids, where there are any; rows of one setting."""
    if len(rows):
        yield CaptionedFigure("hybrids", _TITLE, _READING, hybrids(rows))


def findings(rows: pd.DataFrame) -> list[str]:
    """A sentence about the widest nets of the last epoch."""
    if rows.empty or measure(rows) != "accuracy_test":
        return []
    last = where(rows, rows["target_epoch"] == rows["target_epoch"].max())
    wide = where(last, last["target_width"] == last["target_width"].max())
    means = share_means(wide)
    ends = where(means, means["share"].isin([0.0, 1.0]))
    mixed = where(means, ~means["share"].isin([0.0, 1.0]))
    if ends.empty or mixed.empty:
        return []
    least = mixed.loc[mixed["mean"].idxmin()]
    pairs = "1 pair" if least["pairs"] == 1 else f"mean over {least['pairs']:.0f} pairs"
    where_said = f"of width {largest(wide['target_width'])} {when(largest(wide['target_epoch']))}"
    return [
        f"Hybrids of two nets {where_said} are right on {100 * least['mean']:.1f} % of held-out images at "
        f"worst (share {least['share']:g}, {pairs}), those with one parent's "
        f"channels alone on {100 * ends['mean'].mean():.1f} %."
    ]


def measure(rows: pd.DataFrame) -> str:
    """The column that is plotted: loss for a regression, which has no accuracy."""
    return "accuracy_test" if len(rows["accuracy_test"].dropna()) else "loss_test"


def share_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean by epoch, width and share, with its standard error over pairs: no net is in two of them."""
    y, lines = measure(rows), []
    for group, part in groups(rows, ["target_epoch", "target_width", "share"]):
        pair = part.groupby(["source_seed", "target_seed"]).ngroup().to_numpy()
        m = mean_over_nets(group["target_width"], part[y].to_numpy(dtype=np.float64), [pair])
        lines.append({**group, "mean": m.mean, "error": float(np.sqrt(m.variance)), "pairs": m.seeds})
    return pd.DataFrame(lines)


@styled
def hybrids(rows: pd.DataFrame) -> Figure:
    """Held-out accuracy (or a regression's loss) against the share: a panel per epoch, a line per width."""
    means = share_means(rows)
    epochs = sorted(set(means["target_epoch"]))
    figure, panels = new_panels(len(epochs), row_height=3.4, more_height=0.9)
    for axes, epoch in zip(panels, epochs, strict=True):
        _draw(axes, where(means, means["target_epoch"] == epoch), sorted(set(means["target_width"])))
        if measure(rows) == "accuracy_test":
            _mark_parents(axes, where(rows, rows["target_epoch"] == epoch), sorted(set(rows["target_width"])))
        axes.set_title(when(int(epoch)))
    bottom_labels(panels, "share p of the source's channels")
    accurate = measure(rows) == "accuracy_test"
    figure.supylabel("held-out accuracy (share right)" if accurate else "held-out loss", fontsize=10)
    shared_legend(figure, panels, title="width (hollow: the parents)")
    return figure


def _draw(axes: Axes, means: pd.DataFrame, widths: list[int]) -> None:
    for group, part in groups(means, ["target_width"]):
        style, label = _style(group["target_width"], widths), f"{group['target_width']}"
        axes.errorbar(part["share"], part["mean"], part["error"], label=label, **style)


def _mark_parents(axes: Axes, rows: pd.DataFrame, widths: list[int]) -> None:
    """The parents as they were trained, beside the ends of their line: the target left, the source right."""
    for group, part in groups(rows, ["target_width"]):
        ends = [part[f"{side}_accuracy_test"].mean() for side in ("target", "source")]
        axes.plot([-0.05, 1.05], ends, ls="none", mfc="none", **_style(group["target_width"], widths))


def _style(width: int, widths: list[int]) -> dict[str, Any]:
    return {"color": ramp(widths, "plasma")[width], "marker": MARKERS[widths.index(width) % len(MARKERS)]}


_TITLE = "Hybrid nets: a share of one net's channels, the rest another's"
_READING = (
    "At every hidden layer a share p of the channels is one net's and the rest another's; a net is fitted "
    "to that mixture layer by layer, and its classifier anew. If all channels are draws from one "
    "distribution the line is level. Compare with its own ends, p = 0 and p = 1, where the features are one "
    "parent's and the classifier alone is new; the hollow marks beside them are the parents as trained. "
    "Bars are one standard error over pairs, of which no two share a net."
)
