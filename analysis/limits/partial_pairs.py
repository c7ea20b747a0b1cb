"""The variance of a mean over some pairs of nets, by which rows share a net (docs/decisions/partners.md).

Legend: R rows, S nets, K measures of the same rows, P unordered pairs of nets that have rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from espalier.analysis.limits.powerlaw import Floats

LEAST_NETS = 4
"""Of fewer nets every two pairs share one, and nothing tells their effects from their mean."""


class PartialVariance(NamedTuple):
    """A squared standard error, and with how many degrees of freedom it is known."""

    variance: float
    freedom: float


def partial_variance(centred_KR: Floats, sides: NDArray[np.int64], seeds: int) -> PartialVariance | None:
    """Squared standard error of a mean over rows of which only some share nets, summed over the K measures.

    Rows without a net in common are independent, so the variance of the mean is the sum of the covariances of
    the M ordered pairs of rows that share one, a row with itself among them, over R^2. In place of
    these stand the products of the rows' deviations from their mean (Fafchamps and Gubert 2007; Aronow, Samii
    and Assenova 2015). A deviation has the mean's own error in it: where every row shares with equally
    many, the expectation of the sum is the variance times 1 - M / R^2 whatever the nets' effects and the
    pairs' noise are, and the estimate, divided by it, is unbiased.

    The estimate can fall below 0. So it is at least what the unordered pairs of nets would give if they were
    independent, which no mean over pairs goes below unless good sources are bad targets.

    It is known less well than that of S independent nets, since the sum of a net's rows holds the effects of
    its few partners too. With `(S - 1) k / (k + 2)` degrees of freedom for k = P / S pairs a net, 90 %
    intervals cover in 89 to 98 % of simulated cases (docs/decisions/partners.md).

    Args:
        centred_KR: K measures less their means.
        sides: Of each row its source and its target, `[2, R]`, numbered from 0.
        seeds: S.

    Returns:
        The variance and its degrees of freedom; None where this is not such a design: rows of one net, all
        pairs of the nets that are sources with those that are targets, fewer than 4 nets, or all rows sharing
        a net.
    """
    if len(sides) < 2 or seeds < LEAST_NETS or (sides[0] == sides[1]).any() or _complete(sides):
        return None
    pair_R = sides.min(axis=0) * seeds + sides.max(axis=0)
    of_pair_R, rows_P = np.unique(pair_R, return_inverse=True, return_counts=True)[1:]
    rows_S = np.bincount(sides.ravel(), minlength=seeds)
    total, together = centred_KR.shape[1] ** 2, int(rows_P @ rows_P)
    sharing = int(rows_S @ rows_S) - together  # two rows of the same two nets share both, and count once
    if sharing >= total:
        return None
    by_pair = by_net = 0.0
    for centred_R in centred_KR:
        net_S = np.bincount(sides[0], centred_R, seeds) + np.bincount(sides[1], centred_R, seeds)
        pair_P = np.bincount(of_pair_R, centred_R)
        by_pair += float(pair_P @ pair_P)
        by_net += float(net_S @ net_S)
    variance = max((by_net - by_pair) / (total - sharing), by_pair / (total - together))
    partners = len(rows_P) / seeds
    return PartialVariance(variance, (seeds - 1) * partners / (partners + 2))


def _complete(sides: NDArray[np.int64]) -> bool:
    """Whether every net that is a source meets every other one that is a target, in either order."""
    sources, targets = np.unique(sides[0]), np.unique(sides[1])
    both = len(np.intersect1d(sources, targets, assume_unique=True))
    possible = len(sources) * len(targets) - both - both * (both - 1) // 2
    return len(np.unique(sides.min(axis=0) * (sides.max() + 1) + sides.max(axis=0))) == possible
