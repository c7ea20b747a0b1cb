"""The excess over untrained sources: known exponents, the pairing over targets, coverage by simulation."""

import numpy as np
import pandas as pd
import pytest

from espalier import fit_excess
from espalier.analysis.limits.excess import paired
from espalier.analysis.limits.resample import summarise
from tests.analysis.conftest import net_axes

WIDTHS = (4, 8, 16, 32, 64)


def null(width):
    return 0.7 * width**-0.6


def both(excess, widths=WIDTHS, seeds=4, target=0.0, source=0.0, noise=0.0, layers=(2,), rng=None):
    """Rows of all ordered pairs with a trained and with an untrained source of the same nets.

    The error of an untrained source is `null(w)` times an effect of the target. That of a trained one has
    `excess(w)` on top, times the effect of the same target, of the source, and the pair's noise.
    """
    rng, frames = rng or np.random.default_rng(0), []
    a, b = (index.ravel() for index in np.indices((seeds, seeds)))
    a, b = a[a != b], b[a != b]
    axes = net_axes(0, 0, 20)
    sides = {side + name: value for side in ("source_", "target_") for name, value in axes.items()}
    shape, repeat = (len(layers), len(a)), len(layers)
    for width in widths:
        below, above = rng.normal(0, source, (repeat, seeds)), rng.normal(0, target, (repeat, seeds))
        own = excess(width) * (1 + below[:, a] + rng.normal(0, noise, shape))
        for name, epoch, value in (("none", 20, null(width) + own), ("untrained", 0, null(width))):
            changed = {
                "source_width": width,
                "target_width": width,
                "source_epoch": epoch,
                "null": name,
                **{f"{side}_seed": np.tile(code, repeat) for side, code in (("source", a), ("target", b))},
                "pairing": "same_width",
                "method": "exact",
                "bn": "none",
                "skip": 0,
                "warning": "",
                "layer": np.repeat(layers, len(a)),
                "fvu_test": (value * (1 + above[:, b])).ravel(),
            }
            frames.append(pd.DataFrame(sides | changed))
    rows = pd.concat(frames, ignore_index=True)
    names = {
        f"{side}_net": rows[f"{side}_width"].astype(str) + "/" + rows[f"{side}_seed"].astype(str)
        for side in ("source", "target")
    }
    return rows.assign(**names)


def test_the_ratio_is_that_of_the_means_and_not_the_mean_of_ratios():
    """Where targets differ, easy ones would rule a mean of ratios."""
    frame = both(lambda w: 0.5 * w**-0.9, target=0.5, source=0.5, noise=0.5, rng=np.random.default_rng(3))
    pairs = paired(frame, ["layer"])
    for _, rows in pairs.groupby("target_width"):
        of_means = rows["fvu_test"].mean() / rows["untrained"].mean()
        assert rows["ratio"].mean() == pytest.approx(of_means, rel=1e-12)
        assert (rows["fvu_test"] / rows["untrained"]).mean() != pytest.approx(of_means, rel=1e-6)


def test_known_exponents_of_null_and_excess_are_recovered():
    fit = fit_excess(both(lambda w: -0.3 * w**-0.9), ["layer"], bootstraps=1).iloc[0]
    assert fit["alpha_untrained"] == pytest.approx(0.6, abs=1e-6)
    assert fit["alpha_excess"] == pytest.approx(0.9, abs=1e-6)
    assert fit["excess"] == pytest.approx(-0.3 * 64**-0.9)
    assert fit["ratio"] == pytest.approx(1 - 0.3 / 0.7 * 64**-0.3)
    assert (fit["width"], fit["pairs"], fit["nets"]) == (64, 60, 20)


@pytest.mark.parametrize("factor", [0.25, 1.0, 3.0])
def test_sources_that_gain_nothing_with_the_width_have_no_exponent_of_their_own(factor):
    """The error falls as w^-0.6 whatever the training does: the exponent is the target's."""
    fit = fit_excess(both(lambda w: (factor - 1) * null(w)), ["layer"], bootstraps=1).iloc[0]
    assert fit["alpha"] == pytest.approx(fit["alpha_untrained"]) == pytest.approx(0.6)
    assert fit["alpha_ratio"] == pytest.approx(0, abs=1e-6)
    assert fit["excess"] == pytest.approx((factor - 1) * null(64))


def test_an_excess_without_one_sign_has_no_exponent_and_says_so():
    fit = fit_excess(both(lambda w: 0.01 if w == 16 else -0.01), ["layer"], bootstraps=1).iloc[0]
    assert np.isnan(fit["alpha_excess"])
    assert "the excess changes its sign" in fit["warning"]
    assert np.isfinite(fit["alpha_ratio"])


def test_what_the_target_does_cancels_within_a_pair():
    """Targets differ by 30 %: unpaired, the excess of 5 % could not be seen."""
    rows = both(lambda w: -0.05 * null(w), target=0.3)
    pairs = paired(rows, ["layer"])
    apart = summarise(pairs, "fvu_test", ["layer"])["error"] / summarise(pairs, "excess", ["layer"])["error"]
    assert (apart > 15).all()
    fit = fit_excess(rows, ["layer"], bootstraps=1).iloc[0]
    assert fit["excess_high"] < 0
    assert fit["ratio_high"] - fit["ratio_low"] < 0.01


def test_only_pairs_with_both_sources_count():
    rows = both(lambda w: -0.1 * null(w))
    gone = (rows["null"] == "untrained") & (rows["source_seed"] == 0) & (rows["target_seed"] == 1)
    rows = rows[~gone]
    odd = (rows["null"] == "none") & (rows["source_seed"] == 1) & (rows["target_seed"] == 0)
    rows.loc[odd, "fvu_test"] = np.nan  # an undefined row of another kind is left out with its partner
    assert len(paired(rows, ["layer"])) == 5 * (12 - 2)
    fit = fit_excess(rows, ["layer"], bootstraps=1).iloc[0]
    assert fit["ratio"] == pytest.approx(0.9)


def test_the_share_of_warned_pairs_is_told():
    rows = both(lambda w: -0.1 * null(w))
    rows.loc[(rows["source_seed"] == 0) & (rows["null"] == "untrained"), "warning"] = "few images"
    fit = fit_excess(rows, ["layer"], bootstraps=1).iloc[0]
    assert fit["warned"] == pytest.approx(0.25)
    assert "25 % of its rows carry a warning" in fit["warning"]


def test_tables_without_untrained_sources_are_refused_with_the_cure():
    rows = both(lambda w: -0.1 * null(w))
    with pytest.raises(ValueError, match=r"no real pair has a row with the null 'untrained'.*graft\.nulls"):
        fit_excess(rows[rows["null"] == "none"], ["layer"])


def test_the_intervals_cover_the_excess_and_its_exponents_at_their_nominal_rate():
    """80 sweeps; the bound is 3 binomial deviations (0.034) below 0.9."""
    effects = {"target": 0.1, "source": 0.15, "noise": 0.1, "rng": np.random.default_rng(2)}
    rows = both(lambda w: -0.2 * w**-0.9, layers=range(80), **effects)
    fits = fit_excess(rows, ["layer"], bootstraps=1)
    truth = {"alpha_excess": 0.9, "excess": -0.2 * 64**-0.9, "ratio": 1 - 0.2 / 0.7 * 64**-0.3}
    for name, value in (truth | {"alpha_untrained": 0.6}).items():
        covers = (fits[f"{name}_low"] <= value) & (value <= fits[f"{name}_high"])
        assert covers.mean() >= 0.8, name
