"""The two models of a width limit, fitted to the means and to every bootstrap of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from espalier.analysis.limits.intervals import tail_probability
from espalier.analysis.limits.powerlaw import PLATEAU_ALPHAS, POWER_ALPHAS, Floats, PowerFit, aicc, fit_power
from espalier.analysis.limits.resample import WidthMean


@dataclass(frozen=True, eq=False)
class Candidate:
    """One model: its fit to the means (`point`, B = 1), to the bootstraps (`draws`) and their AICc."""

    model: str
    point: PowerFit
    draws: PowerFit
    aicc: float
    aicc_B: Floats
    logmeans_BW: Floats
    freedom_W: Floats
    level: float

    @property
    def tail(self) -> float:
        """Share of the draws beyond each edge of the curve's band: that of an interval of alpha from them."""
        return tail_probability(self.draws.alpha_B, self.logmeans_BW, self.freedom_W, self.level)

    @property
    def at_edge(self) -> bool:
        """Whether alpha sits at the end of the range that was searched."""
        grid = PLATEAU_ALPHAS if self.model == "power+plateau" else POWER_ALPHAS
        alpha = self.point.alpha_B[0]
        return bool(alpha < grid[0] + 1e-6 or alpha > grid[-1] - 1e-6)


def fit_candidate(
    means: Sequence[WidthMean], draws_BW: Floats, level: float, *, with_plateau: bool
) -> Candidate:
    """Fit one model to the means of the widths and to their bootstraps `[B, W]`."""
    width_W = np.array([m.width for m in means], dtype=np.float64)
    mean_W, seeds_W = np.array([m.mean for m in means]), np.array([float(m.seeds) for m in means])
    every = fit_power(width_W, np.vstack([mean_W, draws_BW]), seeds_W, plateau=with_plateau)
    point, draws = every.part(slice(0, 1)), every.part(slice(1, None))
    parameters = 4 if with_plateau else 3  # alpha, a, the noise, and c
    nets, within = int(seeds_W.sum()), scatter(means)
    return Candidate(
        model="power+plateau" if with_plateau else "power",
        point=point,
        draws=draws,
        aicc=float(aicc(point.misfit_B, within, nets, parameters)[0]),
        aicc_B=aicc(draws.misfit_B, within, nets, parameters),
        logmeans_BW=np.log(draws_BW),
        freedom_W=np.array([m.freedom for m in means]),
        level=level,
    )


def select_draws(candidates: Sequence[Candidate]) -> PowerFit:
    """The draws of the model with the lower AICc, chosen anew in each bootstrap.

    A band from the chosen model's draws alone takes the choice for granted and covers too rarely
    (Efron 2014, Estimation and Accuracy After Model Selection).
    """
    best_B = np.argmin([candidate.aicc_B for candidate in candidates], axis=0)

    def pick(name: str) -> Floats:
        return np.choose(best_B, [getattr(candidate.draws, name) for candidate in candidates])

    return PowerFit(pick("alpha_B"), pick("a_B"), pick("c_B"), pick("misfit_B"))


def scatter(means: Sequence[WidthMean]) -> float:
    """Sum of squares of the nets about the mean of their width, relative to it."""
    return float(sum(m.seeds * (m.seeds - 1) * m.variance / m.mean**2 for m in means))
