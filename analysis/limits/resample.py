"""Means per width with the error that comes from the nets, and their bootstrap over nets.

The rows of a pair table are not independent: each net has a row with every partner, as source and
as target. What varies is the draw of the nets (seeds), so nets are what is resampled.

Legend: R rows, S nets (seeds) of one width, W widths, B bootstraps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from espalier.analysis.limits.partial_pairs import partial_variance
from espalier.analysis.limits.selection import comparable, measured, narrower_width, net_codes

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class WidthMean:
    """The mean of one measure at one width.

    Attributes:
        width: The width.
        mean: Mean over rows, in the unit of the measure.
        variance: Squared standard error of `mean` over draws of the nets; NaN for fewer than 2 nets.
        influence_S: What each net adds to the mean to first order; sums to zero.
        rows: Number of rows.
        freedom: Degrees of freedom of `variance`: S - 1, or fewer where the pairs' noise was taken out of it
            or only some of the pairs are there.
    """

    width: int
    mean: float
    variance: float
    influence_S: Floats
    rows: int
    freedom: float

    @property
    def seeds(self) -> int:
        """S, the number of nets."""
        return len(self.influence_S)


def mean_over_nets(width: int, y_R: Floats, nets_R: Sequence[NDArray[np.int64]]) -> WidthMean:
    """Mean of rows that share nets, with the variance that the draw of the nets gives it.

    The influence of a net is its jackknife pseudo-value: S times the mean less (S-1) times the mean of
    the rows without it. Pair rows so follow both their nets: this is the first-order term of a
    bootstrap in which the weights of a row's two nets multiply.

    For `y_ij = m + s_i + t_j + e_ij` over all i != j the jackknife is exact in the nets' own
    effects s + t, but counts the pairs' noise e 2(S-1)/(S-2) times (3 times for 4 seeds). From 4 seeds on
    the noise of the pairs is estimated by what the additive effects leave over (S(S-3)/2 degrees
    of freedom) and the surplus subtracted (Arvesen 1969, jackknife of U-statistics), down to that noise's
    own part at least. What is left errs on the safe side: the variance is 7 % too large where the nets'
    effects are twice the pairs' noise, twice too large where the nets have no effect at all.

    Where only some of the pairs are there (`graft.partners`, or a sweep that runs), the jackknife counts
    with a net's effect those of its few partners too, and is 1.3 to 2.4 times too large. From 4 seeds on the
    variance is then that of `analysis.limits.partial_pairs`, which knows which rows share a net.

    Args:
        width: The width, kept as given.
        y_R: The measure.
        nets_R: Integer codes of the net, or of the two nets, of each row.
    """
    seeds, sides = _sides(nets_R)
    influence_S = _influence(y_R, sides, seeds)
    variance, freedom = _variance(y_R[None], sides, [influence_S])
    return WidthMean(width, float(y_R.mean()), variance, influence_S, len(y_R), freedom)


def summed_variance(y_KR: Floats, nets_R: Sequence[NDArray[np.int64]]) -> float:
    """The sum of the variances of K means of the same rows, `WidthMean.variance` of each.

    The noise of the pairs is taken out of the sum: of each variance alone it is hardly known, and where it is
    set to its least, too large on average.
    """
    seeds, sides = _sides(nets_R)
    influences = [_influence(y_R, sides, seeds) for y_R in y_KR]
    return _variance(y_KR, sides, influences)[0]


def _sides(nets_R: Sequence[NDArray[np.int64]]) -> tuple[int, NDArray[np.int64]]:
    """How many nets there are, and the number of each row's net, or of its two, from 0."""
    codes, flat = np.unique(np.concatenate(nets_R), return_inverse=True)
    return len(codes), np.reshape(flat, (len(nets_R), -1))


def _influence(y_R: Floats, sides: NDArray[np.int64], seeds: int) -> Floats:
    touched_S, count_S = _touched(y_R, sides, seeds)
    with np.errstate(invalid="ignore", divide="ignore"):  # a net that is in every row: NaN, refused later
        rest_S = (y_R.sum() - touched_S) / (len(y_R) - count_S)
    pseudo_S = seeds * float(y_R.mean()) - (seeds - 1) * rest_S
    return pseudo_S - pseudo_S.mean()


def _variance(y_KR: Floats, sides: NDArray[np.int64], influences: Sequence[Floats]) -> tuple[float, float]:
    """The variances of some means of the same nets, summed, and the degrees of freedom of one of them."""
    seeds = len(influences[0])
    if seeds < 2:
        return np.nan, 0.0
    centred_KR = y_KR - y_KR.mean(axis=1, keepdims=True)
    partial = partial_variance(centred_KR, sides, seeds)
    if partial is not None:
        return partial
    return _of_influences(influences, centred_KR, sides)


LEAST_FREEDOM = 2 / 3
"""Share of the nets' degrees of freedom that a variance keeps at least when the pairs' noise is taken out."""


def _of_influences(
    influences: Sequence[Floats], centred_KR: Floats, sides: NDArray[np.int64]
) -> tuple[float, float]:
    """The jackknife's variances, summed, less the surplus of the pairs' noise; and their degrees of freedom.

    Those of a difference of two estimates (Satterthwaite 1946). Where the noise rules, the difference is set
    to its least, and is too large rather than too small, so that they need not fall without end.
    """
    seeds = len(influences[0])
    noises = [_pair_noise(y_R, sides, one) for y_R, one in zip(centred_KR, influences, strict=True)]
    whole = sum(float(one @ one) for one in influences) / (seeds * (seeds - 1))
    noise = sum(one for one in noises if one is not None)
    if noise == 0:
        return whole, seeds - 1.0
    surplus = 2 * noise / ((seeds - 1) * (seeds - 2))
    variance = max(whole - surplus, 2 * noise / (seeds * (seeds - 1)))
    spread = whole**2 / (seeds - 1) + surplus**2 / (seeds * (seeds - 3) / 2)
    return variance, float(np.clip(variance**2 / spread, LEAST_FREEDOM * (seeds - 1), seeds - 1))


def _touched(y_R: Floats, sides: NDArray[np.int64], seeds: int) -> tuple[Floats, NDArray[np.integer]]:
    """Sum and number of the rows that each net has a part in; a net's row with itself counts once."""
    other_R = sides[-1] != sides[0]
    first, second = sides[0], sides[-1][other_R]
    total_S = np.bincount(first, y_R, seeds) + np.bincount(second, y_R[other_R], seeds)
    return total_S.astype(np.float64), np.bincount(first, minlength=seeds) + np.bincount(
        second, minlength=seeds
    )


def _pair_noise(centred_R: Floats, sides: NDArray[np.int64], influence_S: Floats) -> float | None:
    """Variance of an unordered pair's mean about its nets' additive effects.

    None unless all unordered pairs of at least 4 nets are there, each equally often, and no net
    with itself: then no part of the noise can be told from the nets' effects without a model.
    """
    seeds = len(influence_S)
    if len(sides) < 2 or seeds < 4:
        return None
    sum_SS, count_SS = np.zeros((seeds, seeds)), np.zeros((seeds, seeds))
    np.add.at(sum_SS, (sides[0], sides[1]), centred_R)
    np.add.at(count_SS, (sides[0], sides[1]), 1)
    upper = np.triu_indices(seeds, 1)
    count = (count_SS + count_SS.T)[upper]
    if np.trace(count_SS) or count.min() != count.max():
        return None
    fitted = (influence_S[upper[0]] + influence_S[upper[1]]) / 2
    left = (sum_SS + sum_SS.T)[upper] / count - fitted
    return float(left @ left) / (seeds * (seeds - 3) / 2)


def width_means(frame: pd.DataFrame, y: str) -> list[WidthMean]:
    """Means of the column `y` of the frame, one per width (of a pair the narrower one), narrowest first."""
    return _MeasureOfNets.of(frame, y).width_means(slice(None))


@dataclass(frozen=True, eq=False)
class _MeasureOfNets:
    """What means over nets read of a frame: of each row its width, its measure and its nets."""

    width_R: NDArray[np.int64]
    y_R: Floats
    nets_R: list[NDArray[np.int64]]

    @classmethod
    def of(cls, frame: pd.DataFrame, y: str) -> _MeasureOfNets:
        codes = [code.to_numpy() for code in net_codes(frame)]
        return cls(narrower_width(frame), frame[y].to_numpy(dtype=np.float64), codes)

    def width_means(self, rows: NDArray[np.int64] | slice) -> list[WidthMean]:
        """The means of some rows, one per width, narrowest first."""
        width_R, y_R, nets_R = self.width_R[rows], self.y_R[rows], [net_R[rows] for net_R in self.nets_R]
        here_W = [(int(width), width_R == width) for width in np.unique(width_R)]
        return [mean_over_nets(width, y_R[here], [net_R[here] for net_R in nets_R]) for width, here in here_W]


def summarise(frame: pd.DataFrame, y: str, by: Sequence[str]) -> pd.DataFrame:
    """Mean and standard error over nets of `y`, a row per group of `by` and width.

    The rows are chosen as in `analysis.limits.selection.comparable` and `measured`. Columns: those of `by`,
    `width`, `mean`, `error` (one standard error; NaN if fewer than 2 nets), `freedom` (the degrees of freedom
    with which it is known) and `nets`. `width` is the narrower one of a pair's two.
    """
    rows = measured(comparable(frame, by), y)
    nets = _MeasureOfNets.of(rows, y)
    lines = [
        {
            **group,
            "width": m.width,
            "mean": m.mean,
            "error": float(np.sqrt(m.variance)),
            "freedom": m.freedom,
            "nets": m.seeds,
        }
        for group, part in places(rows, by)
        for m in nets.width_means(part)
    ]
    return pd.DataFrame(lines, columns=[*by, "width", "mean", "error", "freedom", "nets"])


def groups(frame: pd.DataFrame, by: Sequence[str]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """The groups of a frame in sorted order, each with its values of `by`; one group if `by` is empty."""
    if not by or frame.empty:
        return [({}, frame)] if len(frame) else []
    return [(group, frame.take(part)) for group, part in places(frame, by)]


def places(frame: pd.DataFrame, by: Sequence[str]) -> list[tuple[dict[Any, Any], NDArray[np.int64]]]:
    """As `groups`, with the places of a group's rows in the frame for the rows themselves."""
    if not by or frame.empty:
        return [({}, np.arange(len(frame)))] if len(frame) else []
    codes_R = frame.groupby(list(by), sort=True, dropna=False).ngroup().to_numpy()
    order_R = np.argsort(codes_R, kind="stable")
    parts = np.split(order_R, np.flatnonzero(np.diff(codes_R[order_R])) + 1)
    named = frame[list(by)].iloc[[part[0] for part in parts]].to_dict("records")
    return list(zip(named, parts, strict=True))


def bootstrap_means(means: Sequence[WidthMean], bootstraps: int, seed: int) -> Floats:
    """Means of resampled nets, `[B, W]`: S seeds are drawn with replacement within each width.

    The deviation of a draw is scaled so that its variance is `WidthMean.variance`: resampling S values is
    too narrow by (S-1)/S, and a pair table has the surplus described in `mean_over_nets`. Weights of two
    nets are multiplied to first order only: the exact product would need the pair of a net with itself
    whenever a seed is drawn twice, and such a pair is another quantity (the `self` null); left out, a
    third of the draws of 4 seeds would rest on one pair of nets or none. The mean is moved on the log
    scale, and so stays positive.
    """
    rng = np.random.default_rng(seed)
    columns = []
    for m in means:
        raw = float(m.influence_S @ m.influence_S) / m.seeds**2
        scale = np.sqrt(m.variance / raw) if raw > 0 else 0.0
        counts_BS = rng.multinomial(m.seeds, np.full(m.seeds, 1 / m.seeds), size=bootstraps)
        columns.append(m.mean * np.exp(scale * (counts_BS / m.seeds) @ m.influence_S / m.mean))
    return np.stack(columns, axis=1)
