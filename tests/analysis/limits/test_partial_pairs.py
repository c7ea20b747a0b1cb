"""The error of a mean over few of the pairs: unbiased whatever the effects are, and intervals that cover."""

import numpy as np
import pytest

from espalier import fit_width_limit
from espalier.analysis.limits.intervals import mean_interval
from espalier.analysis.limits.partial_pairs import partial_variance
from espalier.analysis.limits.ratios import mean_estimates
from espalier.analysis.limits.resample import mean_over_nets, summarise
from espalier.orchestrator.planning.partners import Partners
from tests.analysis.limits.test_resample import HIGH, LOW, _covers, simulate

EFFECTS = [(1.0, 1.0, 0.3), (1.0, 0.1, 1.0), (0.0, 0.0, 1.0)]
"""Standard deviations of the effects of sources and of targets, and of the noise of pairs."""


def line(nets, count):
    """Sources and targets of `graft.partners = count`, `[2, R]`."""
    made = Partners(range(nets), count, 0)
    return np.array([(source, target) for target in range(nets) for source in made.sources(target)]).T


def ring(nets, count):
    """The same design closed to a ring, so that all nets are alike."""
    return np.array([(net, (net + d) % nets) for net in range(nets) for d in range(1, count + 1)]).T


def truth(sides, nets, source, target, pair):
    """The variance of the mean of `m + s_i + t_j + e_ij`."""
    out, into = (np.bincount(side, minlength=nets) / len(side) for side in sides)
    return out @ out * source**2 + into @ into * target**2 + pair**2 / sides.shape[1]


def draws(sides, nets, source, target, pair, count, seed=3):
    rng = np.random.default_rng(seed)
    below, above = rng.normal(0, source, (count, nets)), rng.normal(0, target, (count, nets))
    noise = rng.normal(0, pair, (count, sides.shape[1]))
    return 10 + below[:, sides[0]] + above[:, sides[1]] + noise


@pytest.mark.parametrize("effects", EFFECTS, ids=str)
@pytest.mark.parametrize(("nets", "count"), [(6, 1), (8, 2), (8, 3), (16, 4)])
def test_the_variance_is_unbiased(nets, count, effects):
    """Of the sum of many measures, so that no single one is lifted to its least; measured within 3 %."""
    for sides in (line(nets, count), ring(nets, count)):
        y_KR = draws(sides, nets, *effects, count=3000)
        found = partial_variance(y_KR - y_KR.mean(axis=1, keepdims=True), sides, nets).variance / len(y_KR)
        assert found == pytest.approx(truth(sides, nets, *effects), rel=0.06)


def test_pairs_in_both_orders_whose_noise_is_one_count_once():
    sides = np.hstack([ring(9, 2), ring(9, 2)[::-1]])
    y_KR = draws(ring(9, 2), 9, 1.0, 1.0, 1.0, count=3000)
    y_KR = np.hstack([y_KR, y_KR])
    found = partial_variance(y_KR - y_KR.mean(axis=1, keepdims=True), sides, 9).variance / len(y_KR)
    assert found == pytest.approx(y_KR.mean(axis=1).var(), rel=0.06)


@pytest.mark.parametrize("effects", EFFECTS, ids=str)
@pytest.mark.parametrize(("nets", "count"), [(8, 2), (16, 4)])
def test_intervals_of_a_mean_cover_at_about_their_rate(nets, count, effects):
    """Nominal 0.9; over all pairs 0.88 to 0.96 of them cover."""
    sides, covered = line(nets, count), []
    for y_R in draws(sides, nets, *effects, count=600):
        low, high = mean_interval(mean_over_nets(8, y_R, list(sides)), 0.9)
        covered.append(low <= 10 <= high)
    assert 0.87 <= np.mean(covered) <= 0.98


def test_the_fit_over_widths_covers_the_exponent_with_few_partners():
    pairs = {tuple(pair) for pair in line(8, 2).T.tolist()}
    rows = simulate(1.0, seeds=8)
    kept = [pair in pairs for pair in zip(rows["source_seed"], rows["target_seed"], strict=True)]
    fits = fit_width_limit(rows[kept], "y", ["repetition"], plateau=False, bootstraps=1)
    assert LOW <= _covers(fits, "alpha", 1.0).mean() <= HIGH


def test_intervals_of_summarised_means_know_how_few_partners_there_are():
    """Two partners of eight nets tell the error with half the degrees of freedom that the nets have."""
    pairs = {tuple(pair) for pair in line(8, 2).T.tolist()}
    rows = simulate(1.0, seeds=8, repetitions=2).assign(layer=lambda frame: frame["repetition"])
    rows = rows[rows["target_width"] == 8]
    kept = rows[[pair in pairs for pair in zip(rows["source_seed"], rows["target_seed"], strict=True)]]
    means = summarise(kept, "y", ["layer"])
    own = kept[kept["layer"] == 0]
    sides = [own["source_seed"].to_numpy(), own["target_seed"].to_numpy()]
    wanted = mean_over_nets(8, own["y"].to_numpy(), sides)
    assert means["freedom"][0] == pytest.approx(wanted.freedom)
    assert wanted.freedom < 5
    first = mean_estimates(means, 0.9)[0]
    assert (first.low, first.high) == pytest.approx(mean_interval(wanted, 0.9, among=2))
    every = summarise(rows, "y", ["layer"])
    assert ((every["freedom"] > 5) & (every["freedom"] <= 7)).all()


def test_what_is_no_partial_design_of_pairs_is_left_to_the_jackknife():
    every = np.array(np.nonzero(~np.eye(5, dtype=bool)))
    across = np.array([(source, 4 + target) for source in range(4) for target in range(4)]).T
    star = np.array([(0, 1), (0, 2), (0, 3), (0, 4)]).T
    one_way = every[:, every[0] < every[1]]
    for sides, nets in ((every, 5), (one_way, 5), (across, 8), (star, 5), (line(3, 1), 3), (every[:1], 5)):
        assert partial_variance(np.ones((1, sides.shape[1])), sides, nets) is None
    with_itself = np.hstack([line(6, 2), [[0], [0]]])
    assert partial_variance(np.ones((1, with_itself.shape[1])), with_itself, 6) is None
