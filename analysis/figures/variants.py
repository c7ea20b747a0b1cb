"""Grafts with layers left out, and grafts by other methods, each against the plain exact one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from espalier.analysis.figures.captioned import CaptionedFigure, in_layers, ratio_note, rows_in_words, when
from espalier.analysis.figures.main_figures import FVU, layer_axis
from espalier.analysis.figures.style import MARKERS, PALETTE, log_values, new_figure, styled
from espalier.analysis.limits.ratios import ratio_estimates
from espalier.analysis.limits.resample import summarise
from espalier.analysis.limits.selection import largest, usual_bn, usual_method, where

METHOD_WORDS: dict[object, str] = {
    "exact": "exact (least squares)",
    "stitch": "stitch (1x1 conv)",
    "adam": "Adam, as in Gu 2020",
}


def captioned_figures(grafts: pd.DataFrame) -> Iterator[CaptionedFigure]:
    """The figures of those that have rows, from the rows of one setting."""
    rows = skip_rows(grafts)
    if len(rows):
        figure = by_layer(skip_means(rows), rows, {0: "none"}, "layers left out")
        yield CaptionedFigure("skip", f"Grafts with layers left out, width {_place(rows)}", _SKIP, figure)
    rows = method_rows(grafts)
    if len(rows):
        figure = by_layer(method_means(rows), rows, METHOD_WORDS, "method")
        yield CaptionedFigure("methods", f"Methods compared, width {_place(rows)}", _METHODS, figure)


def findings(grafts: pd.DataFrame, level: float) -> list[str]:
    """A sentence for each number of layers left out, and for each other method."""
    rows, said = skip_rows(grafts), []
    for skip, ratio in _ratios(rows, "skip", 0, level).items() if len(rows) else ():
        words = "1 layer" if skip == 1 else f"{skip} layers"
        said.append(
            f"Leaving {words} out multiplies the error of a graft at width {_place(rows)}: {ratio} "
            f"({ratio_note(level)}; {rows_in_words(rows)})."
        )
    rows = method_rows(grafts)
    for method, ratio in _ratios(rows, "method", "exact", level).items() if len(rows) else ():
        name = {"adam": "Adam", "stitch": "A stitch"}[str(method)]
        said.append(
            f"{name} over the exact fit, held-out error at width {_place(rows)}: {ratio} "
            f"({ratio_note(level)}; {rows_in_words(rows)})."
        )
    return said


def skip_rows(grafts: pd.DataFrame) -> pd.DataFrame:
    """Skip grafts with the plain ones, of the widest nets at the last epoch; empty if none skips."""
    rows = _real(usual_method(grafts), ["same_width", "skip"])
    return _widest(rows, "pairing", "same_width")


def method_rows(grafts: pd.DataFrame) -> pd.DataFrame:
    """Plain grafts by all methods, of the widest nets at the last epoch; empty if there is one method."""
    rows = _real(usual_bn(grafts), ["same_width"])
    return _widest(rows, "method", "exact")


def skip_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean error by number of layers left out and fitted layer; column `kind` is that number."""
    means = summarise(rows, "fvu_test", ["pairing", "skip", "layer"])
    return means.assign(kind=means["skip"])


def method_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean error by method and layer; column `kind` is the method."""
    means = summarise(rows, "fvu_test", ["method", "layer"])
    return means.assign(kind=means["method"])


@styled
def by_layer(means: pd.DataFrame, rows: pd.DataFrame, words: dict[object, str], title: str) -> Figure:
    """Held-out error against the layer, a line for each `kind`."""
    figure, axes = new_figure(8.2, 4.2)
    kinds = set(means["kind"])
    for k, kind in enumerate([*(k for k in words if k in kinds), *sorted(kinds - set(words))]):
        part, label = where(means, means["kind"] == kind), words.get(kind, str(kind))
        style: dict[str, Any] = {"color": PALETTE[k % len(PALETTE)], "marker": MARKERS[k % len(MARKERS)]}
        axes.errorbar(part["layer"], part["mean"], part["error"], label=label, **style)
    layer_axis(axes, rows)
    log_values(axes)
    axes.set_ylabel(FVU)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), title=title)
    return figure


def _real(grafts: pd.DataFrame, pairings: list[str]) -> pd.DataFrame:
    rows = where(grafts, (grafts["null"] == "none") & grafts["pairing"].isin(pairings))
    return where(rows, rows["source_epoch"] == rows["target_epoch"])


def _widest(rows: pd.DataFrame, column: str, plain: str) -> pd.DataFrame:
    """The rows at the last epoch, then of the greatest width, where `column` is not only `plain`."""
    for name in ("target_epoch", "target_width"):
        odd = where(rows, rows[column] != plain)
        rows = where(rows, rows[name] == odd[name].max())
    return rows


def _ratios(rows: pd.DataFrame, kind: str, plain: object, level: float) -> dict[object, str]:
    """For each other kind its error over the plain one's, by layer."""
    own = where(rows, rows[kind] == plain)
    others = [value for value in sorted(set(rows[kind])) if value != plain]
    told = {
        value: in_layers(ratio_estimates(where(rows, rows[kind] == value), own, level)) for value in others
    }
    return {kind: words for kind, words in told.items() if words}


def _place(rows: pd.DataFrame) -> str:
    return f"{largest(rows['target_width'])} {when(largest(rows['target_epoch']))}"


_SKIP = (
    "The bottom of one net under the top of another with layers left out between, so that the fitted layer "
    "must do the work of those as well. Where the lines meet, one linear map from the source does as well "
    "without the layers left out as with them. Bars are one standard error over nets."
)
_METHODS = (
    "The same pairs grafted in different ways. Adam fits the same map as the exact fit by the steps of Gu "
    "2020, and on the fitting images can only approach it from above. A stitch fits a 1x1 conv one layer "
    "below and keeps the target's own layer, so that it has fewer free numbers. Bars are one standard error "
    "over nets."
)
