"""A figure of a report, with its title and how to read it; numbers in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from espalier.analysis.limits.cautions import percent
from espalier.analysis.limits.ratios import Estimate
from espalier.analysis.limits.selection import warnings_of


@dataclass(frozen=True, eq=False)
class CaptionedFigure:
    """A figure, its file's name, its title and one paragraph on how to read it.

    `measure`: what it is about, where one measure of several can be picked.
    """

    name: str
    title: str
    reading: str
    figure: Figure
    measure: str = ""


def when(epoch: int) -> str:
    """An epoch in words, for the end of a title or sentence."""
    return "before training" if epoch == 0 else f"after {epoch} epochs"


def span(values: Iterable[float]) -> str:
    """The range of some numbers in words.

    >>> span([0.512, 2.0, 1234.6])
    '0.51 to 1,235'
    >>> span([0.5, 0.5])
    '0.5'
    """
    numbers = sorted(values)
    low, high = (
        f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}" for value in (numbers[0], numbers[-1])
    )
    return low if low == high else f"{low} to {high}"


LISTED = 6
"""Up to so many layers a sentence tells all of them, else the least and the largest."""


def in_layers(estimates: Sequence[Estimate], form: str = ".2g") -> str:
    """Estimates with their intervals in words: of each layer, or of many the least and the largest.

    >>> in_layers([Estimate(2, 0.5, 0.4, 0.6), Estimate(3, 2.0, 1.5, 2.5)])
    'layer 2: 0.5 [0.4, 0.6]; layer 3: 2 [1.5, 2.5]'
    """
    if len(estimates) <= LISTED:
        return "; ".join(f"layer {one.layer}: {told(one, form)}" for one in estimates)
    least, most = (pick(estimates, key=lambda one: one.value) for pick in (min, max))
    ends = " to ".join(f"{told(one, form)} (layer {one.layer})" for one in (least, most))
    return f"{ends} over {len(estimates)} layers"


def told(one: Estimate, form: str = ".2g") -> str:
    """An estimate with its interval; of one net there is none."""
    if math.isnan(one.low):
        return f"{one.value:{form}} (of one net: no interval)"
    return f"{one.value:{form}} [{one.low:{form}}, {one.high:{form}}]"


def rows_in_words(rows: pd.DataFrame) -> str:
    """How many rows a sentence is about, and how many of them carry a warning.

    >>> rows_in_words(pd.DataFrame({"warning": ["few images", "", "", ""]}))
    '4 rows, 25 % with a warning'
    """
    warned = float(np.mean(warnings_of(rows) != "")) if len(rows) else 0.0
    count = "1 row" if len(rows) == 1 else f"{len(rows):,} rows"
    return f"{count}, {percent(warned) if warned else 'none'} with a warning"


def layers_in_words(layers: Sequence[int]) -> str:
    """Some layers in words.

    >>> layers_in_words([2]), layers_in_words([2, 4, 5])
    ('layer 2', 'layers 2, 4, 5')
    """
    return f"layer{'s' if len(layers) > 1 else ''} {', '.join(map(str, layers))}"


def ratio_note(level: float) -> str:
    """What the intervals of `analysis.limits.ratios.ratio_estimates` are."""
    return f"{100 * level:g} % intervals, together for all layers, paired over nets"
