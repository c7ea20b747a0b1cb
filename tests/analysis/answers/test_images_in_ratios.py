"""The held-out images' part of a real error beside a null's: what both share cancels, the rest is counted."""

import numpy as np
import pandas as pd
import pytest

from espalier import compare_to_null
from espalier.tasks.tables.image_blocks import BLOCKS, SHARE
from tests.analysis.limits.test_excess import both

IMAGES = 96


def with_blocks(rows, hard_N, own_N):
    """Rows whose images are as hard for all pairs: `hard_N` for both sources, `own_N` for trained ones."""
    real = (rows["null"] == "none").to_numpy()
    fvu, parts = [], []
    for error, trained in zip(rows["fvu_test"], real, strict=True):
        error_N = error * hard_N * (own_N if trained else 1.0)
        part_K = (error_N - error_N.mean()).reshape(BLOCKS, -1).sum(axis=1) / IMAGES
        fvu.append(error_N.mean())
        parts.append(part_K.astype(SHARE).tobytes())
    return rows.assign(fvu_test=fvu, images_test=IMAGES, fvu_by_block=parts)


def length(frame, name):
    return np.asarray(frame[f"{name}_high"] - frame[f"{name}_low"])


def test_images_that_are_as_hard_for_both_sources_leave_the_ratio_alone():
    """The difference is 0.2 of the null's error, and moves with the images by 0.2 of what that moves."""
    rng = np.random.default_rng(0)
    rows = both(lambda w: 0.2 * w**-0.6 * 0.7, source=0.03, rng=rng)
    rows = with_blocks(rows, rng.exponential(1.0, IMAGES), np.ones(IMAGES))
    nets, images = (compare_to_null(rows, images=on) for on in (False, True))
    np.testing.assert_allclose(length(images, "ratio"), length(nets, "ratio"), rtol=1e-5)
    assert (length(images, "difference") > 1.5 * length(nets, "difference")).all()
    assert nets["images_share"].isna().all()
    assert (images["images_share"] > 0.5).all()


def test_intervals_that_count_the_images_cover_where_those_over_nets_alone_do_not():
    """60 sweeps whose trained sources meet images of unequal difficulty; 3 deviations (0.039) below 0.9."""
    hit = {True: [], False: []}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        rows = both(lambda w: -0.1 * w**-0.6 * 0.7, widths=(8,), source=0.05, rng=rng)
        rows = with_blocks(rows, np.ones(IMAGES), rng.exponential(1.0, IMAGES))
        for on, hits in hit.items():
            row = compare_to_null(rows, images=on).iloc[0]
            hits.append(row["ratio_low"] <= 0.9 <= row["ratio_high"])
    assert np.mean(hit[True]) >= 0.78
    assert np.mean(hit[False]) < 0.6


def test_the_images_share_is_that_of_the_differences_squared_error():
    """Nets that are all alike: the images have all of it, by the variance of a mean of images."""
    rng = np.random.default_rng(1)
    own_N = rng.exponential(1.0, IMAGES)
    rows = with_blocks(both(lambda w: 0 * w, widths=(8,)), np.ones(IMAGES), own_N)
    row = compare_to_null(rows, images=True).iloc[0]
    block_K = own_N.reshape(BLOCKS, -1).mean(axis=1)
    error = row["null_error"] * block_K.std(ddof=1) / BLOCKS**0.5
    t = 1.6955  # Student's 95 % quantile of 31 degrees of freedom
    assert row["images_share"] == pytest.approx(1, abs=1e-6)
    assert length(row, "difference") == pytest.approx(2 * t * error, rel=1e-3)


def test_what_has_no_blocks_is_refused():
    rows = with_blocks(both(lambda w: -0.1 * w**-1, widths=(8,)), np.ones(IMAGES), np.ones(IMAGES))
    with pytest.raises(ValueError, match="images: rows have no 'fvu_by_block', which graft"):
        compare_to_null(rows.drop(columns="fvu_by_block"), images=True)
    for other in ({"null": "pooled"}, {"y": "loss_test"}):
        with pytest.raises(ValueError, match="images: blocks of images are known of fvu_test and of nulls"):
            compare_to_null(rows.assign(loss_test=1.0), images=True, **other)


def test_the_shares_of_the_committed_sweep_are_read(request):
    from espalier import load

    grafts = load(request.config.rootpath / "results" / "digits", tables=["grafts"], image_blocks=True).grafts
    wide = grafts[(grafts["target_width"] == 32) & (grafts["target_epoch"] == 30)]
    found = compare_to_null(wide, images=True)
    assert found["images_share"].between(0, 1).all()
    assert pd.notna(found["ratio_low"]).all()
