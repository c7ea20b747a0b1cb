"""A figure of a report, with its title and how to read it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class CaptionedFigure:
    """A figure, its file's name, its title and one paragraph on how to read it."""

    name: str
    title: str
    reading: str
    figure: Figure


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
