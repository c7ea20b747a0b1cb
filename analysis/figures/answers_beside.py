"""Settings, or sweeps, side by side: what is known of each layer, a line for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from espalier.analysis.figures.captioned import CaptionedFigure
from espalier.analysis.figures.style import MARKERS, PALETTE, REFERENCE, new_panels, shared_legend, styled
from espalier.analysis.limits.selection import where

MOST = 8
"""So many can be told apart by their colours."""
MEASURES = {
    "alpha": ("exponent of the fall", None),
    "excess": ("trained - untrained error", 0.0),
    "pool_ratio": ("one net / pool of nets", 1.0),
    "cka": ("calibrated CKA", None),
    "barrier": ("barrier of whole nets", 0.0),
}
"""Columns of `analysis.report.answer` that are drawn: in words, and where nothing would be."""


def captioned_figures(answers: Mapping[str, pd.DataFrame]) -> Iterator[CaptionedFigure]:
    """The figure, of two or more that have something in common; frames of `answer` by label."""
    told = {label: frame for label, frame in answers.items() if any(_any(frame, name) for name in MEASURES)}
    if 2 <= len(told) <= MOST:
        yield CaptionedFigure("side_by_side", "Side by side, by layer", _READING, side_by_side(told))


def _any(frame: pd.DataFrame, name: str) -> bool:
    return bool(frame[name].notna().to_numpy().any())


@styled
def side_by_side(answers: Mapping[str, pd.DataFrame]) -> Figure:
    """A panel for each measure that any has, a line for each label: value and interval by layer."""
    shown = [name for name in MEASURES if any(_any(frame, name) for frame in answers.values())]
    figure, panels = new_panels(
        len(shown), row_height=2.9, more_height=0.7 + 0.2 * len(answers), one_scale=False
    )
    layers = sorted({int(layer) for frame in answers.values() for layer in frame["layer"]})
    for axes, name in zip(panels, shown, strict=True):
        words, nothing = MEASURES[name]
        for number, (label, frame) in enumerate(answers.items()):
            _draw(axes, where(frame, frame[name].notna()), name, label, number, len(answers))
        if nothing is not None:
            axes.axhline(nothing, **REFERENCE)
        axes.set_title(words)
        axes.set_xticks(layers, [str(layer) for layer in layers])
        axes.set_xlabel("layer")
    shared_legend(figure, panels, ncols=1)
    return figure


def _draw(axes: Axes, frame: pd.DataFrame, name: str, label: str, number: int, among: int) -> None:
    """One line; lines are set apart along the axis, so that bars can be told apart."""
    place = frame["layer"].to_numpy(dtype=np.float64) + 0.4 * ((number + 0.5) / among - 0.5)
    value = frame[name].to_numpy(dtype=np.float64)
    style: dict[str, Any] = {
        "color": PALETTE[number % len(PALETTE)],
        "marker": MARKERS[number % len(MARKERS)],
        "label": label,
    }
    if f"{name}_low" not in frame.columns:
        axes.plot(place, value, lw=1.0, **style)
        return
    low, high = (frame[f"{name}_{end}"].to_numpy(dtype=np.float64) for end in ("low", "high"))
    bars = np.nan_to_num(np.clip([value - low, high - value], 0.0, None))
    axes.errorbar(place, value, bars, lw=1.0, **style)


_READING = (
    "The columns of the table at the top, by layer, for each setting or sweep. Bars are intervals over nets "
    "of each by itself, not of differences: that two overlap does not show that they are equal. Sweeps of "
    "other images, or of nets that compute other layers, have other errors: compare exponents, and what lies "
    "beyond a null, rather than errors."
)
