"""Ratios of two errors by layer, with intervals: of rows that share their pairs, and of two sets of means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from espalier.analysis.limits.intervals import spread_interval
from espalier.analysis.limits.powerlaw import Floats
from espalier.analysis.limits.selection import narrower_width


@dataclass(frozen=True)
class Estimate:
    """A number of one layer, with its interval."""

    layer: int
    value: float
    low: float
    high: float


def paired_ratio(rows: pd.DataFrame, top: str, bottom: str, by: Sequence[str]) -> Floats:
    """For each row a number whose mean over its group of `by` and width is the ratio of the columns' means.

    It is the first-order term of the ratio in the row's two values, as in the delta method, so that the error
    of its mean over nets is that of the ratio, with all that both columns have in common taken out.
    """
    codes = group_codes(rows.assign(_width=narrower_width(rows)), [*by, "_width"])
    above, below = (rows[name].to_numpy(dtype=np.float64) for name in (top, bottom))
    mean_above, mean_below = (group_means(values, codes) for values in (above, below))
    return (mean_above / mean_below) * (1 + above / mean_above - below / mean_below)


def group_codes(frame: pd.DataFrame, by: Sequence[str]) -> NDArray[np.int64]:
    """The number of each row's group."""
    if not by:
        return np.zeros(len(frame), dtype=np.int64)
    return frame.groupby(list(by), dropna=False).ngroup().to_numpy(dtype=np.int64)


def group_means(values_R: Floats, codes_R: NDArray[np.int64]) -> Floats:
    """For each row the mean over its group."""
    return (np.bincount(codes_R, values_R) / np.bincount(codes_R))[codes_R]


def mean_estimates(means: pd.DataFrame, level: float) -> list[Estimate]:
    """Rows of `summarise` with a column `layer`, one each: intervals that hold together for all of them."""
    lines = means.to_dict("records")
    return [
        Estimate(
            int(m["layer"]),
            float(m["mean"]),
            *spread_interval(m["mean"], m["error"], m["freedom"], level, len(lines)),
        )
        for m in lines
    ]


def ratio_estimates(top: pd.DataFrame, bottom: pd.DataFrame, level: float) -> list[Estimate]:
    """Ratios of two frames of `summarise`, by layer: intervals that hold together for all of them.

    On the log scale, as if the two means were independent: nets that have a part in both make them vary
    together, and the interval too long. Layers that one of the frames lacks are left out.
    """
    both = top.merge(bottom, on="layer", suffixes=("", "_below"))
    both = both.loc[(both["mean"] > 0) & (both["mean_below"] > 0)].to_dict("records")
    found = []
    for m in both:
        value = m["mean"] / m["mean_below"]
        error = np.hypot(m["error"] / m["mean"], m["error_below"] / m["mean_below"])
        freedom = min(m["freedom"], m["freedom_below"])
        low, high = spread_interval(np.log(value), error, freedom, level, len(both))
        found.append(Estimate(int(m["layer"]), float(value), float(np.exp(low)), float(np.exp(high))))
    return found
