"""The part of an error bar that comes from which images were held out: known answers and coverage."""

import numpy as np
import pandas as pd
import pytest
import torch

from espalier.analysis.limits.held_out import (
    Spread,
    added,
    drop_means,
    drop_variances,
    over_blocks,
    rate_variance,
)
from espalier.analysis.limits.intervals import spread_interval
from espalier.analysis.limits.resample import mean_over_nets
from espalier.tasks.grafting.answers import blocks, lost
from espalier.tasks.tables.image_blocks import BLOCKS
from tests.analysis.conftest import net_axes

COUNTED = ["lost_images", "gained_images"]
BY_BLOCK = ["drop_by_block"]


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
                        **lost(torch.from_numpy(right_target[b]), torch.from_numpy(right_graft[a, b])),
                    }
                )
    return pd.DataFrame(lines)


def without(frame, *columns):
    """The rows as they were before some columns were kept."""
    return frame.assign(**dict.fromkeys(columns))


def only(frame):
    return drop_means(frame, ["layer"]).iloc[0]


def drops(target, graft):
    """`[R, N]`: for each ordered pair and image, target right less graft right."""
    apart = ~np.eye(len(target), dtype=bool)
    return (target[None] - 1.0 * graft)[apart]


def draw(rng, seeds, images, ease=1.0, skill=0.05, own=0.3, slack=0.5):
    """Outcomes of images of unequal difficulty, nets of unequal skill, and noise of a net and an image."""
    hard, able = rng.normal(1.5, ease, images), rng.normal(0, skill, (seeds, 1))
    target = hard + able + rng.normal(0, own, (seeds, images))
    graft = target + rng.normal(0, skill, (seeds, 1, 1)) - slack + rng.normal(0, own, (seeds, seeds, images))
    return target > 0, graft > 0


def sweeps(count, seeds, images, **kind):
    """For each of so many sweeps: the mean over nets, its error, that over images, and the drops `[R, N]`."""
    rng, block_N = np.random.default_rng(2), blocks(images).numpy()
    nets_R = np.nonzero(~np.eye(seeds, dtype=bool))
    for _ in range(count):
        drop_RN = drops(*draw(rng, seeds, images, **kind))
        m = mean_over_nets(32, drop_RN.mean(axis=1), nets_R)
        drop_RK = np.stack([np.bincount(block_N, drop_N, BLOCKS) for drop_N in drop_RN]).astype(np.int16)
        over_images, both = over_blocks(drop_RK, images, nets_R)
        yield m, added(Spread(m.variance, seeds - 1), over_images, twice=both), over_images, drop_RN


def covered(mean, spread, truth):
    low, high = spread_interval(mean, spread.variance**0.5, spread.freedom, 0.9)
    return low <= truth <= high


@pytest.mark.parametrize("unknown", [BY_BLOCK, [*BY_BLOCK, *COUNTED]])
@pytest.mark.parametrize("lost", [5, 20])
def test_images_that_all_pairs_lose_give_the_binomial_error(lost, unknown):
    """Targets are right everywhere and grafts wrong on the same images: nets differ in nothing."""
    target = np.ones((4, 100), dtype=bool)
    graft = np.tile(np.arange(100) >= lost, (4, 4, 1))
    found = only(without(rows(target, graft), *unknown))
    share = lost / 100
    assert found["bounded"]
    assert found["mean"] == pytest.approx(share)
    assert found["error_nets"] == pytest.approx(0, abs=1e-12)
    assert found["error"] == pytest.approx(np.sqrt(share * (1 - share) / 100))


def test_one_pairs_drop_varies_as_mcnemar_says():
    """b images lost and c gained: (b + c - (b - c)^2 / n) / n^2, whatever both get right."""
    n, b, c = 80, 9, 4
    target, graft = np.zeros((2, n), dtype=bool), np.zeros((2, 2, n), dtype=bool)
    target[:, :b] = graft[:, :, b : b + c] = True
    target[:, 40:60] = graft[:, :, 40:60] = True
    frame = rows(target, graft)
    assert drop_variances(frame) == pytest.approx((b + c - (b - c) ** 2 / n) / n**2)
    assert drop_variances(frame) == pytest.approx(drops(target, graft).var(axis=1) / n)
    assert (drop_variances(without(frame, *COUNTED)) > drop_variances(frame)).all()


def test_blocks_of_one_image_give_the_variance_over_images_itself():
    target, graft = draw(np.random.default_rng(3), seeds=4, images=31)
    found = only(rows(target, graft))
    assert not found["bounded"]
    assert found["error_images"] ** 2 == pytest.approx(drops(target, graft).mean(axis=0).var(ddof=1) / 31)


@pytest.mark.parametrize("images", [33, 100, 297])
def test_blocks_of_unequal_size_give_the_variance_over_images_on_average(images):
    """Over 400 data sets; the standard error of the ratio is under 0.02."""
    found, wanted = [], []
    for _, _, over_images, drop_RN in sweeps(400, seeds=2, images=images):
        found.append(over_images.variance)
        wanted.append(drop_RN.mean(axis=0).var(ddof=1) / images)
    assert np.sum(found) / np.sum(wanted) == pytest.approx(1, abs=0.06)


def test_nets_and_images_add_up_and_many_images_leave_the_nets_alone():
    target, graft = draw(np.random.default_rng(0), seeds=4, images=200)
    frame = without(rows(target, graft), *BY_BLOCK, *COUNTED)
    few, many = only(frame), only(frame.assign(images_test=10**9))
    assert few["error"] > few["error_nets"] == pytest.approx(many["error"], rel=1e-3)


@pytest.mark.parametrize("accuracy", [0.02, 0.5, 0.98])
def test_the_bounds_hold_whatever_the_outcomes_are_and_counts_bring_them_down(accuracy):
    """The variance over draws of the images, of outcomes of one pair that are known image by image."""
    rng = np.random.default_rng(1)
    for shared in (0.0, 0.5, 1.0):
        target = rng.random((3, 400)) < accuracy
        own = rng.random((3, 3, 400)) < accuracy
        graft = np.where(rng.random((3, 3, 400)) < shared, target[None], own)
        truth = drops(target, graft).mean(axis=0).var() / 400
        frame = without(rows(target, graft), *BY_BLOCK)
        counted, loose = (only(part)["error_images"] ** 2 for part in (frame, without(frame, *COUNTED)))
        assert truth - 1e-12 <= counted < loose


def test_rows_of_which_some_are_from_before_have_the_bound_of_each():
    target, graft = draw(np.random.default_rng(5), seeds=3, images=297)
    frame = rows(target, graft)
    older = without(frame, *BY_BLOCK, *COUNTED)
    mixed = pd.concat([frame.iloc[:3], older.iloc[3:]])
    exact, some, none = only(frame), only(mixed), only(older)
    assert [bool(one["bounded"]) for one in (exact, some, none)] == [False, True, True]
    assert exact["error_images"] < some["error_images"] < none["error_images"]


@pytest.mark.parametrize(("images", "own", "slack"), [(150, 0.3, 0.5), (297, 0.05, 0.1)])
def test_intervals_with_the_images_part_cover_where_those_over_nets_alone_do_not(images, own, slack):
    """Images differ in difficulty and all pairs see the same: 250 sweeps of 8 nets with a known drop."""
    rng = np.random.default_rng(6)
    truth = np.mean([drops(*draw(rng, 20, 3000, own=own, slack=slack)).mean() for _ in range(40)])
    both, nets, means, variances = [], [], [], []
    for m, error, _, _ in sweeps(250, seeds=8, images=images, own=own, slack=slack):
        both.append(covered(m.mean, error, truth))
        nets.append(covered(m.mean, Spread(m.variance, m.seeds - 1), truth))
        means.append(m.mean)
        variances.append(error.variance)
    assert np.mean(nets) < 0.75
    assert np.mean(both) == pytest.approx(0.9, abs=0.057)  # 3 binomial deviations
    assert np.mean(variances) == pytest.approx(np.var(means), rel=0.27)  # 3 deviations of a variance


def test_noise_of_a_net_and_an_image_is_counted_once():
    """Images nearly alike and much noise, which is seen in full over nets and over images: 250 sweeps."""
    means, sums, errors = [], [], []
    for m, error, over_images, _ in sweeps(250, seeds=6, images=200, ease=0.3, skill=0.1, own=1.0):
        means.append(m.mean)
        sums.append(m.variance + over_images.variance)
        errors.append(error.variance)
    assert np.mean(sums) > 1.3 * np.mean(errors)
    assert np.mean(errors) == pytest.approx(np.var(means), rel=0.27)


def test_variances_add_up_less_what_both_have_and_never_to_less_than_one_of_them():
    parts = Spread(4.0, 3), Spread(1.0, 31)
    assert added(*parts).variance == 5.0
    assert added(*parts).freedom == pytest.approx(25 / (16 / 3 + 1 / 31))
    assert added(*parts, twice=0.5).variance == 4.5
    assert added(*parts, twice=3.0).variance == 4.0
    assert added(Spread(0.0, 3), Spread(0.0, 31)) == (0.0, 3)
    assert np.isnan(added(Spread(np.nan, 0), parts[1]).variance)


def test_a_share_of_images_has_the_binomial_variance():
    assert rate_variance(0.25, 300) == pytest.approx(0.25 * 0.75 / 300)
    assert rate_variance(1.0, 300) == pytest.approx(0)


def test_blocks_of_one_size_give_the_variance_of_their_means_over_their_number():
    drop_RK = np.tile(np.array([2, 0], np.int16), (1, BLOCKS // 2))
    over_images, _ = over_blocks(drop_RK, 2 * BLOCKS, [np.array([0]), np.array([1])])
    assert over_images.variance == pytest.approx((drop_RK[0] / 2).var(ddof=1) / BLOCKS)
    assert over_images.freedom == BLOCKS - 1
