"""Least-squares fits of `y(w) = c + a w^-alpha` for many bootstraps at once.

Legend: B bootstraps, W widths, G grid points of alpha.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

POWER_ALPHAS = np.linspace(-3.0, 5.0, 41)
PLATEAU_ALPHAS = np.geomspace(0.02, 6.0, 48)
"""Grids that bracket alpha; an exponent at the end of its grid is a fit that failed to find one."""

_GOLDEN = (np.sqrt(5.0) - 1) / 2
STEPS = 45
"""Shrinks a bracket of 0.4 below 1e-9."""


@dataclass(frozen=True, eq=False)
class PowerFit:
    """Fitted parameters, each `[B]`; `misfit_B` sums seeds x squared relative residual over widths."""

    alpha_B: Floats
    a_B: Floats
    c_B: Floats
    misfit_B: Floats

    def part(self, which: slice) -> PowerFit:
        """Some of the fits."""
        return PowerFit(self.alpha_B[which], self.a_B[which], self.c_B[which], self.misfit_B[which])

    def at(self, width_N: Floats) -> Floats:
        """The fitted curves at the given widths, `[B, N]`."""
        return self.c_B[:, None] + self.a_B[:, None] * np.asarray(width_N) ** -self.alpha_B[:, None]


def fit_power(
    width_W: Floats,
    y_BW: Floats,
    seeds_W: Floats,
    *,
    plateau: bool,
) -> PowerFit:
    """Fit a power law, with a plateau `c >= 0` or with c = 0.

    Minimises `sum_w seeds_w (f(w) / y_w - 1)^2`: errors of these measures are relative, and seeds weigh
    a mean by what it rests on. For a given alpha the best (a, c) is linear (variable projection,
    Golub & Pereyra 1973), so the search is over alpha alone: a grid, then golden section. The floor of
    an error is not negative; without `c >= 0`, alpha and c run off together to 0 and minus infinity. Nor is a
    with a plateau: a curve that rises to its limit is level at best, and a falling exponent would not be told
    of one that rises.

    Args:
        width_W: The widths.
        y_BW: The means of each bootstrap.
        seeds_W: The weights.
        plateau: Whether c is fitted.
    """
    logw_W = np.log(width_W) - np.log(width_W).mean()  # centred, so that a is of the size of y
    grid_G = PLATEAU_ALPHAS if plateau else POWER_ALPHAS
    best_B = _grid_misfit(np.exp(-grid_G[:, None] * logw_W), y_BW, seeds_W, plateau).argmin(axis=1)
    low_B, high_B = grid_G[np.maximum(best_B - 1, 0)], grid_G[np.minimum(best_B + 1, len(grid_G) - 1)]
    search = _Search(logw_W[:, None], 1 / np.ascontiguousarray(y_BW.T), seeds_W[:, None], plateau)
    alpha_B = _golden(search, low_B, high_B)
    a_B, c_B, misfit_B = search.linear(alpha_B)
    return PowerFit(alpha_B, a_B * np.exp(alpha_B * np.log(width_W).mean()), c_B, misfit_B)


def _grid_misfit(x_GW: Floats, y_BW: Floats, seeds_W: Floats, plateau: bool) -> Floats:
    """The misfit for every bootstrap and every alpha of the grid, `[B, G]`, by normal equations.

    They lose half the digits, which a grid can spare, and are matrix products.
    """
    r_BW, rr_BW = seeds_W / y_BW, seeds_W / y_BW**2
    u_BG, uu_BG, ur_BG = r_BW @ x_GW.T, rr_BW @ (x_GW**2).T, rr_BW @ x_GW.T
    total = seeds_W.sum()
    plain_BG = total - u_BG**2 / uu_BG
    if not plateau:
        return plain_BG
    r_B1, rr_B1 = r_BW.sum(1, keepdims=True), rr_BW.sum(1, keepdims=True)
    rest_BG, norm_BG = u_BG - ur_BG * r_B1 / rr_B1, uu_BG - ur_BG**2 / rr_B1
    c_BG = (r_B1 - ur_BG * rest_BG / norm_BG) / rr_B1
    level_B1 = total - r_B1**2 / rr_B1
    falling_BG = level_B1 - np.maximum(rest_BG, 0.0) ** 2 / norm_BG
    return np.where(c_BG > 0, falling_BG, plain_BG)


@dataclass(frozen=True, eq=False)
class _Search:
    """The least-squares problem of all bootstraps, widths first: `[W, 1]`, `[W, B]`, `[W, 1]`."""

    logw_W1: Floats
    r_WB: Floats
    seeds_W1: Floats
    plateau: bool

    def linear(self, alpha_B: Floats) -> tuple[Floats, Floats, Floats]:
        """Best a, c and the misfit for given alphas, each `[B]`."""
        r, s = self.r_WB, self.seeds_W1
        u = np.exp(-alpha_B * self.logw_W1) * r
        a = (s * u).sum(0) / (s * u * u).sum(0)
        c = np.zeros_like(a)
        if self.plateau:  # Gram-Schmidt on r keeps the digits where alpha is small
            rr = (s * r * r).sum(0)
            along = (s * u * r).sum(0) / rr
            rest = u - along * r
            a_free = (s * rest).sum(0) / (s * rest * rest).sum(0)
            c_free = (s * r).sum(0) / rr - along * a_free
            a, c = np.where(c_free > 0, a_free, a), np.maximum(c_free, 0.0)
            level = a_free <= 0
            a, c = np.where(level, 0.0, a), np.where(level, (s * r).sum(0) / rr, c)
        residual = a * u + c * r - 1
        return a, c, (s * residual * residual).sum(0)


def _golden(search: _Search, low: Floats, high: Floats) -> Floats:
    """Golden-section search of alpha in every bootstrap's own bracket at once."""
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = search.linear(left)[2], search.linear(right)[2]
    for _ in range(STEPS):
        down = at_left < at_right
        low, high = np.where(down, low, left), np.where(down, right, high)
        kept, at_kept = np.where(down, left, right), np.where(down, at_left, at_right)
        new = np.where(down, high - _GOLDEN * (high - low), low + _GOLDEN * (high - low))
        at_new = search.linear(new)[2]
        left, at_left = np.where(down, new, kept), np.where(down, at_new, at_kept)
        right, at_right = np.where(down, kept, new), np.where(down, at_kept, at_new)
    return (low + high) / 2


def aicc(misfit_B: Floats, within: float, nets: int, parameters: int) -> Floats:
    """Akaike's criterion with the small-sample term (Hurvich & Tsai 1989), Gaussian relative errors.

    The observations are the nets: `misfit_B` is what the curve leaves of the widths' means (times their
    seeds), `within` the sum of squares of the nets about their width's mean. `parameters` includes
    the noise. Relative residuals under 1e-8 are arithmetic, not evidence, so the sum has a floor.
    """
    left_B = np.maximum((misfit_B + within) / nets, 1e-16)
    return (
        nets * np.log(left_B) + 2 * parameters + 2 * parameters * (parameters + 1) / (nets - parameters - 1)
    )
