"""Are the channels of nets exchangeable? Statistics and p-values of random partitions (plain Python).

Legend: K nets (or groups of channels), P partitions; T the statistic of one partition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, pvariance
from typing import NamedTuple

FVU_FLOOR = 1e-9
"""A smaller FVU counts as this one: log needs a positive number, and less is rounding."""

TIE = 1e-9
"""Statistics (natural logarithms) that differ by less are equal: rounding must not decide a comparison."""

TAIL = 0.05
"""Share of the random partitions below, and above, the interval of a ratio."""


class Verdict(NamedTuple):
    """Columns of table `exchangeability`."""

    fvu_one: float
    fvu_null: float
    ratio: float
    ratio_low: float
    ratio_high: float
    p_value: float
    p_spread: float


def logs(fvus: Sequence[float]) -> list[float]:
    """Natural logarithms."""
    return [math.log(max(fvu, FVU_FLOOR)) for fvu in fvus]


def pooled(real_K: Sequence[float], dealt_PK: Sequence[Sequence[float]]) -> Verdict:
    """T = mean log FVU; one-sided: are whole nets worse than random groups of the pool's channels?

    `p_spread` asks whether whole nets differ more from one another, by the variance of log FVU. Nets of two
    kinds can have the pool's mean, the good ones making up for the bad.

    >>> verdict = pooled([0.2, 0.2], [[0.1, 0.1], [0.1, 0.4], [0.1, 0.1]])
    >>> round(verdict.fvu_one, 3), round(verdict.fvu_null, 3), verdict.p_value, verdict.p_spread
    (0.2, 0.126, 0.5, 1.0)
    """
    real, dealt = logs(real_K), [logs(fvus) for fvus in dealt_PK]
    one, dealt_P = fmean(real), [fmean(values) for values in dealt]
    null = fmean(dealt_P)
    p_spread = share_as_large(pvariance(real), [pvariance(values) for values in dealt])
    return _verdict(one, null, [value - null for value in dealt_P], share_as_large(one, dealt_P), p_spread)


def wider_subset(real_2K: Sequence[float], dealt_P2K: Sequence[Sequence[float]]) -> Verdict:
    """T = mean log FVU of the narrow nets, the first K, less that of the wide nets' subsets; two-sided.

    Swapping the halves of a partition turns T into -T: if all channels are exchangeable T is symmetric about
    0, and |T| needs no centre that would have to be estimated. `p_spread` takes the variance within halves.
    """
    half = len(real_2K) // 2
    real, dealt = logs(real_2K), [logs(fvus) for fvus in dealt_P2K]
    one, null = fmean(real[:half]), fmean(real[half:])
    dealt_P = [fmean(values[:half]) - fmean(values[half:]) for values in dealt]
    p_value = share_as_large(abs(one - null), [abs(value) for value in dealt_P])
    within = [pvariance(values[:half]) + pvariance(values[half:]) for values in [real, *dealt]]
    return _verdict(one, null, dealt_P, p_value, share_as_large(within[0], within[1:]))


def _verdict(one: float, null: float, spread_P: Sequence[float], p_value: float, p_spread: float) -> Verdict:
    low, high = (math.exp(quantile(spread_P, share)) for share in (TAIL, 1 - TAIL))
    return Verdict(math.exp(one), math.exp(null), math.exp(one - null), low, high, p_value, p_spread)


def share_as_large(real: float, dealt_P: Sequence[float]) -> float:
    """Share of the partitions whose statistic is as large as the real one's, the real one included.

    At most t with probability t, if the real partition is as good a draw as any (Phipson & Smyth 2010).

    >>> share_as_large(2.0, [1.0, 2.0, 3.0])
    0.75
    """
    return (1 + sum(value >= real - TIE for value in dealt_P)) / (1 + len(dealt_P))


def quantile(values: Sequence[float], share: float) -> float:
    """Linear between order statistics, the i-th of n at i / (n + 1), constant beyond the first and the last.

    One more draw then lies below with probability `share`: 19 partitions have exact quantiles at 5 and 95 %.

    >>> quantile([3.0, 1.0, 2.0], 0.375)
    1.5
    """
    ordered = sorted(values)
    place = min(max(share * (len(ordered) + 1) - 1, 0.0), len(ordered) - 1.0)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
