"""The error of a mean over nets, and how often the intervals built on it cover the truth."""

import numpy as np
import pandas as pd
import pytest

from espalier import fit_width_limit
from espalier.analysis.limits.resample import bootstrap_means, mean_over_nets, summed_variance

REPETITIONS = 200
LOW, HIGH = 0.84, 0.97
"""Bounds on the share of 200 intervals of nominal 0.9 that cover.

Its binomial standard deviation is sqrt(0.9 x 0.1 / 200) = 0.021: 0.84 lies 2.8 of them below, so that a
right method fails here once in some 300 seeds (the seed is fixed); above, 3.3, as covering too
often is the lesser fault. A plain percentile bootstrap that drops pairs (i, i) covers 0.80.
"""


def simulate(alpha, c=0.0, seeds=4, net=0.1, pair=0.05, repetitions=REPETITIONS, seed=1):
    """All ordered pairs at widths 4..64; effects of nets and of pairs are relative."""
    rng, frames = np.random.default_rng(seed), []
    source, target = (index.ravel() for index in np.indices((seeds, seeds)))
    apart = source != target
    source, target = source[apart], target[apart]
    for width in (4, 8, 16, 32, 64):
        below, above = rng.normal(0, net, (2, repetitions, seeds))
        noise = rng.normal(0, pair, (repetitions, len(source)))
        y = (c + width**-alpha) * (1 + below[:, source] + above[:, target] + noise)
        frames.append(
            pd.DataFrame(
                {
                    "repetition": np.repeat(np.arange(repetitions), len(source)),
                    "source_width": width,
                    "source_seed": np.tile(source, repetitions),
                    "target_width": width,
                    "target_seed": np.tile(target, repetitions),
                    "y": y.ravel(),
                }
            )
        )
    return pd.concat(frames)


@pytest.mark.parametrize("plateau", [False, "auto"])
@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_the_interval_covers_the_exponent_at_its_nominal_rate(alpha, plateau):
    fits = fit_width_limit(simulate(alpha), "y", ["repetition"], plateau=plateau, bootstraps=1)
    assert LOW <= _covers(fits, "alpha", alpha).mean() <= HIGH


@pytest.mark.parametrize("plateau", [True, "auto"])
def test_the_intervals_cover_exponent_and_limit_where_there_is_a_plateau(plateau):
    data = simulate(1.0, c=0.1, net=0.03, pair=0.02)
    fits = fit_width_limit(data, "y", ["repetition"], plateau=plateau, bootstraps=1)
    assert LOW <= _covers(fits, "alpha", 1.0).mean() <= HIGH
    assert LOW <= _covers(fits, "c", 0.1).mean() <= HIGH


def test_three_seeds_and_noisy_pairs_err_on_the_safe_side():
    fits = fit_width_limit(simulate(1.0, seeds=3), "y", ["repetition"], plateau=False, bootstraps=1)
    assert _covers(fits, "alpha", 1.0).mean() >= LOW
    noisy = simulate(1.0, net=0.05, pair=0.2)
    fits = fit_width_limit(noisy, "y", ["repetition"], plateau=False, bootstraps=1)
    assert _covers(fits, "alpha", 1.0).mean() >= LOW


def _covers(fits, name, truth):
    return (fits[f"{name}_low"] <= truth) & (truth <= fits[f"{name}_high"])


def means(seeds, net, pair, repetitions=4000):
    rng = np.random.default_rng(5)
    source, target = (index.ravel() for index in np.indices((seeds, seeds)))
    apart = source != target
    nets = [source[apart], target[apart]]
    for _ in range(repetitions):
        below, above = rng.normal(0, net, (2, seeds))
        y = 1 + below[nets[0]] + above[nets[1]] + rng.normal(0, pair, len(nets[0]))
        yield mean_over_nets(8, y, nets)


def test_the_variance_of_a_mean_is_unbiased_in_the_nets_effects():
    found = [(mean.mean, mean.variance) for mean in means(4, net=0.1, pair=0.0)]
    true = np.var([mean for mean, _ in found])
    assert np.mean([variance for _, variance in found]) == pytest.approx(true, rel=0.06)


@pytest.mark.parametrize(("net", "pair", "most"), [(0.1, 0.05, 1.12), (0.1, 0.1, 1.25), (0.0, 0.1, 2.6)])
def test_the_noise_of_pairs_inflates_the_variance_less_than_the_jackknife(net, pair, most):
    """Measured 1.07, 1.15, 2.4 at 4 seeds (the plain jackknife: 1.15, 1.37, 3.1); never too small."""
    found = [(mean.mean, mean.variance) for mean in means(4, net=net, pair=pair)]
    ratio = np.mean([variance for _, variance in found]) / np.var([mean for mean, _ in found])
    assert 0.95 < ratio < most


def test_draws_vary_as_the_mean_does():
    (mean,) = means(4, net=0.02, pair=0.01, repetitions=1)
    draws = np.log(bootstrap_means([mean], 20000, 0)[:, 0])
    assert draws.std() * mean.mean == pytest.approx(np.sqrt(mean.variance), rel=0.03)


def test_a_net_is_one_net_as_source_and_as_target():
    mean = mean_over_nets(8, np.arange(6.0), [np.array([0, 0, 1, 1, 2, 2]), np.array([1, 2, 0, 2, 0, 1])])
    assert mean.seeds == 3
    assert mean.influence_S.sum() == pytest.approx(0)


def test_single_rows_per_net_give_the_textbook_error():
    y = np.array([1.0, 2.0, 4.0])
    mean = mean_over_nets(8, y, [np.arange(3)])
    assert mean.variance == pytest.approx(y.var(ddof=1) / 3)


def test_the_noise_of_pairs_is_taken_out_of_a_sum_of_variances_without_bias():
    """32 means of pairs that are noise alone: each variance by itself is 1.7 times too large on average."""
    rng, seeds = np.random.default_rng(8), 4
    nets = np.nonzero(~np.eye(seeds, dtype=bool))
    y_KR = rng.standard_normal((400, len(nets[0])))
    truth = 400 / len(nets[0])
    assert sum(mean_over_nets(1, y_R, nets).variance for y_R in y_KR) > 1.5 * truth
    assert summed_variance(y_KR, nets) == pytest.approx(truth, rel=0.1)
    assert summed_variance(y_KR[:1], nets) == pytest.approx(mean_over_nets(1, y_KR[0], nets).variance)
