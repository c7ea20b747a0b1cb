"""How large a limit c could hide where the fit puts it at 0: the end of what its parameter may be.

There the bootstrap is no guide (Andrews 2000, "Inconsistency of the bootstrap when a parameter is on the
boundary of the parameter space"): where a curve bends downwards all its draws are 0, and an interval from 0
to 0 would claim that no limit at all is possible.

Legend: C limits that are tried, G exponents, W widths.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from espalier.analysis.limits.powerlaw import Floats
from espalier.analysis.limits.resample import WidthMean

ALPHAS = np.geomspace(0.02, 6.0, 400)
LIMITS = np.concatenate([[0.0], np.geomspace(1e-6, 1.0, 400)])
"""Limits that are tried, as shares of the least mean."""


def floor_bound(means: Sequence[WidthMean], within: float, level: float) -> float:
    """The largest c whose best curve `c + a w^-alpha` fits hardly worse than that with c = 0.

    By the profile of the misfit: it may rise by t^2 times the variance of the nets about their width's mean,
    with Student's t of `(1 - level) / 2` above, and the degrees of freedom of all widths. The
    misfit is held against that of c = 0 and not of a negative c: the bound is never 0, and rather too large.

    Args:
        means: The means of the widths.
        within: Sum of squares of the nets about the mean of their width, relative to it.
        level: Coverage of the two-sided interval whose upper end this is.
    """
    width_W, y_W = np.array([float(m.width) for m in means]), np.array([m.mean for m in means])
    seeds_W = np.array([float(m.seeds) for m in means])
    between = seeds_W.sum() - len(means)
    limit_C = LIMITS * y_W.min()
    misfit_C = _profile(width_W, y_W, seeds_W, limit_C)
    freedom = sum(m.freedom for m in means)
    allowed = stdtrit(freedom, (1 + level) / 2) ** 2 * within / between
    return float(limit_C[misfit_C <= misfit_C[0] + allowed].max())


def _profile(width_W: Floats, y_W: Floats, seeds_W: Floats, limit_C: Floats) -> Floats:
    """For each c the least sum of seeds x squared relative residual over a and alpha."""
    x_GW = np.exp(-ALPHAS[:, None] * np.log(width_W / width_W[0])) / y_W
    rest_CW = 1 - limit_C[:, None] / y_W
    cross_CG = (seeds_W * rest_CW) @ x_GW.T
    norm_G = (seeds_W * x_GW**2).sum(axis=1)
    return ((seeds_W * rest_CW**2).sum(axis=1)[:, None] - cross_CG**2 / norm_G).min(axis=1)
