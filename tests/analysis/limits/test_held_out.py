"""The part of an error bar that comes from which images were held out: known answers and coverage."""

import numpy as np
import pandas as pd
import pytest

from espalier.analysis.limits.held_out import drop_means, rate_variance
from espalier.analysis.limits.intervals import spread_interval
from tests.analysis.conftest import net_axes


def rows(right_target, right_graft, repetition=0):
    """A row for each ordered pair: `[S, N]` images that the targets get right, and `[S, S, N]` the grafts."""
    seeds, images = right_target.shape
    lines = []
    for a in range(seeds):
        for b in range(seeds):
            if a != b:
                accuracy, own = right_graft[a, b].mean(), right_target[b].mean()
                lines.append(
                    {
                        **net_axes(32, a, 20, "source_"),
                        **net_axes(32, b, 20, "target_"),
                        "null": "none",
                        "layer": repetition,
                        "accuracy_test": accuracy,
                        "target_accuracy_test": own,
                        "accuracy_drop": own - accuracy,
                        "images_test": images,
                    }
                )
    return pd.DataFrame(lines)


@pytest.mark.parametrize("lost", [5, 20])
def test_images_that_all_pairs_lose_give_the_binomial_error(lost):
    """Targets are right everywhere and grafts wrong on the same images: nets differ in nothing."""
    target = np.ones((4, 100))
    graft = np.tile(np.arange(100) >= lost, (4, 4, 1))
    found = drop_means(rows(target, graft), ["layer"]).iloc[0]
    share = lost / 100
    assert found["mean"] == pytest.approx(share)
    assert found["error_nets"] == pytest.approx(0, abs=1e-12)
    assert found["error"] == pytest.approx(np.sqrt(share * (1 - share) / 100))


def test_nets_and_images_add_up_and_many_images_leave_the_nets_alone():
    rng = np.random.default_rng(0)
    target, graft = rng.random((4, 200)) < 0.95, rng.random((4, 4, 200)) < 0.9
    few = drop_means(rows(target, graft), ["layer"]).iloc[0]
    many = drop_means(rows(target, graft).assign(images_test=10**9), ["layer"]).iloc[0]
    assert few["error"] > few["error_nets"] == pytest.approx(many["error"], rel=1e-3)


@pytest.mark.parametrize("accuracy", [0.02, 0.5, 0.98])
def test_the_bound_holds_whatever_the_outcomes_are(accuracy):
    """The variance over draws of the images, of outcomes of one pair that are known image by image."""
    rng = np.random.default_rng(1)
    for shared in (0.0, 0.5, 1.0):
        target = rng.random((3, 400)) < accuracy
        own = rng.random((3, 3, 400)) < accuracy
        graft = np.where(rng.random((3, 3, 400)) < shared, target[None], own)
        apart = ~np.eye(3, dtype=bool)
        images = (target[None] - 1.0 * graft)[apart].mean(axis=0)
        found = drop_means(rows(target, graft), ["layer"]).iloc[0]
        assert found["error"] ** 2 - found["error_nets"] ** 2 >= images.var() / 400 - 1e-12


def test_intervals_with_the_images_part_cover_where_those_over_nets_alone_do_not():
    """Images differ in difficulty and all pairs see the same 150: 200 sweeps of 4 nets with a known drop."""
    rng, lines = np.random.default_rng(2), []
    sweeps, seeds, images, slack = 200, 4, 150, 0.5
    for sweep in range(sweeps):
        ease, skill = rng.normal(1.5, 1, images), rng.normal(0, 0.05, (seeds, 1))
        target = ease + skill + rng.normal(0, 0.3, (seeds, images))
        graft = target[None] + skill[:, None] - slack + rng.normal(0, 0.3, (seeds, seeds, images))
        lines.append(rows(target > 0, graft > 0, sweep))
    sample = rng.normal(1.5, 1, 10**6) + rng.normal(0, 0.05, 10**6) + rng.normal(0, 0.3, 10**6)
    worse = sample - slack + rng.normal(0, 0.05, 10**6) + rng.normal(0, 0.3, 10**6)
    truth = (sample > 0).mean() - (worse > 0).mean()
    means = drop_means(pd.concat(lines), ["layer"])
    both, nets = (
        np.mean([low <= truth <= high for low, high in intervals])
        for intervals in (
            [spread_interval(m.mean, m.error, m.freedom, 0.9) for m in means.itertuples()],
            [spread_interval(m.mean, m.error_nets, m.nets - 1, 0.9) for m in means.itertuples()],
        )
    )
    assert nets < 0.8
    assert both >= 0.836  # nominal 0.9 less 3 binomial deviations (0.021)


def test_a_share_of_images_has_the_binomial_variance():
    assert rate_variance(0.25, 300) == pytest.approx(0.25 * 0.75 / 300)
    assert rate_variance(1.0, 300) == pytest.approx(0)
