"""Two settings: the difference of their exponents, paired over nets, with the coverage it claims."""

import numpy as np
import pandas as pd
import pytest

from espalier import contrast, fit_width_limit
from espalier.tasks.tables.rows import table
from tests.analysis.more_rows import in_setting, pair_rows

WIDTHS, SEEDS = (4, 8, 16, 32, 64), 5


def nets(alphas=(0.5, 1.0), shared=0.0, own=0.05, rng=None, layers=(1,), seeds=SEEDS):
    """Rows of nets of two settings; nets of one seed share an effect."""
    rng, rows = rng or np.random.default_rng(0), []
    for layer in layers:
        for width in WIDTHS:
            common = rng.normal(0, shared, seeds) if shared else np.zeros(seeds)
            for name, alpha in zip(("mup", "sp"), alphas, strict=True):
                for seed in range(seeds):
                    y = width**-alpha * (1 + common[seed] + rng.normal(0, own))
                    rows.append((layer, name, width, seed, 20, y))
    return pd.DataFrame(rows, columns=["layer", "parametrization", "width", "seed", "epoch", "y"])


def test_known_exponents_and_errors_are_told_apart():
    (row,) = contrast(nets(own=0.001), "parametrization", y="y").to_dict("records")
    assert (row["first"], row["second"]) == ("mup", "sp")
    assert row["difference"] == pytest.approx(-0.5, abs=0.01)
    assert row["difference_high"] < -0.45
    assert row["ratio"] == pytest.approx(64**0.5, rel=0.01)
    assert (row["nets"], row["widths"], row["width"]) == (25, 5, 64)
    (other,) = contrast(nets(own=0.001), "parametrization", ("sp", "mup"), y="y").to_dict("records")
    assert other["difference"] == pytest.approx(-row["difference"])


def test_what_the_nets_share_cancels():
    rows = nets(shared=0.2, own=0.01)
    (row,) = contrast(rows, "parametrization", y="y", plateau=False).to_dict("records")
    assert row["correlation"] > 0.95
    alone = row["alpha_first_high"] - row["alpha_first_low"]
    assert row["difference_high"] - row["difference_low"] < 0.3 * alone
    assert row["ratio_high"] / row["ratio_low"] < 1.1
    fit = fit_width_limit(rows[rows["parametrization"] == "sp"], "y", ["layer"], plateau=False).iloc[0]
    assert row["alpha_second_low"] == pytest.approx(fit["alpha_low"])


def test_the_interval_of_the_difference_covers_at_its_nominal_rate():
    """60 sweeps; 3 binomial deviations (0.039) below 0.9."""
    rows = nets(shared=0.15, own=0.1, rng=np.random.default_rng(4), layers=range(60))
    found = contrast(rows, "parametrization", y="y", plateau=False)
    covers = (found["difference_low"] <= -0.5) & (found["difference_high"] >= -0.5)
    assert covers.mean() >= 0.78
    together = contrast(rows[rows["layer"] < 3], "parametrization", y="y", interval="together", plateau=False)
    assert (together["difference_high"] > found["difference_high"][:3]).all()


def test_what_is_no_contrast_is_refused():
    with pytest.raises(ValueError, match="axis must be one of architecture"):
        contrast(nets(), "seed", y="y")
    with pytest.raises(ValueError, match=r"two of the parametrization in the frame .*got \['mup', 'ntk'\]"):
        contrast(nets(), "parametrization", ("mup", "ntk"), y="y")


def test_a_value_that_is_not_finite_leaves_the_other_nets_paired_and_says_why_there_is_no_fit():
    rows = nets(shared=0.2, own=0.01, seeds=6)
    lost = (rows["width"] == 64) & (rows["seed"] == 2) & (rows["parametrization"] == "sp")
    (row,) = contrast(rows.assign(y=rows["y"].mask(lost)), "parametrization", y="y").to_dict("records")
    assert "no fit" in row["warning"]
    assert (row["nets"], row["width"]) == (29, 64)
    (left,) = contrast(rows[~lost], "parametrization", y="y").to_dict("records")
    assert row["ratio_high"] - row["ratio_low"] == pytest.approx(left["ratio_high"] - left["ratio_low"])


def test_a_mean_of_0_is_told_in_the_warning():
    rows = nets()
    nothing = (rows["width"] == 64) & (rows["parametrization"] == "sp")
    rows = rows.assign(y=rows["y"].mask(nothing, 0.0))
    (row,) = contrast(rows, "parametrization", y="y").to_dict("records")
    assert "the mean is not positive at width [64]" in row["warning"]
    assert np.isnan(row["difference"])
    assert (row["width"], row["widths"]) == (32, 4)


def test_pairs_across_widths_are_paired_by_both_of_their_nets():
    """Each net of a narrow width serves the same wide nets: 4 narrow and 4 wide ones at each of 4 widths."""
    places = [((width, 20), (64, 20)) for width in (4, 8, 16, 32)]
    sp = pair_rows(places, lambda source, *_: 1 / source, range(4), (2,), pairing="cross_width")
    frame = table("grafts", [*sp, *in_setting(sp, parametrization="mup")]).to_pandas()
    (row,) = contrast(frame, "parametrization").to_dict("records")
    assert (row["nets"], row["widths"]) == (32, 4)
    assert row["correlation"] == pytest.approx(1)
    assert row["ratio_low"] == pytest.approx(1)
    assert row["ratio_high"] == pytest.approx(1)
