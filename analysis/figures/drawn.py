"""What a figure shows, as plain data: the file of numbers beside it, and what a browser draws anew.

It is read off the drawn figure (`analysis.figures.drawn_axes`), so that a static figure, its numbers and its
interactive twin cannot differ, and a figure that is added has all three.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

COLUMNS = ("panel", "x_axis", "y_axis", "series", "kind", "x", "y", "low", "high", "value")
"""Those of the file of numbers: `low` and `high` are the ends of a bar or band, `value` that of a cell."""
DIGITS = 7
"""Significant digits that are kept: more than an eye or a hover can use."""


@dataclass(frozen=True)
class Axis:
    """An axis: its label, how places on it are spaced, its ends, and its ticks with their labels.

    `scale` is `linear`, `log` (base 10 of what is given) or `placed`: places are then given as they lie on
    the page, and `words` or the ticks tell what they mean. `named` axes have a name for each tick.
    """

    label: str
    scale: str
    range: tuple[float, float]
    ticks: Sequence[float] = ()
    words: Sequence[str] = ()
    named: bool = False


@dataclass(frozen=True)
class Series:
    """Marks or a line: values, the ends of their bars (if any), and how they look.

    `at` are the places on the x axis where these are not the values of `x` themselves.
    """

    label: str
    group: str
    x: Sequence[Any]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    at: Sequence[float] = ()
    color: str = "#0072b2"
    dash: str = ""
    marker: str = ""
    hollow: bool = False
    step: bool = False
    width: float = 1.6
    sizes: Sequence[float] = ()
    listed: bool = True

    @property
    def kind(self) -> str:
        """What the file of numbers calls it."""
        return "points" if self.marker or self.low else "line"


@dataclass(frozen=True)
class Band:
    """A band between two curves."""

    label: str
    group: str
    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    color: str = "#5b6470"
    alpha: float = 0.16
    at: Sequence[float] = ()
    listed: bool = False


@dataclass(frozen=True)
class Cells:
    """A matrix of values with a colour for each; rows from the top, NaN where there is none."""

    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float]]
    colors: Sequence[Sequence[str]]
    measure: str = ""


@dataclass(frozen=True)
class Words:
    """A text in a panel: at data coordinates, or at a share of the height above an x."""

    x: float
    y: float
    text: str
    color: str
    of_height: bool = False


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series] = ()
    bands: Sequence[Band] = ()
    cells: Cells | None = None
    words: Sequence[Words] = ()


@dataclass(frozen=True)
class Drawn:
    """A whole figure: its panels, how many stand beside each other at most, and the legend's title."""

    panels: Sequence[Panel]
    columns: int = 1
    legend: str = ""

    def frame(self) -> pd.DataFrame:
        """All numbers, a row each, with the columns `COLUMNS`."""
        return pd.DataFrame([*self._rows()], columns=[*COLUMNS])

    def csv(self) -> bytes:
        """The numbers as a file; columns that no row fills are left out."""
        return self.frame().dropna(axis="columns", how="all").to_csv(index=False).encode()

    def plain(self) -> dict[str, Any]:
        """Dictionaries, lists, texts and numbers, for JSON; what is as it usually is is left out."""
        return _plain(asdict(self))

    def _rows(self) -> Iterator[dict[str, Any]]:
        for panel in self.panels:
            axes = {"panel": panel.title, "x_axis": panel.x.label, "y_axis": panel.y.label}
            for row in _rows_of(panel):
                yield axes | row


def _rows_of(panel: Panel) -> Iterator[dict[str, Any]]:
    for series in panel.series:
        named = {"series": series.group if series.listed else series.label, "kind": series.kind}
        ends = (series.low or [np.nan] * len(series.x), series.high or [np.nan] * len(series.x))
        for x, y, low, high in zip(series.x, series.y, *ends, strict=True):
            yield named | {"x": x, "y": y, "low": low, "high": high}
    for band in panel.bands:
        for x, low, high in zip(band.x, band.low, band.high, strict=True):
            yield {"series": band.label, "kind": "band", "x": x, "low": low, "high": high}
    yield from _cells_of(panel.cells) if panel.cells else ()


def _cells_of(cells: Cells) -> Iterator[dict[str, Any]]:
    for name, values in zip(cells.rows, cells.values, strict=True):
        for column, value in zip(cells.columns, values, strict=True):
            if np.isfinite(value):
                yield {"series": cells.measure, "kind": "cell", "x": column, "y": name, "value": value}


def number(value: float) -> float:
    """A number to as many digits as are kept.

    >>> number(0.123456789), number(1234567890.0)
    (0.1234568, 1234568000.0)
    """
    return float(f"{value:.{DIGITS}g}")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {name: _plain(one) for name, one in value.items()}
        return {name: one for name, one in kept.items() if one is not None and one is not False and one != []}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return number(value) if np.isfinite(value) else None
    return value
