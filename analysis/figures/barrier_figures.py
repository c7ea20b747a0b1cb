"""The straight path between two nets: its barrier against the width, and the curves along it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from espalier.analysis.figures.captioned import CaptionedFigure, rows_in_words, when
from espalier.analysis.figures.style import PALETTE, REFERENCE, new_panels, shared_legend, styled, width_axis
from espalier.analysis.limits.intervals import spread_interval
from espalier.analysis.limits.resample import WidthMean, groups, mean_over_nets
from espalier.analysis.limits.selection import largest, where

PAIR = ["source_net", "target_net", "target_epoch"]
MATCHINGS = {"none": "no matching", "weights": "weights matched", "activations": "activations matched"}
COLOURS = dict(zip(MATCHINGS, (PALETTE[6], PALETTE[0], PALETTE[1]), strict=True))
DASHES = {"none": "--", "repair": "-"}
MARKERS = {"none": "o", "weights": "s", "activations": "^"}


class Way(NamedTuple):
    """A line of the figures: a matching, a correction, and whether the temperature was chosen anew."""

    matching: str
    correction: str
    tempered: bool = False

    @property
    def label(self) -> str:
        """In words, for a legend."""
        parts = [MATCHINGS[self.matching]]
        parts += ["REPAIR"] * (self.correction == "repair") + ["temperature chosen anew"] * self.tempered
        return ", ".join(parts)

    @property
    def style(self) -> dict[str, Any]:
        """How it is drawn: a colour for each matching, dashed without a correction, tempered dotted."""
        line = ":" if self.tempered else DASHES[self.correction]
        return {"color": COLOURS[self.matching], "ls": line, "marker": MARKERS[self.matching]}

    def column(self, measure: str) -> str:
        """The column of a measure, such as `loss_test`."""
        return f"tempered_{measure}" if self.tempered else measure


def captioned_figures(barriers: pd.DataFrame, curves: pd.DataFrame) -> Iterator[CaptionedFigure]:
    """Figures of the last epoch, where there are any paths; rows of one setting."""
    rows = last_epoch(barriers)
    if len(rows):
        epoch = largest(rows["target_epoch"])
        title = f"Barrier on the straight path between two nets {when(epoch)}"
        yield CaptionedFigure("barriers", title, _READING, by_width(rows))
        widest = where(rows, rows["target_width"] == rows["target_width"].max())
        path = curves_of(curves, widest)
        if len(path):
            title = f"Along the path, width {largest(widest['target_width'])}, {when(epoch)}"
            yield CaptionedFigure("barrier_curves", title, _CURVES, along(path))


def findings(barriers: pd.DataFrame, level: float) -> list[str]:
    """Sentences about the widest nets of the last epoch."""
    rows = last_epoch(barriers)
    rows = where(rows, rows["target_width"] == rows["target_width"].max())
    told = [(way, barrier_means(rows, way, "loss_test")) for way in ways(rows)]
    told = [(way, means) for way, means in told if len(means)]
    if not told:
        return []
    said = "; ".join(
        f"{way.label}: {_height(means.iloc[0].to_dict(), level, len(told))}" for way, means in told
    )
    place = f"of width {largest(rows['target_width'])} {when(largest(rows['target_epoch']))}"
    return [
        f"On the straight line between two nets {place} the held-out loss rises above the line between its "
        f"ends by at most: {said} ({100 * level:g} % intervals, together for all, over pairs that share no "
        f"net; the images' part is not in them; {rows_in_words(rows)}).",
        *_gains(rows, level),
        *_cycles(rows),
    ]


def _height(mean: dict[Any, Any], level: float, among: int) -> str:
    """A mean barrier, which is never negative."""
    return _interval(mean["mean"], mean["error"], int(mean["pairs"]), level, among, 0.0)


def _interval(mean: float, error: float, pairs: int, level: float, among: int, least: float) -> str:
    if pairs == 1:
        return f"{mean:.2g} (1 pair, no interval)"
    low, high = spread_interval(mean, error, pairs - 1, level, among)
    return f"{mean:.2g} [{max(low, least):.2g}, {high:.2g}], {pairs} pairs"


def gains(rows: pd.DataFrame) -> list[tuple[Way, WidthMean]]:
    """What each matching takes away beyond a temperature chosen anew, for each correction.

    The mean over pairs of the difference, taken within the pair, between the tempered barrier of the held-out
    loss without a matching and with it, under the same correction. Rows of one width, each pair once.
    """
    found = []
    for way in ways(rows):
        if way.tempered or way.matching == "none":
            continue
        without, matched = _tempered(rows, way._replace(matching="none")), _tempered(rows, way)
        gain = np.array([without[pair] - matched[pair] for pair in matched if pair in without])
        if len(gain):
            mean = mean_over_nets(largest(rows["target_width"]), gain, [np.arange(len(gain))])
            found.append((way._replace(tempered=True), mean))
    return found


def _tempered(rows: pd.DataFrame, way: Way) -> dict[tuple[Any, ...], float]:
    """By pair the tempered barrier of the held-out loss."""
    column = "tempered_loss_test_barrier"
    part = _of(rows, way, column)
    return {tuple(pair): height for *pair, height in part[[*PAIR, column]].to_numpy().tolist()}


def _gains(rows: pd.DataFrame, level: float) -> list[str]:
    """The sentence of the gains, where a matching can be held against none."""
    found = gains(rows)
    if not found:
        return []
    said = "; ".join(
        f"{way._replace(tempered=False).label}: "
        f"{_interval(gain.mean, gain.variance**0.5, gain.seeds, level, len(found), -np.inf)}"
        for way, gain in found
    )
    return [
        "Only what a matching takes away beyond a temperature chosen anew can speak for matched features: "
        "the barrier of the held-out loss without a matching less that with it, under the same correction, "
        f"each at temperatures of its own. {said} ({100 * level:g} % intervals, together for all, of "
        "differences within pairs). Where an interval reaches 0 there is no evidence of it."
    ]


def _cycles(rows: pd.DataFrame) -> list[str]:
    """How many channels come back to themselves over three nets."""
    known = where(rows, rows["cycle_share"].notna()).drop_duplicates([*PAIR, "matching"])
    shares = [
        f"{100 * part['cycle_share'].mean():.0f} % ({MATCHINGS[str(group['matching'])]}; "
        f"{100 * part['cycle_chance'].mean():.1f} % by chance)"
        for group, part in groups(known, ["matching"])
    ]
    if not shares:
        return []
    return [
        f"Matched from one net to a second, to a third and back, {' and '.join(shares)} of the channels come "
        "back to themselves: a matching of features that all nets have would bring back all."
    ]


def last_epoch(barriers: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last epoch, each pair once.

    A sweep that grew from two seeds, or lost a net, has the rows of a pair with and without a third net, or
    with another: those with one are kept, of several the last.
    """
    rows = where(barriers, barriers["target_epoch"] == barriers["target_epoch"].max())
    ordered = rows.sort_values("third_seed", kind="stable", na_position="first")
    return ordered.drop_duplicates([*PAIR, "matching", "correction"], keep="last").sort_index()


def curves_of(curves: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The curves of some barriers."""
    return where(curves, curves["key"].isin(rows["key"].unique().tolist()))


def ways(rows: pd.DataFrame, measure: str = "loss_test") -> list[Way]:
    """The lines that there are rows for.

    Those of a loss with a temperature chosen anew are last, one for each matching, with the correction if
    there is one.
    """
    there = set(zip(rows["matching"], rows["correction"], strict=True))
    found = [Way(matching, correction) for matching in MATCHINGS for correction in DASHES]
    found = [way for way in found if way[:2] in there]
    if measure != "loss_test":  # no temperature changes an accuracy
        return found
    last = {way.matching: way._replace(tempered=True) for way in found}
    return [*found, *last.values()]


def _of(rows: pd.DataFrame, way: Way, column: str) -> pd.DataFrame:
    here = (rows["matching"] == way.matching) & (rows["correction"] == way.correction)
    return where(rows, here & rows[column].notna())


def barrier_means(rows: pd.DataFrame, way: Way, measure: str) -> pd.DataFrame:
    """By width the mean barrier over pairs, with its standard error: no net is in two of them."""
    return _means(rows, way, f"{way.column(measure)}_barrier", "target_width")


def _means(rows: pd.DataFrame, way: Way, column: str, by: str) -> pd.DataFrame:
    lines = []
    for group, part in groups(_of(rows, way, column), [by]):
        pair = part.groupby(PAIR, observed=True).ngroup().to_numpy()
        m = mean_over_nets(0, part[column].to_numpy(dtype=np.float64), [pair])
        lines.append({by: group[by], "mean": m.mean, "error": float(np.sqrt(m.variance)), "pairs": m.seeds})
    return pd.DataFrame(lines, columns=[by, "mean", "error", "pairs"])


def _measures(rows: pd.DataFrame, suffix: str = "") -> dict[str, str]:
    """What is shown: a regression has no accuracy."""
    accurate = bool(rows[f"accuracy_test{suffix}"].notna().any())
    return {"loss_test": "held-out loss"} | ({"accuracy_test": "held-out accuracy"} if accurate else {})


@styled
def by_width(rows: pd.DataFrame) -> Figure:
    """Barriers of the held-out loss and accuracy against the width, a line for each way."""
    measures = _measures(rows, "_barrier")
    figure, panels = new_panels(len(measures), row_height=3.4, more_height=1.1, one_scale=False)
    for axes, (measure, text) in zip(panels, measures.items(), strict=True):
        for way in ways(rows, measure):
            means = barrier_means(rows, way, measure)
            if len(means):
                x, y = (means[name].to_numpy(dtype=np.float64) for name in ("target_width", "mean"))
                axes.errorbar(x, y, means["error"].to_numpy(), label=way.label, **way.style)
        axes.axhline(0.0, **REFERENCE)
        axes.set_title(f"barrier of the {text}")
        width_axis(axes, sorted(set(rows["target_width"])))
    shared_legend(figure, panels, ncols=3)
    return figure


@styled
def along(curves: pd.DataFrame) -> Figure:
    """Held-out loss and accuracy along the path, a line for each way, means over pairs."""
    measures = _measures(curves)
    figure, panels = new_panels(len(measures), row_height=3.4, more_height=1.1, one_scale=False)
    for axes, (measure, text) in zip(panels, measures.items(), strict=True):
        for way in ways(curves, measure):
            _draw(axes, _means(curves, way, way.column(measure), "t"), way)
        axes.set_title(text)
        axes.set_xlabel("t (0: one net, 1: the other)")
    shared_legend(figure, panels, ncols=3)
    return figure


def _draw(axes: Axes, means: pd.DataFrame, way: Way) -> None:
    """A line with a band of one standard error."""
    if means.empty:
        return
    t, y, error = (means[name].to_numpy(dtype=np.float64) for name in ("t", "mean", "error"))
    colour, line = way.style["color"], way.style["ls"]
    axes.plot(t, y, label=way.label, color=colour, ls=line)
    axes.fill_between(t, y - error, y + error, color=colour, alpha=0.15, lw=0, label=f"_{way.label}, band")


_READING = (
    "How far loss and accuracy get worse, at most, on the straight line between the parameters of two nets, "
    "beyond the line between its ends. Channels of the second net are first brought to the places of the "
    "first one's that they match best, by weights or by activations; REPAIR sets the statistics of channels "
    "right on the way. Dotted are the same nets with the temperature of the softmax chosen anew at each "
    "place. Averages of wide nets have flat logits, for which a temperature makes up by itself (Ito 2025): "
    "a barrier that vanishes is no proof of matched features, so compare the dotted line of a matching with "
    "the dotted line without one. "
    "Accuracy does not depend on the temperature. Bars are one standard error over pairs, of which no two "
    "share a net; all are judged on the same images, whose part is not in the bars."
)
_CURVES = (
    "Means over pairs of the widest nets, with a band of one standard error. At t = 0 and t = 1 the nets are "
    "the trained ones, whatever the matching (under REPAIR a net with BN has its statistics re-estimated "
    "there too); the temperature is chosen anew there as well."
)
