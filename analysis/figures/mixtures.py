"""Hybrid nets: accuracy against the share of one parent's channels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from espalier.analysis.figures.captioned import CaptionedFigure, rows_in_words, when
from espalier.analysis.figures.style import MARKERS, bottom_labels, new_panels, ramp, shared_legend, styled
from espalier.analysis.limits.held_out import Spread, added, rate_variance
from espalier.analysis.limits.intervals import spread_interval
from espalier.analysis.limits.resample import groups, mean_over_nets
from espalier.analysis.limits.selection import largest, where


def captioned_figures(rows: pd.DataFrame) -> Iterator[CaptionedFigure]:
    """The figure of the hybrids, where there are any; rows of one setting."""
    if len(rows):
        yield CaptionedFigure("hybrids", _TITLE, _READING, hybrids(rows))


def findings(rows: pd.DataFrame, level: float) -> list[str]:
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
    images = -largest(-wide["images_test"].to_numpy())
    among = len(means)
    least = _interval(mixed.loc[mixed["mean"].idxmin()].to_dict(), images, level, among)
    own = [_interval(end, images, level, among) for end in ends.to_dict("records")]
    where_said = f"of width {largest(wide['target_width'])} {when(largest(wide['target_epoch']))}"
    return [
        f"Hybrids of two nets {where_said}, per cent of held-out images right: at worst, {least}; with one "
        f"parent's channels alone, {'; '.join(own)} ({100 * level:g} % intervals, together for all shares, "
        f"over pairs and, by an upper bound, the {images} images; {rows_in_words(wide)})."
    ]


def _interval(mean: dict[Any, float], images: int, level: float, among: int) -> str:
    """A share of the channels with its accuracy in per cent, over pairs of nets and images."""
    pairs = int(mean["pairs"])
    over_images = Spread(rate_variance(mean["mean"], images), images - 1)
    error = added(Spread(mean["error"] ** 2, pairs - 1), over_images)
    ends = spread_interval(mean["mean"], error.variance**0.5, error.freedom, level, among)
    low, high = np.clip(ends, 0, 1)
    counted = "1 pair, no interval" if pairs == 1 else f"[{100 * low:.1f}, {100 * high:.1f}], {pairs} pairs"
    return f"share {mean['share']:g}: {100 * mean['mean']:.1f} ({counted})"


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
    "distribution the line is level; a level line does not show that they are. Compare with its own ends, "
    "p = 0 and p = 1, where the features are one parent's and the classifier alone is new; the hollow marks "
    "beside them are the parents as trained. Bars are one standard error over pairs, of which no two share a "
    "net; all are judged on the same images, whose part is not in the bars."
)
