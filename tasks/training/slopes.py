"""Slopes of a quantity in the width, both as logarithms: the exponent with which it grows, and its error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

FLAT = 0.25
"""Slopes nearer 0 than this count as level: no parametrization has an exponent between 0 and 1/2."""
LEVEL = 0.9
"""Coverage of the interval by which a layer is judged."""


@dataclass(frozen=True)
class LayerSlope:
    """A layer's slope, a mean over seeds, with its standard error (NaN of one seed).

    Each seed has a slope of its own, over the widths; these slopes are independent draws, whatever one seed's
    nets have in common.
    """

    slope: float
    error: float
    seeds: int

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Student's interval with one degree of freedom fewer than seeds."""
        if self.seeds < 2:
            return math.nan, math.nan
        half = float(stdtrit(self.seeds - 1, (1 + level) / 2)) * self.error
        return self.slope - half, self.slope + half

    @property
    def verdict(self) -> str:
        """Whether the layer moves alike at every width, as far as the seeds can tell.

        It is `level` or not only where the whole interval says so: a slope near 0 with a large error is no
        evidence of a level line.
        """
        if math.isnan(self.slope):
            return "diverged"
        low, high = self.interval()
        if low > FLAT:
            return "rises"
        if high < -FLAT:
            return "falls"
        if low >= -FLAT and high <= FLAT:
            return "level"
        if self.seeds < 2:
            return "unsure: one seed has no error"
        if low > 0 or high < 0:
            return f"unsure: {'rises' if low > 0 else 'falls'}, perhaps by less than {FLAT}"
        return "unsure: more seeds"


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


def by_layer_and_width(rows: Sequence[Mapping[str, Any]], step: int) -> dict[int, dict[int, list[float]]]:
    """For each layer and width the seeds' changes after `step` steps, of one setting's rows."""
    found: dict[int, dict[int, dict[int, float]]] = {}
    for row in rows:
        if row["step"] == step:
            by_width = found.setdefault(row["layer"], {})
            by_width.setdefault(row["width"], {})[row["seed"]] = row["change"]
    return {
        layer: {
            width: [by_seed[seed] for seed in sorted(by_seed)] for width, by_seed in sorted(by_width.items())
        }
        for layer, by_width in sorted(found.items())
    }


def layer_slopes(rows: Sequence[Mapping[str, Any]], step: int) -> dict[int, LayerSlope]:
    """For each layer the slope of its change after `step` steps in the width, of one setting's rows."""
    return {layer: _over_seeds(by_width) for layer, by_width in by_layer_and_width(rows, step).items()}


def _over_seeds(by_width: Mapping[int, Sequence[float]]) -> LayerSlope:
    each = [slope([*by_width], changes) for changes in zip(*by_width.values(), strict=True)]
    error = float(np.std(each, ddof=1)) / math.sqrt(len(each)) if len(each) > 1 else math.nan
    return LayerSlope(float(np.mean(each)), error, len(each))
