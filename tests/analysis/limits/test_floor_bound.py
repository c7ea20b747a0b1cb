"""A limit that the fit puts at 0 is bounded by what the nets' scatter can hide, never by 0."""

import numpy as np
import pytest

from espalier import fit_width_limit
from tests.analysis.limits.test_resample import simulate
from tests.analysis.limits.test_width_limit import pairs


@pytest.mark.parametrize("bend", [0.0, 0.1, 0.2])
def test_a_curve_that_bends_downwards_has_an_upper_bound_above_zero(bend):
    """All bootstraps of such a fit have c = 0, which is no evidence that there is no limit at all."""
    frame = pairs(lambda w: w ** -(0.5 + bend * np.log2(w) / 4), net=0.05, noise=0.03)
    fit = fit_width_limit(frame, "y", [], bootstraps=1).iloc[0]
    assert fit["c_low"] == 0
    least = frame.groupby("target_width")["y"].mean().min()
    assert 0.001 * least < fit["c_high"] < least


def test_the_bound_falls_with_the_scatter_of_the_nets():
    noisy, quiet = (
        fit_width_limit(pairs(lambda w: w**-0.7, net=net, seed=4), "y", [], bootstraps=1)["c_high"].item()
        for net in (0.1, 0.01)
    )
    assert 0 < quiet < noisy / 3


@pytest.mark.parametrize("c", [0.0, 0.03])
def test_the_upper_end_lies_above_the_true_limit_at_its_nominal_rate(c):
    """One side of a 90 % interval: 95 %, less 3 binomial deviations of 100 sweeps (0.022)."""
    data = simulate(1.0, c=c, net=0.08, pair=0.03, repetitions=100)
    fits = fit_width_limit(data, "y", ["repetition"], bootstraps=1)
    assert (fits["c_high"] > 0).all()
    assert (fits["c_high"] >= c).mean() >= 0.885
