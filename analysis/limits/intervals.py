"""Which percentiles of the bootstrap make an interval with the coverage that it claims."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

Floats = NDArray[np.float64]


class Mean(Protocol):
    """A mean over nets with its squared standard error, such as `analysis.limits.resample.WidthMean`."""

    @property
    def mean(self) -> float:
        """The mean."""
        ...

    @property
    def variance(self) -> float:
        """Its squared standard error."""
        ...

    @property
    def freedom(self) -> float:
        """With how many degrees of freedom the variance is known."""
        ...


def mean_interval(mean: Mean, level: float, among: int = 1) -> tuple[float, float]:
    """Student's interval of a mean over nets.

    Args:
        mean: The mean.
        level: Coverage.
        among: Number of means whose intervals are to hold together at that level (Bonferroni).
    """
    return spread_interval(mean.mean, mean.variance**0.5, mean.freedom, level, among)


def spread_interval(
    mean: float, error: float, freedom: float, level: float, among: int = 1
) -> tuple[float, float]:
    """Student's interval from a mean, its standard error and the degrees of freedom; NaN of one net.

    >>> low, high = spread_interval(1.0, 0.1, 4, 0.9)
    >>> round(low, 3), round(high, 3)
    (0.787, 1.213)
    """
    if not freedom > 0:
        return np.nan, np.nan
    half = float(stdtrit(freedom, 1 - (1 - level) / (2 * among))) * error
    return mean - half, mean + half


def tail_probability(parameter_B: Floats, logmeans_BW: Floats, freedom_W: Floats, level: float) -> float:
    """Share of the draws to leave out at either end of an interval of coverage `level`.

    The expanded percentile of Hesterberg (2015, What Teachers Should Know About the Bootstrap):
    `Phi(t)` with the quantile t of Student's distribution, since the draws' spread is itself
    estimated from few nets.

    >>> draws = np.random.default_rng(0).normal(size=(500, 1))
    >>> round(tail_probability(draws[:, 0], draws, np.array([3.0]), 0.9), 4)  # t with 3 degrees is 2.353
    0.0093
    """
    freedom = degrees_of_freedom(parameter_B, logmeans_BW, freedom_W)
    return float(ndtr(stdtrit(freedom, (1 - level) / 2)))


def degrees_of_freedom(parameter_B: Floats, logmeans_BW: Floats, freedom_W: Floats) -> float:
    """Welch-Satterthwaite degrees of freedom of a parameter's bootstrap variance.

    The parameter's variance is a sum of the widths' shares, each known with `freedom_W` of its own;
    shares come from the regression of the parameter's draws on the draws of the widths' log means.
    """
    centred_BW = logmeans_BW - logmeans_BW.mean(axis=0)
    slope_W = np.linalg.lstsq(centred_BW, parameter_B - parameter_B.mean(), rcond=None)[0]
    share_W = slope_W**2 * centred_BW.var(axis=0)
    total = share_W.sum()
    if total == 0:  # draws that do not vary: any quantile is the same
        return float(freedom_W.sum())
    return float(total**2 / (share_W**2 / freedom_W).sum())
