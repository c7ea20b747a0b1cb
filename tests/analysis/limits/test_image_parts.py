"""The held-out images' part in exponents: coverage where images rule, the covariance over widths."""

import numpy as np
import pandas as pd
import pytest

from espalier import fit_width_limit
from espalier.analysis.limits.image_parts import image_parts
from espalier.analysis.limits.resample import width_means
from espalier.tasks.tables.image_blocks import BLOCKS, SHARE

WIDTHS, SEEDS, IMAGES, ALPHA = (4, 8, 16, 32, 64), 4, 96, 0.8
PAIRS = np.nonzero(~np.eye(SEEDS, dtype=bool))


def sweeps(count, image=1.0, net=0.02, seed=0, rng=None):
    """Errors of all pairs; an image is as hard for all pairs of a width, by a factor of its own."""
    rng, rows = rng or np.random.default_rng(seed), []
    for layer in range(count):
        for width in WIDTHS:
            hard_N = 1 + image * (rng.exponential(1.0, IMAGES) - 1)
            nets = rng.normal(0, net, (2, SEEDS))
            for a, b in zip(*PAIRS, strict=True):
                error_N = width**-ALPHA * (1 + nets[0, a] + nets[1, b]) * hard_N
                fvu = error_N.mean()
                part = (error_N - fvu).reshape(BLOCKS, -1).sum(1) / IMAGES
                rows.append((layer, width, a, width, b, fvu, IMAGES, part.astype(SHARE).tobytes()))
    names = ["layer", "source_width", "source_seed", "target_width", "target_seed", "fvu_test"]
    return pd.DataFrame(rows, columns=[*names, "images_test", "fvu_by_block"])


def test_intervals_that_count_the_images_cover_where_those_over_nets_alone_do_not():
    """60 sweeps; 3 binomial deviations (0.039) below 0.9."""
    rows = sweeps(60)
    options = {"plateau": False, "bootstraps": 1}
    both, nets = (fit_width_limit(rows, "fvu_test", ["layer"], images=on, **options) for on in (True, False))
    cover = [((fit["alpha_low"] <= ALPHA) & (fit["alpha_high"] >= ALPHA)).mean() for fit in (both, nets)]
    assert cover[0] >= 0.78
    assert cover[1] < 0.6
    assert both["images_share"].median() > 0.8
    assert nets["images_share"].isna().all()
    assert (both["alpha"] == nets["alpha"]).all()


def test_the_covariance_over_images_is_that_of_the_means():
    """Over 150 draws of images that are as hard at every width: one factor for all means."""
    rng, means, found = np.random.default_rng(1), [], []
    for _ in range(150):
        part = rng.exponential(1.0, IMAGES)
        added = (part - part.mean()).reshape(BLOCKS, -1).sum(1) / IMAGES
        told = (part.mean(), IMAGES, added.astype(SHARE).tobytes())
        names = ["source_width", "source_seed", "target_width", "target_seed", "fvu_test", "images_test"]
        rows = [(width, 0, width, 1, *told) for width in (4, 8)]
        frame = pd.DataFrame(rows, columns=[*names, "fvu_by_block"])
        parts = image_parts(frame, width_means(frame, "fvu_test"))
        means.append(part.mean())
        weight = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]])
        found.append(parts.variance(weight)[0] * part.mean() ** 2)
    of_one, of_other, of_difference = np.mean(found, axis=0)
    assert of_one == pytest.approx(np.var(means), rel=0.35)  # 3 deviations of a variance
    assert of_other == pytest.approx(of_one)
    assert of_difference == pytest.approx(0, abs=1e-12)  # an exponent does not move with them


def test_what_tells_no_blocks_is_refused():
    rows = sweeps(1)
    for odd in (rows.drop(columns="fvu_by_block"), rows.assign(fvu_by_block=None)):
        with pytest.raises(ValueError, match="images: rows have no 'fvu_by_block', which graft"):
            fit_width_limit(odd, "fvu_test", ["layer"], images=True)
    with pytest.raises(ValueError, match=r"all rows must be of the same held-out images, found \[96, 97\]"):
        fit_width_limit(rows.assign(images_test=np.resize([96, 97], len(rows))), "fvu_test", [], images=True)
    with pytest.raises(ValueError, match="blocks of images are known of fvu_test alone, got y = 'loss'"):
        fit_width_limit(rows.assign(loss=1.0), "loss", ["layer"], images=True)
