"""Slopes of a quantity in the width, both as logarithms: the exponent with which it grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def slope(widths: Sequence[float], changes: Sequence[float]) -> float:
    """The slope of log change in log width by least squares; NaN where a change is 0 or not finite.

    >>> round(slope([4, 8, 16], [3.0, 6.0, 12.0]), 6)
    1.0
    """
    found = np.asarray(changes, dtype=np.float64)
    if len(set(widths)) < 2 or not (np.isfinite(found) & (found > 0)).all():
        return float("nan")
    log_width = np.log(np.asarray(widths, dtype=np.float64))
    centred = log_width - log_width.mean()
    return float(centred @ np.log(found) / (centred @ centred))


def by_layer_and_width(rows: Sequence[Mapping[str, Any]], step: int) -> dict[int, dict[int, float]]:
    """For each layer and width the change after `step` steps, a mean over seeds, of one setting's rows."""
    found: dict[int, dict[int, list[float]]] = {}
    for row in rows:
        if row["step"] == step:
            found.setdefault(row["layer"], {}).setdefault(row["width"], []).append(row["change"])
    return {
        layer: {width: float(np.mean(changes)) for width, changes in sorted(by_width.items())}
        for layer, by_width in sorted(found.items())
    }


def slopes(rows: Sequence[Mapping[str, Any]], step: int) -> dict[int, float]:
    """For each layer the slope of its change after `step` steps in the width, of one setting's rows."""
    found = by_layer_and_width(rows, step)
    return {layer: slope([*by_width], [*by_width.values()]) for layer, by_width in found.items()}
