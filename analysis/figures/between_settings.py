"""Grafts between nets of different settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from espalier.analysis.figures.captioned import CaptionedFigure, in_layers, ratio_note, rows_in_words, when
from espalier.analysis.figures.main_figures import FVU, layer_axis
from espalier.analysis.figures.style import (
    MARKERS,
    PALETTE,
    REFERENCE,
    bottom_labels,
    log_values,
    new_panels,
    shared_legend,
    styled,
)
from espalier.analysis.limits.ratios import ratio_estimates
from espalier.analysis.limits.resample import groups, summarise
from espalier.analysis.limits.selection import largest, usual_method, where
from espalier.analysis.limits.settings import known_settings, labels, setting_numbers
from espalier.analysis.tables import Tables


def captioned_figures(tables: Tables) -> Iterator[CaptionedFigure]:
    """The figure of pairs across settings, where there are any."""
    rows = setting_rows(tables)
    if len(rows):
        title = f"Grafts between settings at width {largest(rows['target_width'])} {_when(rows)}"
        yield CaptionedFigure(
            "cross_setting", title, _READING, cross_setting(rows, labels(known_settings(tables)))
        )


def findings(tables: Tables, level: float) -> list[str]:
    """A sentence for each target's setting that nets of another one are grafted into."""
    rows = setting_rows(tables)
    if rows.empty:
        return []
    names = labels(known_settings(tables))
    return [
        f"Into nets of {names[int(target)]}, error of sources of {names[int(source)]} over that of "
        f"sources of the same setting: {ratio} (width {largest(rows['target_width'])} {_when(rows)}; "
        f"{ratio_note(level)}; {rows_in_words(where(rows, rows['target'] == target))})."
        for target, source, ratio in _ratios(rows, level)
    ]


def setting_rows(tables: Tables) -> pd.DataFrame:
    """Pairs across settings with those within, of the widest nets at the last epoch; empty if none across.

    Columns `source` and `target` number the settings.
    """
    grafts = usual_method(tables.grafts)
    kept = (grafts["null"] == "none") & grafts["pairing"].isin(["same_width", "cross_setting"])
    rows = where(grafts, kept & (grafts["source_epoch"] == grafts["target_epoch"]))
    for name in ("target_epoch", "target_width"):
        across = where(rows, rows["pairing"] == "cross_setting")
        rows = where(rows, rows[name] == across[name].max())
    known = known_settings(tables)
    return rows.assign(**{s: setting_numbers(rows, f"{s}_", known) for s in ("source", "target")})


def setting_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean error by the numbers of both settings and the layer."""
    return summarise(rows, "fvu_test", ["pairing", "target", "source", "layer"])


@styled
def cross_setting(rows: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Held-out error against the layer: a panel per target's setting, a line per source's."""
    means = setting_means(rows)
    targets = sorted(set(means["target"]))
    figure, panels = new_panels(len(targets), row_height=3.3, more_height=0.9 + 0.2 * len(names))
    for axes, target in zip(panels, targets, strict=True):
        _draw(axes, where(means, means["target"] == target), names)
        axes.set_title(_broken(f"into {names[int(target)]}"))
        layer_axis(axes, rows, inches=7.0 / min(len(targets), 4))
    log_values(panels[0])
    bottom_labels(panels, "re-fitted layer")
    figure.supylabel(FVU, fontsize=10)
    shared_legend(figure, panels, title="source (dashed: of the target's own setting)", ncols=1)
    return figure


def _draw(axes: Axes, means: pd.DataFrame, names: Sequence[str]) -> None:
    for group, part in groups(means, ["target", "source"]):
        source = int(group["source"])
        style = {"color": PALETTE[source % len(PALETTE)], "marker": MARKERS[source % len(MARKERS)]}
        own = {"ls": REFERENCE["ls"]} if group["target"] == source else {}
        axes.errorbar(part["layer"], part["mean"], part["error"], label=names[source], **style, **own)


def _broken(text: str) -> str:
    """A title in lines of its parts, since panels are narrow."""
    return text.replace(", ", ",\n")


def _ratios(rows: pd.DataFrame, level: float) -> Iterator[tuple[int, int, str]]:
    """Target and source setting, and by layer the error over that within the target's."""
    for target in sorted(set(rows["target"])):
        into = where(rows, rows["target"] == target)
        own = where(into, into["source"] == target)
        for source in sorted(set(into["source"]) - {target}):
            words = in_layers(ratio_estimates(where(into, into["source"] == source), own, level))
            if words:
                yield int(target), int(source), words


def _when(rows: pd.DataFrame) -> str:
    return when(largest(rows["target_epoch"]))


_READING = (
    "Nets of each setting (a panel) served by nets of their own setting and of the others, all of one "
    "width. Where the lines meet, sources of both settings serve these targets equally well; a line above "
    "the dashed one says that the other setting's nets serve them less well. Pairs across settings differ in "
    "their seeds too. Bars are one standard error over nets."
)
