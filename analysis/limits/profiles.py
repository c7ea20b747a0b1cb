"""Intervals of an exponent and of a limit, from the profile of the misfit over both models.

A value is in the interval if the best curve that has it fits hardly worse than the best of all curves. Both
models stand in one family, `y(w) = c + a w^-alpha` with `a >= 0` and `c >= 0`, where c is free only for
`alpha > 0`: a rising curve has no limit. So an exponent is in the interval if it is plausible with *some*
limit, none among them, and no choice of a model is taken for granted. (A bootstrap that chooses the model
anew in each draw takes c for 0 in most of them where c is real but small. Its exponents are too low.)

**How much worse.** With the other parameters at their best, the rise of the misfit is the square of one
linear combination of the widths' residuals: the derivative of the curve in the value that is tried, less what
the other parameters can do in its place. Its variance is the sum of the widths' own, each known from the nets
of that width alone, so that noise need not be equal over the widths: a sandwich, as Rotnitzky and Jewell
(1990) have it for tests of scores. The rise may be `t^2` times that variance, with Student's t of the
Welch-Satterthwaite degrees of freedom. This inverts a test (as Fieller 1954 does for ratios) and resamples
nothing: a bootstrap of three nets knows three values.

Legend: W widths, G values that are tried, A exponents that are tried beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from espalier.analysis.limits.image_parts import ImageParts
from espalier.analysis.limits.powerlaw import PLATEAU_ALPHAS, POWER_ALPHAS, Floats, PowerFit
from espalier.analysis.limits.resample import WidthMean

RISING = np.linspace(POWER_ALPHAS[0], 0.0, 81)[:-1]
FALLING = np.geomspace(PLATEAU_ALPHAS[0], PLATEAU_ALPHAS[-1], 240)
LIMITS = np.concatenate([[0.0], np.geomspace(1e-6, 1 - 1e-6, 120)])
"""Limits that are tried, as shares of the greatest mean: where a limit is reached, means lie about it."""
_NEAR = np.linspace(-3.0, 3.0, 61)


@dataclass(frozen=True, eq=False)
class RelativeMeans:
    """The means of the widths, as a fit of their relative residuals sees them, each `[W]`.

    Widths are multiples of the narrowest, of which `first` is the logarithm.
    """

    first: float
    logw_W: Floats
    y_W: Floats
    seeds_W: Floats
    variance_W: Floats
    freedom_W: Floats
    images: ImageParts | None = None

    @classmethod
    def of(cls, means: Sequence[WidthMean], images: ImageParts | None = None) -> RelativeMeans:
        """Of the means over nets; variances become those of the relative residuals."""
        logw_W = np.log([float(m.width) for m in means])
        y_W = np.array([m.mean for m in means])
        variance_W = np.array([m.variance for m in means]) / y_W**2
        seeds_W, freedom_W = np.array([[m.seeds, m.freedom] for m in means], dtype=np.float64).T
        return cls(float(logw_W[0]), logw_W - logw_W[0], y_W, seeds_W, variance_W, freedom_W, images)

    def variance(self, weight_GW: Floats) -> tuple[Floats, Floats, Floats]:
        """The variance of weighted sums of relative residuals, its degrees of freedom and the images' part.

        Each `[G]`; over nets, and over images where they are known: then the sum of both parts, less what
        both count, and no less than one of them.
        """
        share_GW = weight_GW**2 * self.variance_W
        total_G, spread_G = share_GW.sum(axis=1), (share_GW**2 / self.freedom_W).sum(axis=1)
        of_images_G = np.zeros_like(total_G)
        if self.images is not None:
            of_images_G, twice_G = self.images.variance(weight_GW)
            spread_G = spread_G + of_images_G**2 / self.images.freedom
            total_G = np.max([total_G + of_images_G - twice_G, total_G, of_images_G], axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):  # without variance there is no freedom
            return total_G, total_G**2 / spread_G, of_images_G

    def powers(self, alpha_G: Floats) -> Floats:
        """The relative curves `w^-alpha / y`, `[G, W]`, with widths as multiples of the narrowest."""
        return np.exp(-alpha_G[:, None] * self.logw_W) / self.y_W

    def allowed(self, slope_GW: Floats, others: Sequence[Floats], level: float) -> tuple[Floats, Floats]:
        """By how much the misfit may rise, and its second derivative over 2 along `slope_GW`, each `[G]`.

        Args:
            slope_GW: Derivative of the relative curves in the value that is tried, up to a factor.
            others: Their derivatives in the other parameters, `[G, W]` each.
            level: Coverage.
        """
        own_GW = less(slope_GW, others, self.seeds_W)
        norm_G = (self.seeds_W * own_GW**2).sum(axis=1)
        total_G, freedom_G, _ = self.variance(self.seeds_W * own_GW)
        with np.errstate(invalid="ignore", divide="ignore"):  # without variance nothing is allowed
            rise_G = stdtrit(freedom_G, (1 + level) / 2) ** 2 * total_G / norm_G
        return np.where(total_G > 0, np.nan_to_num(rise_G), 0.0), norm_G


def less(slope_GW: Floats, others: Sequence[Floats], seeds_W: Floats) -> Floats:
    """What the weighted projection on the other derivatives leaves (Gram-Schmidt)."""
    basis: list[Floats] = []
    for column_GW in (*others, slope_GW):
        for along in basis:
            column_GW = column_GW - along * (seeds_W * along * column_GW).sum(axis=1, keepdims=True)
        norm = np.sqrt((seeds_W * column_GW**2).sum(axis=1, keepdims=True))
        basis.append(column_GW / np.where(norm > 0, norm, 1.0))
        slope_GW = column_GW
    return slope_GW


def alpha_interval(
    means: Sequence[WidthMean],
    models: Sequence[PowerFit],
    chosen: PowerFit,
    plateau: bool | None,
    level: float,
    images: ImageParts | None = None,
) -> tuple[float, float]:
    """The exponents that are plausible, the fitted one among them.

    Where the nets do not bound it, an end is that of the range searched: -3 (with a forced limit 0.02) and 6.

    Args:
        means: The means of the widths.
        models: The fits of the models to them.
        chosen: That one of which the exponent is told.
        plateau: Whether there is a limit; None where both may be.
        level: Coverage.
        images: What the held-out images add; None where that is left out.
    """
    seen, least = RelativeMeans.of(means, images), min(float(model.misfit_B[0]) for model in models)
    tried = [FALLING] if plateau else [RISING, np.zeros(1), FALLING]
    tried += [_around(seen, model, level) for model in models]
    alpha_G = np.unique(np.concatenate(tried))
    alpha_G = alpha_G[alpha_G >= tried[0][0]]
    over_G = _over(seen, alpha_G, least, level, limited=plateau is not False)
    return _ends(alpha_G, over_G, float(chosen.alpha_B[0]))


def alpha_response(means: Sequence[WidthMean], model: PowerFit) -> Floats:
    """The derivative of the fitted exponent in the logarithm of each width's mean, `[W]`."""
    seen = RelativeMeans.of(means)
    x_GW, one_GW = seen.powers(model.alpha_B), 1 / seen.y_W[None]
    others = [x_GW, one_GW] if model.c_B[0] > 0 else [x_GW]
    factor = model.a_B[0] * np.exp(-model.alpha_B[0] * seen.first)
    own_W = seen.seeds_W * less(-factor * seen.logw_W * x_GW, others, seen.seeds_W)[0]
    norm = float((own_W**2 / seen.seeds_W).sum())
    return own_W / norm if norm > 0 else own_W  # a level curve has no exponent to move


def images_share(means: Sequence[WidthMean], model: PowerFit, images: ImageParts) -> float:
    """The share of the fitted exponent's squared error that the draw of the held-out images has."""
    seen = RelativeMeans.of(means, images)
    total_G, _, of_images_G = seen.variance(alpha_response(means, model)[None])
    return float(of_images_G[0] / total_G[0]) if total_G[0] > 0 else np.nan


def _around(seen: RelativeMeans, model: PowerFit, level: float) -> Floats:
    """Exponents near the fitted one, as close to one another as nets can tell them apart."""
    x_GW, one_GW = seen.powers(model.alpha_B), 1 / seen.y_W[None]
    others = [x_GW, one_GW] if model.c_B[0] > 0 else [x_GW]
    factor = model.a_B[0] * np.exp(-model.alpha_B[0] * seen.first)
    rise_G, norm_G = seen.allowed(-factor * seen.logw_W * x_GW, others, level)
    step = np.sqrt(rise_G[0] / norm_G[0]) if norm_G[0] > 0 else 0.0
    return np.clip(model.alpha_B[0] + step * _NEAR, RISING[0], FALLING[-1])


def _over(seen: RelativeMeans, alpha_G: Floats, least: float, level: float, *, limited: bool) -> Floats:
    """How far the misfit of each exponent's best curve is above what it may be; with limits if `limited`."""
    x_GW = seen.powers(alpha_G)
    one_GW = np.broadcast_to(1 / seen.y_W, x_GW.shape)
    plain_G, slope_GW = _misfit(seen, [x_GW]), -seen.logw_W * x_GW
    over_G = plain_G - least - seen.allowed(slope_GW, [x_GW], level)[0]
    if not limited:
        return over_G
    a_G, c_G = _both(seen, x_GW, one_GW)
    free_G = (a_G > 0) & (c_G > 0) & (alpha_G > 0)
    rise_G = seen.allowed(slope_GW, [x_GW, one_GW], level)[0]
    over_G = np.where(free_G, _misfit(seen, [x_GW, one_GW]) - least - rise_G, over_G)
    # The best curve is the limit alone, at every width: whatever its exponent, it is that of exponent 0.
    flat_G = (a_G <= 0) & (alpha_G > 0)
    if flat_G.any():
        flat = _over(seen, np.zeros(1), least, level, limited=False)[0]
        over_G = np.where(flat_G, flat, over_G)
    return over_G


def _misfit(seen: RelativeMeans, columns: Sequence[Floats]) -> Floats:
    """The weighted squares that the columns leave of a residual of 1 at every width."""
    rest_GW = less(np.ones_like(columns[0]), columns, seen.seeds_W)
    return (seen.seeds_W * rest_GW**2).sum(axis=1)


def _both(seen: RelativeMeans, x_GW: Floats, one_GW: Floats) -> tuple[Floats, Floats]:
    """The best a and c of each exponent, up to factors above 0."""
    ones_GW = np.ones_like(x_GW)
    return tuple(
        (seen.seeds_W * ones_GW * less(column, [other], seen.seeds_W)).sum(axis=1)
        for column, other in ((x_GW, one_GW), (one_GW, x_GW))
    )


def limit_interval(
    means: Sequence[WidthMean],
    plateau: PowerFit,
    chosen: PowerFit,
    level: float,
    images: ImageParts | None = None,
) -> tuple[float, float]:
    """The limits that are plausible, the fitted one among them, for a curve that falls.

    The upper end is above 0 wherever nets differ, also where the curve bends downwards and every limit is
    worse than none: there a bootstrap has c = 0 in all of its draws, which is no evidence (Andrews 2000).

    Args:
        means: The means of the widths.
        plateau: The fit of the model with a limit.
        chosen: That one of which the limit is told.
        level: Coverage.
        images: What the held-out images add; None where that is left out.
    """
    seen = RelativeMeans.of(means, images)
    limit_G = np.unique([*(LIMITS * seen.y_W.max()), *_around_limit(seen, plateau, level)])
    alpha_A = np.unique([*FALLING, *_around(seen, plateau, level)])
    alpha_A = alpha_A[alpha_A >= FALLING[0]]
    misfit_G, alpha_G, flat_G = _beside_limits(seen, limit_G, alpha_A)
    one_GW = np.broadcast_to(1 / seen.y_W, (len(limit_G), len(seen.y_W)))
    rise_G = np.where(flat_G, seen.allowed(one_GW, [], level)[0], _allowed_limit(seen, alpha_G, level)[0])
    return _ends(limit_G, misfit_G - plateau.misfit_B[0] - rise_G, float(chosen.c_B[0]))


def _beside_limits(
    seen: RelativeMeans, limit_G: Floats, alpha_A: Floats
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Of each limit the least misfit, the exponent that has it, and whether the limit alone does (a = 0).

    A limit may be above some of the means, which then fall short of it by chance.
    """
    x_AW, rest_GW = seen.powers(alpha_A), 1 - limit_G[:, None] / seen.y_W
    cross_GA = np.maximum((seen.seeds_W * rest_GW) @ x_AW.T, 0.0)
    norm_A = (seen.seeds_W * x_AW**2).sum(axis=1)
    misfit_GA = (seen.seeds_W * rest_GW**2).sum(axis=1)[:, None] - cross_GA**2 / norm_A
    best_G, every_G = misfit_GA.argmin(axis=1), np.arange(len(limit_G))
    return misfit_GA[every_G, best_G], alpha_A[best_G], cross_GA[every_G, best_G] <= 0


def _allowed_limit(seen: RelativeMeans, alpha_G: Floats, level: float) -> tuple[Floats, Floats]:
    x_GW = seen.powers(alpha_G)
    return seen.allowed(np.broadcast_to(1 / seen.y_W, x_GW.shape), [x_GW, -seen.logw_W * x_GW], level)


def _around_limit(seen: RelativeMeans, plateau: PowerFit, level: float) -> Floats:
    rise_G, norm_G = _allowed_limit(seen, plateau.alpha_B, level)
    step = np.sqrt(rise_G[0] / norm_G[0]) if norm_G[0] > 0 else 0.0
    return np.clip(plateau.c_B[0] + step * _NEAR, 0.0, LIMITS[-1] * seen.y_W.max())


def _ends(value_G: Floats, over_G: Floats, point: float) -> tuple[float, float]:
    """The least and the greatest value that is not over, between those tried by a straight line."""
    within = np.flatnonzero(over_G <= 0)
    if not len(within):
        return point, point
    low, high = _crossing(value_G, over_G, within[0], -1), _crossing(value_G, over_G, within[-1], 1)
    return min(low, point), max(high, point)


def _crossing(value_G: Floats, over_G: Floats, last: int, step: int) -> float:
    """Where it turns over between the last value that is not and the next one."""
    beyond = last + step
    if not 0 <= beyond < len(value_G):
        return float(value_G[last])
    share = over_G[last] / (over_G[last] - over_G[beyond])
    return float(value_G[last] + share * (value_G[beyond] - value_G[last]))
