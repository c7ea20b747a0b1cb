"""Rows of unordered pairs: a symmetric value of two nets, each pair once (as in table `similarity`)."""

import numpy as np
import pandas as pd
import pytest

from espalier.analysis.limits.resample import mean_over_nets
from espalier.analysis.limits.width_limit import fit_groups

NET, PAIR = 0.1, 0.05


def unordered(seeds):
    first, second = np.triu_indices(seeds, 1)
    return first, second


def drawn(rng, seeds, first, second, repetitions):
    """`1 + s_i + s_j + e_ij`, a row for each repetition."""
    net = rng.normal(0, NET, (repetitions, seeds))
    return 1 + net[:, first] + net[:, second] + rng.normal(0, PAIR, (repetitions, len(first)))


def test_the_variance_of_a_mean_is_that_over_draws_of_the_nets():
    seeds = 5
    first, second = unordered(seeds)
    rows = drawn(np.random.default_rng(1), seeds, first, second, 800)
    variance = np.mean([mean_over_nets(4, y, [first, second]).variance for y in rows])
    truth = 4 * NET**2 / seeds + PAIR**2 / len(first)
    assert rows.mean(axis=1).var() == pytest.approx(truth, rel=0.2)
    assert 0.95 < variance / truth < 1.15
    independent = np.mean(rows.var(axis=1, ddof=1)) / len(first)
    assert independent < 0.5 * truth  # what pairs taken as independent would give


def test_neither_the_order_of_a_pair_nor_its_mirror_changes_mean_and_error():
    first, second = unordered(5)
    (y,) = drawn(np.random.default_rng(2), 5, first, second, 1)
    plain = mean_over_nets(4, y, [first, second])
    swap = np.array([True, False] * 5)
    turned = mean_over_nets(4, y, [np.where(swap, second, first), np.where(swap, first, second)])
    twice = mean_over_nets(
        4, np.tile(y, 2), [np.concatenate([first, second]), np.concatenate([second, first])]
    )
    for other in (turned, twice):
        assert other.mean == pytest.approx(plain.mean)
        assert other.variance == pytest.approx(plain.variance)
        assert other.freedom == pytest.approx(plain.freedom)


def test_the_interval_covers_the_exponent_at_its_nominal_rate():
    """80 intervals of nominal 0.9: the binomial standard deviation is 0.034, 0.8 lies 3 of them below."""
    rng, frames, (first, second) = np.random.default_rng(3), [], unordered(4)
    for width in (4, 8, 16, 32, 64):
        y = width**-0.7 * drawn(rng, 4, first, second, 80)
        columns = {"source_width": width, "target_width": width}
        columns |= {"source_seed": np.tile(first, 80), "target_seed": np.tile(second, 80)}
        frames.append(pd.DataFrame({"repetition": np.repeat(range(80), 6), "gap": y.ravel(), **columns}))
    fits = fit_groups(pd.concat(frames), "gap", ["repetition"], plateau=False, bootstraps=100)
    ends = np.array([fit.alpha_interval for fit in fits])
    assert 0.8 <= np.mean((ends[:, 0] <= 0.7) & (ends[:, 1] >= 0.7)) <= 0.98
    assert np.mean([fit.alpha for fit in fits]) == pytest.approx(0.7, abs=0.02)
