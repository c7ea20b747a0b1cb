"""Intervals by the profile: a seeded part of the grid of `python -m benchmarks coverage`, and its laws."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.simulated.coverage import LEAST, Case, cases, covered, intervals, sets
from espalier import fit_width_limit
from espalier.analysis.limits.profiles import alpha_response
from espalier.analysis.limits.resample import mean_over_nets, width_means
from espalier.analysis.limits.width_limit import fit_groups, fit_means
from tests.analysis.limits.test_width_limit import pairs

SETS = 80
DOWN = 3 * (LEAST * (1 - LEAST) / SETS) ** 0.5
HARD = [
    Case(0.5, 3, 4, "large", "gaussian"),
    Case(0.5, 4, 4, "small", "unequal"),
    Case(1.0, 4, 4, "small", "skewed"),
    Case(1.0, 4, 5, "none", "gaussian"),
]
"""Those where the bootstrap that chose its model anew had 0.74 to 0.84, and the one of least coverage."""


@pytest.mark.parametrize("case", HARD, ids=lambda case: f"{case.seeds}-{case.widths}-{case.plateau}")
def test_exponents_and_plateaus_are_covered_where_a_real_plateau_is_hardly_seen(case):
    """No more than 3 binomial deviations below what the whole grid is held to."""
    row = covered(case, SETS, seed=1)
    assert row["alpha_covers"] >= LEAST - DOWN
    assert row["c_covers"] >= LEAST - DOWN
    assert row["alpha_high"] < 6  # the range searched: an interval that says nothing would cover too


def test_a_rising_curve_is_not_told_to_be_level_because_of_a_plateau():
    row = covered(Case(-0.31, 3, 5, "none", "gaussian"), SETS, seed=2)
    assert row["reaches_0"] <= 0.02
    assert row["alpha_covers"] >= LEAST - DOWN


def test_the_grid_simulates_the_intervals_that_fits_have():
    drawn = list(sets(HARD[1], 3, seed=0))
    for means, (alpha, limit) in zip(drawn, intervals(drawn), strict=True):
        fit = fit_means({}, means, level=0.9, bootstraps=1)
        assert fit.alpha_interval == pytest.approx(alpha)
        assert fit.limit_interval == pytest.approx(limit)


def test_the_grid_has_every_case():
    grid = list(cases())
    assert len(grid) == 2 * 3 * 3 * 4 * 3 + 3 * 3 * 3
    assert len(set(grid)) == len(grid)
    assert set(HARD) < set(grid)
    assert Case(1.0, 3, 4, "large", "skewed").c == pytest.approx(0.6 / 0.4 / 32)


def test_without_a_plateau_by_assumption_the_interval_is_shorter_and_lies_in_the_other():
    frame = pairs(lambda w: 0.02 + w**-0.7, net=0.08, noise=0.04, seed=5)
    free, assumed = (
        fit_width_limit(frame, "y", [], plateau=which, bootstraps=1).iloc[0] for which in ("auto", False)
    )
    assert free["alpha_high"] > assumed["alpha_high"] > assumed["alpha_low"] >= free["alpha_low"] - 1e-9
    assert free["c_high"] > 0
    assert np.isnan(assumed["c_high"])


def test_intervals_of_several_groups_together_are_those_of_a_higher_level():
    frame = pairs(lambda w: w**-0.5, net=0.05, noise=0.05)
    both = frame.assign(layer=1), frame.assign(layer=2)
    found = [fit_groups(part, "y", ["layer"], level=level, bootstraps=1) for part, level in
             ((both[0], 0.95), (both[1], 0.95))]  # fmt: skip

    together = fit_width_limit(pd.concat(both), "y", ["layer"], level=0.9, bootstraps=1, interval="together")
    assert together["alpha_high"].tolist() == pytest.approx([fits[0].alpha_interval[1] for fits in found])
    assert together["interval"].tolist() == ["together"] * 2


@pytest.mark.parametrize("c", [0.0, 0.1])
def test_the_response_of_the_exponent_is_its_derivative(c):
    frame = pairs(lambda w: c + w**-0.8)
    (fit,) = fit_groups(frame, "y", [], plateau=c > 0, bootstraps=1)
    slope = alpha_response(width_means(frame, "y"), fit.chosen.point)
    for place, width in enumerate((4, 8, 16, 32, 64)):
        moved = frame.assign(y=frame["y"].where(frame["target_width"] != width, frame["y"] * np.exp(1e-4)))
        (other,) = fit_groups(moved, "y", [], plateau=c > 0, bootstraps=1)
        assert (other.alpha - fit.alpha) / 1e-4 == pytest.approx(slope[place], rel=0.01, abs=1e-3)


def test_with_a_limit_forced_no_exponent_below_the_range_is_told():
    rng = np.random.default_rng(0)
    rows = [(w, s, 20, w**-0.1 * (1 + rng.normal(0, 0.15))) for w in (4, 6, 8, 12) for s in range(3)]
    frame = pd.DataFrame(rows, columns=["width", "seed", "epoch", "y"])
    (row,) = fit_width_limit(frame, "y", [], plateau=True, bootstraps=1).to_dict("records")
    assert 0 < row["alpha_low"] <= row["alpha"]


def test_a_plateau_that_several_widths_reach_may_be_above_their_least_mean():
    """Where limits were tried up to the least mean alone, under 0.5 of the intervals held the plateau."""
    rng, c, net_S = np.random.default_rng(6), 0.3, [np.arange(4)]
    drawn = [
        [mean_over_nets(w, (c + w**-1.5) * (1 + rng.normal(0, 0.1, 4)), net_S) for w in (4, 8, 16, 32, 64)]
        for _ in range(SETS)
    ]
    covers = [low <= c <= high for _, (low, high) in intervals(drawn)]
    assert np.mean(covers) >= LEAST - DOWN
