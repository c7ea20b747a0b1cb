"""Ratios of two means that share nets: what the nets do to both cancels, and the interval covers."""

import numpy as np
import pandas as pd
import pytest

from espalier.analysis.limits.ratios import log_ratio, ratio_estimates
from espalier.analysis.limits.resample import summarise

SEEDS = 5
PAIRS = np.nonzero(~np.eye(SEEDS, dtype=bool))


def two_ways(rng, ratio=0.8, target=0.3, pair=0.02, layer=2):
    """Errors of the same targets under two methods, for all ordered pairs."""
    hard = 1 + rng.normal(0, target, SEEDS)
    frames = []
    for level in (ratio, 1.0):
        y = level * hard[PAIRS[1]] * (1 + rng.normal(0, pair, len(PAIRS[0])))
        sides = {f"{side}_seed": seeds for side, seeds in zip(("source", "target"), PAIRS, strict=True)}
        widths = {"source_width": 8, "target_width": 8}
        frames.append(pd.DataFrame({"layer": layer, "fvu_test": y} | sides | widths))
    return frames


def test_targets_that_both_share_cancel():
    top, bottom = two_ways(np.random.default_rng(0), pair=0.0)
    log = log_ratio(top, bottom, "fvu_test")
    assert log.mean == pytest.approx(np.log(0.8))
    assert log.variance == pytest.approx(0, abs=1e-12)
    alone = summarise(top, "fvu_test", ["layer"])
    assert alone["error"].item() > 0.05 * alone["mean"].item()  # what each mean by itself is off by


def test_means_of_different_nets_have_the_sum_of_their_variances():
    rng = np.random.default_rng(1)
    (top, _), (bottom, _) = two_ways(rng, pair=0.0), two_ways(rng, pair=0.0)
    bottom = bottom.assign(source_width=16, target_width=16)
    parts = [summarise(rows, "fvu_test", ["layer"]) for rows in (top, bottom)]
    apart = sum(float(part["error"].item() / part["mean"].item()) ** 2 for part in parts)
    assert log_ratio(top, bottom, "fvu_test").variance == pytest.approx(apart, rel=0.3)


def test_the_interval_covers_the_ratio_at_its_nominal_rate():
    """60 data sets; 3 binomial deviations are 0.116. Pure noise of pairs errs on the safe side."""
    rng, covered, lengths = np.random.default_rng(2), [], []
    for _ in range(60):
        (one,) = ratio_estimates(*two_ways(rng, pair=0.1), 0.9)
        covered.append(one.low <= 0.8 <= one.high)
        lengths.append(one.high / one.low)
    assert np.mean(covered) >= 0.784
    assert np.median(lengths) < 1.3  # means of targets that differ by 30 %, taken as independent: about 2


def test_layers_of_both_are_told_together_and_the_others_left_out():
    rng = np.random.default_rng(3)
    frames = [two_ways(rng, layer=layer) for layer in (2, 3)]
    top, bottom = (pd.concat([frame[side] for frame in frames]) for side in (0, 1))
    both = ratio_estimates(top, bottom, 0.9)
    assert [one.layer for one in both] == [2, 3]
    (alone,) = ratio_estimates(top, bottom[bottom["layer"] == 2], 0.9)
    assert both[0].high > alone.high > alone.value == pytest.approx(both[0].value)
