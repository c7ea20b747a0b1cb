"""The two models of a width limit, fitted to the means and, for a band, to every bootstrap of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from espalier.analysis.limits.image_parts import ImageParts
from espalier.analysis.limits.intervals import tail_probability
from espalier.analysis.limits.powerlaw import PLATEAU_ALPHAS, POWER_ALPHAS, Floats, PowerFit, aicc, fit_power
from espalier.analysis.limits.resample import WidthMean, bootstrap_means


@dataclass(frozen=True, eq=False)
class Candidate:
    """One model: its fit to the means (`point`, B = 1) and its AICc."""

    with_plateau: bool
    point: PowerFit
    aicc: float

    @property
    def model(self) -> str:
        """Its name in tables."""
        return "power+plateau" if self.with_plateau else "power"

    @property
    def at_edge(self) -> bool:
        """Whether alpha sits at the end of the range that was searched."""
        grid = PLATEAU_ALPHAS if self.with_plateau else POWER_ALPHAS
        alpha = self.point.alpha_B[0]
        return bool(alpha < grid[0] + 1e-6 or alpha > grid[-1] - 1e-6)


@dataclass(frozen=True)
class Resampling:
    """How nets are resampled, and the blocks of images where these are known; `level` is the band's."""

    bootstraps: int
    seed: int
    level: float
    images: ImageParts | None = None

    def means(self, means: Sequence[WidthMean]) -> Floats:
        """The bootstraps of the means of the widths, `[B, W]`."""
        draws_BW = bootstrap_means(means, self.bootstraps, self.seed)
        if self.images is None:
            return draws_BW
        return draws_BW * np.exp(self.images.draws(self.bootstraps, self.seed))


@dataclass(frozen=True, eq=False)
class Draws:
    """Curves fitted to bootstraps, and the share of them beyond each edge of a band."""

    curves: PowerFit
    tail: float

    def band(self, width_N: Floats) -> tuple[Floats, Floats]:
        """Both edges, each `[N]`."""
        low, high = np.quantile(self.curves.at(width_N), [self.tail, 1 - self.tail], axis=0)
        return low, high


def fit_candidate(means: Sequence[WidthMean], *, with_plateau: bool) -> Candidate:
    """Fit one model to the means of the widths."""
    point, aicc_B = _fit(means, np.array([[m.mean for m in means]]), with_plateau)
    return Candidate(with_plateau, point, float(aicc_B[0]))


def fit_draws(
    means: Sequence[WidthMean], candidates: Sequence[Candidate], chosen: Candidate, resampling: Resampling
) -> Draws:
    """The curves of the model with the lower AICc, chosen anew in each bootstrap.

    A band from the chosen model's draws alone takes the choice for granted and covers too rarely
    (Efron 2014, Estimation and Accuracy After Model Selection). Its tail is that of an interval of alpha from
    the chosen model's draws.
    """
    draws_BW = resampling.means(means)
    fits = [_fit(means, draws_BW, candidate.with_plateau) for candidate in candidates]
    best_B = np.argmin([aicc_B for _, aicc_B in fits], axis=0)
    curves = PowerFit(
        *(
            np.choose(best_B, [getattr(fit, field.name) for fit, _ in fits])
            for field in dataclasses.fields(PowerFit)
        )
    )
    alpha_B = fits[list(candidates).index(chosen)][0].alpha_B
    freedom_W = np.array([m.freedom for m in means])
    return Draws(curves, tail_probability(alpha_B, np.log(draws_BW), freedom_W, resampling.level))


def _fit(means: Sequence[WidthMean], y_BW: Floats, with_plateau: bool) -> tuple[PowerFit, Floats]:
    """One model's fits and their AICc."""
    width_W = np.array([m.width for m in means], dtype=np.float64)
    seeds_W = np.array([float(m.seeds) for m in means])
    fits = fit_power(width_W, y_BW, seeds_W, plateau=with_plateau)
    parameters = 4 if with_plateau else 3  # alpha, a, the noise, and c
    return fits, aicc(fits.misfit_B, scatter(means), int(seeds_W.sum()), parameters)


def scatter(means: Sequence[WidthMean]) -> float:
    """Sum of squares of the nets about the mean of their width, relative to it."""
    return float(sum(m.seeds * (m.seeds - 1) * m.variance / m.mean**2 for m in means))
