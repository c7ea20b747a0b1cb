"""Ratios of two errors by layer, with intervals: of rows that share their pairs, or their nets alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from espalier.analysis.limits.intervals import mean_interval, spread_interval
from espalier.analysis.limits.powerlaw import Floats
from espalier.analysis.limits.resample import WidthMean, groups, mean_over_nets
from espalier.analysis.limits.selection import each_once, measured, narrower_width, net_codes, where


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


def log_ratio(top: pd.DataFrame, bottom: pd.DataFrame, y: str) -> WidthMean:
    """The logarithm of the ratio of two means of `y`, paired over nets: its variance knows what they share.

    The variance of either mean, less twice the covariance that their common nets give them, to first order in
    both means. Targets that are hard for both sources so cancel, and sources that serve both targets well.
    """
    codes = [code.to_numpy() for code in net_codes(pd.concat([top, bottom], ignore_index=True))]
    sides = (top, slice(None, len(top))), (bottom, slice(len(top), None))
    nets = [np.unique(np.concatenate([code[part] for code in codes])) for _, part in sides]
    first, second = (
        mean_over_nets(0, rows[y].to_numpy(dtype=np.float64), [code[part] for code in codes])
        for rows, part in sides
    )
    return log_of_ratio(first, second, shared_covariance(first, second, nets))


def log_of_ratio(first: WidthMean, second: WidthMean, covariance: float) -> WidthMean:
    """The logarithm of a ratio of two means above 0, of this covariance relative to both."""
    variance = max(relative_variance(first) + relative_variance(second) - 2 * covariance, 0.0)
    freedom = min(first.freedom, second.freedom)
    return replace(first, mean=float(np.log(first.mean / second.mean)), variance=variance, freedom=freedom)


def shared_covariance(first: WidthMean, second: WidthMean, nets: Sequence[NDArray[np.int64]]) -> float:
    """The covariance that common nets give two means, relative to both.

    By what each net adds to either mean, scaled as the means' own variances are.

    Args:
        first: A mean.
        second: Another.
        nets: Of each its nets as numbers, in the order of its influences.
    """
    _, *places = np.intersect1d(*nets, assume_unique=True, return_indices=True)
    one_S, other_S = (mean.influence_S[at] for mean, at in zip((first, second), places, strict=True))
    return float(one_S @ other_S) * _scale(first) * _scale(second)


def relative_variance(mean: WidthMean) -> float:
    """The variance of a mean as a share of its square."""
    return mean.variance / mean.mean**2


def _scale(mean: WidthMean) -> float:
    """What makes the influences as long as the relative standard error."""
    length = float(mean.influence_S @ mean.influence_S) ** 0.5
    return relative_variance(mean) ** 0.5 / length if length > 0 else 0.0


def ratio_estimates(
    top: pd.DataFrame, bottom: pd.DataFrame, level: float, y: str = "fvu_test"
) -> list[Estimate]:
    """Ratios of the means of two frames of rows, by layer: intervals that hold together for all of them.

    On the log scale, paired over nets (`log_ratio`). Layers that one of the frames lacks are left out, and so
    are those whose mean is not above 0.
    """
    sides = [
        {int(group["layer"]): rows for group, rows in groups(_known(frame, y), ["layer"])}
        for frame in (top, bottom)
    ]
    layers = [
        layer for layer in sides[0] if layer in sides[1] and all(rows[layer][y].mean() > 0 for rows in sides)
    ]
    logs = {layer: log_ratio(sides[0][layer], sides[1][layer], y) for layer in layers}
    ends = {layer: mean_interval(log, level, len(layers)) for layer, log in logs.items()}
    return [_exp(layer, logs[layer].mean, *ends[layer]) for layer in layers]


def _known(frame: pd.DataFrame, y: str) -> pd.DataFrame:
    rows = measured(each_once(frame, y), y)
    return where(rows, np.isfinite(rows[y].to_numpy(dtype=np.float64)))


def _exp(layer: int, log: float, low: float, high: float) -> Estimate:
    return Estimate(layer, float(np.exp(log)), float(np.exp(low)), float(np.exp(high)))
