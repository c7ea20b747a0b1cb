import numpy as np
import pandas as pd
import pytest
from scipy.optimize import curve_fit

from espalier import fit_width_limit
from espalier.analysis.limits import candidates
from espalier.analysis.limits.resample import bootstrap_means
from espalier.analysis.limits.width_limit import fit_groups
from espalier.tasks.tables.rows import table
from tests.analysis.conftest import graft_rows, net_rows

WIDTHS = np.array([4, 8, 16, 32, 64])


def pairs(value, widths=WIDTHS, seeds=4, noise=0.0, net=0.0, seed=0):
    """Rows of all ordered pairs: value(w) times 1 + source's effect + target's effect + the pair's noise."""
    rng, rows = np.random.default_rng(seed), []
    for width in widths:
        source, target = rng.normal(0, net, (2, seeds))
        for a in range(seeds):
            for b in range(seeds):
                if a != b:
                    factor = 1 + source[a] + target[b] + rng.normal(0, noise)
                    rows.append((width, a, width, b, value(width) * factor))
    return pd.DataFrame(rows, columns=["source_width", "source_seed", "target_width", "target_seed", "y"])


@pytest.fixture(scope="module")
def grafts():
    return table("grafts", graft_rows()).to_pandas()


@pytest.mark.parametrize("alpha", [0.47, 1.0, -0.3])
def test_an_exact_power_law_is_recovered(alpha):
    fit = fit_width_limit(pairs(lambda w: 0.7 * w**-alpha), "y", []).iloc[0]
    assert fit["model"] == "power"
    assert fit["alpha"] == pytest.approx(alpha, abs=1e-6)
    assert fit["a"] == pytest.approx(0.7, rel=1e-6)
    assert (fit["c"], fit["warning"]) == (0, "")
    assert fit["alpha_low"] == pytest.approx(alpha, abs=1e-6)


@pytest.mark.parametrize(("alpha", "c"), [(0.5, 0.2), (1.0, 0.05), (2.0, 1e-3)])
def test_an_exact_plateau_is_recovered(alpha, c):
    fit = fit_width_limit(pairs(lambda w: c + 0.7 * w**-alpha), "y", []).iloc[0]
    assert fit["model"] == "power+plateau"
    assert fit["alpha"] == pytest.approx(alpha, abs=1e-6)
    assert fit["c"] == pytest.approx(c, abs=1e-6)
    assert fit["aicc"] == fit["aicc_plateau"] < fit["aicc_power"]


@pytest.mark.parametrize("plateau", [False, True])
def test_the_point_fit_is_scipys(plateau):
    frame = pairs(lambda w: 0.1 + w**-0.8, noise=0.02, net=0.02)
    mean = frame.groupby("target_width")["y"].mean()
    fit = fit_width_limit(frame, "y", [], plateau=plateau, bootstraps=10).iloc[0]

    def law(w, alpha, a, c=0.0):
        return c + a * w**-alpha

    start = [1.0, 1.0, 0.05] if plateau else [1.0, 1.0]
    best, _ = curve_fit(
        law, mean.index.to_numpy(float), mean.to_numpy(), start, sigma=mean.to_numpy(), xtol=1e-12
    )
    assert [fit["alpha"], fit["a"]] == pytest.approx(best[:2], rel=1e-5)
    assert not plateau or fit["c"] == pytest.approx(best[2], rel=1e-5)


def test_the_order_of_rows_does_not_matter():
    frame = pairs(lambda w: w**-0.5, noise=0.05, net=0.05)
    shuffled = frame.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(
        fit_width_limit(frame, "y", []), fit_width_limit(shuffled, "y", []), rtol=1e-6
    )


def test_another_unit_scales_c_and_leaves_alpha():
    frame = pairs(lambda w: 0.2 + w**-1.0, noise=0.02, net=0.02)
    one, ten = (fit_width_limit(frame.assign(y=frame["y"] * k), "y", []).iloc[0] for k in (1, 10))
    for name in ("alpha", "alpha_low", "alpha_high", "aicc"):
        assert ten[name] == pytest.approx(one[name], rel=1e-6)
    for name in ("a", "c", "c_low", "c_high"):
        assert ten[name] == pytest.approx(10 * one[name], rel=1e-5)


def test_a_higher_level_gives_a_longer_interval_around_the_shorter():
    frame = pairs(lambda w: w**-0.5, noise=0.05, net=0.05)
    half, most = (
        fit_width_limit(frame, "y", [], plateau=False, level=level).iloc[0] for level in (0.5, 0.95)
    )
    assert most["alpha_low"] < half["alpha_low"] < half["alpha"] < half["alpha_high"] < most["alpha_high"]


def test_frames_of_nets_are_fitted_too():
    nets = table("nets", net_rows()).to_pandas()
    fit = fit_width_limit(nets, "loss_test", ["dataset"]).iloc[0]
    assert fit["nets"] == 20
    assert fit["widths"] == 5
    assert fit["c"] > 0.2  # at the last epoch: 2.3 / 21 + 0.1 + the seeds' 0.015


def test_the_last_snapshot_of_real_pairs_is_what_is_fitted_by_default(grafts):
    last = grafts[(grafts["null"] == "none") & (grafts["target_epoch"] == 20)]
    default = fit_width_limit(grafts, "fvu_test", ["layer"])
    pd.testing.assert_frame_equal(default, fit_width_limit(last, "fvu_test", ["layer"]))
    assert default["layer"].tolist() == [2, 3, 4, 5]
    assert default["nets"].tolist() == [20] * 4


def test_epochs_and_nulls_can_be_groups(grafts):
    fits = fit_width_limit(grafts, "fvu_test", ["layer", "target_epoch"], plateau=False, bootstraps=100)
    assert len(fits) == 16
    start = fits[(fits["layer"] == 2) & (fits["target_epoch"] == 0)].iloc[0]
    assert start["alpha"] == pytest.approx(1.0, abs=0.1)
    trained = grafts[grafts["null"].isin(["none", "untrained"])]
    assert len(fit_width_limit(trained, "fvu_test", ["layer", "null"], bootstraps=100)) == 8


@pytest.mark.parametrize(
    ("by", "change", "match"),
    [
        ([], {}, "column 'layer' has several values"),
        (["layer"], {"method": ["exact", "adam"]}, "column 'method' has several values .adam, exact."),
        (["layer"], {"target_reg_weight": [1e-4, 1e-3]}, "'target_reg_weight' has several values"),
        (
            ["layer"],
            {"source_width": [4, 8]},
            "found source_width .* select rows with source_width == target_width",
        ),
        (["depth"], {}, "no column .'depth'."),
        (["layer"], {"null": ["self", "untrained"]}, "no rows to fit"),
    ],
)
def test_rows_that_would_mix_silently_are_refused(grafts, by, change, match):
    odd = {name: np.resize(values, len(grafts)) for name, values in change.items()}
    with pytest.raises(ValueError, match=match):
        fit_width_limit(grafts.assign(**odd), "fvu_test", by)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"y": "layer_name"}, "y must name a column of numbers, got 'layer_name'"),
        ({"y": "nothing"}, "got 'nothing'"),
        ({"level": 1.0}, "level must lie between 0 and 1"),
        ({"bootstraps": 0}, "bootstraps must be at least 1"),
        ({"plateau": "yes"}, "plateau must be"),
    ],
)
def test_options_out_of_range_are_refused(grafts, options, match):
    with pytest.raises(ValueError, match=match):
        fit_width_limit(**({"frame": grafts, "y": "fvu_test", "by": ["layer"]} | options))


def test_too_few_widths_or_seeds_are_refused(grafts):
    with pytest.raises(ValueError, match=r"layer 2: a fit needs 4 widths or more, found 3: \[4, 8, 16\]"):
        fit_width_limit(grafts[grafts["target_width"] < 32], "fvu_test", ["layer"])
    few = grafts[(grafts["target_width"] < 64) | (grafts[["source_seed", "target_seed"]].max(axis=1) < 2)]
    with pytest.raises(
        ValueError, match=r"layer 2: a fit needs 3 seeds or more at each width, found \{64: 2\}"
    ):
        fit_width_limit(few, "fvu_test", ["layer"])


def test_rows_that_all_share_a_net_are_refused():
    frame = pairs(lambda w: w**-0.5)
    with pytest.raises(ValueError, match="one net has a part in every row at width"):
        fit_width_limit(frame[frame["source_seed"] == 0], "y", [])


@pytest.mark.parametrize("bad", [-50.0, 0.0])
def test_means_without_a_logarithm_give_a_row_that_says_so(bad):
    frame = pairs(lambda w: w**-0.5)
    odd = frame.assign(y=frame["y"].where(frame["target_width"] != 16, bad))
    fit = fit_width_limit(odd, "y", []).iloc[0]
    assert np.isnan(fit["alpha"])
    assert fit["warning"] == "no fit: the mean is not positive at width [16]"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_counted_by_group_and_width(bad):
    parts = [pairs(lambda w: w**-0.5).assign(layer=layer) for layer in (1, 2)]
    frame = pd.concat(parts, ignore_index=True)
    odd = (frame["layer"] == 2) & (frame["target_seed"] == 0) & frame["target_width"].isin([8, 32])
    frame.loc[odd & ((frame["target_width"] == 8) | (frame["source_seed"] == 1)), "y"] = bad
    good, none = fit_width_limit(frame, "y", ["layer"]).itertuples()
    assert good.alpha == pytest.approx(0.5)
    assert np.isnan(none.alpha)
    assert none.warning.startswith("no fit: 4 of 60 rows have no finite y (3 at width 8, 1 at width 32)")


def test_rows_that_are_there_again_count_once_and_are_told():
    frame = pairs(lambda w: w**-0.5, net=0.1, noise=0.05)
    once = fit_width_limit(frame, "y", [], bootstraps=200).iloc[0]
    more = pd.concat([frame, frame[frame["target_seed"] == 2]], ignore_index=True)
    again = fit_width_limit(more, "y", [], bootstraps=200).iloc[0]
    assert again.drop("warning").equals(once.drop("warning"))
    assert again["warning"].startswith("15 rows are there again and count once")
    assert "again" not in once["warning"]


@pytest.mark.parametrize(
    ("frame", "warning"),
    [
        (
            pairs(lambda w: 0.05 + w**-0.5, net=0.02, noise=0.01, seed=3),
            "fits with and without plateau are alike",
        ),
        (pairs(lambda w: 0.5 + w**-1.0, net=0.1, noise=0.05, seed=3), "alpha is hardly known"),
        (pairs(lambda w: 1.0 + (w == 16), net=0.01, noise=0.01), "misfit beyond the scatter of nets"),
        (pairs(lambda w: w**-0.5, net=0.6, seed=1), "the mean is unsure at width"),
    ],
)
def test_doubtful_fits_warn(frame, warning):
    assert warning in fit_width_limit(frame, "y", []).iloc[0]["warning"]


@pytest.mark.parametrize(
    ("warned", "said"),
    [
        (lambda rows: rows["target_width"] > 0, "100 % of its rows carry a warning"),
        (lambda rows: rows["source_seed"] == 0, "25 % of its rows carry a warning"),
        (lambda rows: rows["target_width"] == 64, "20 % of its rows carry a warning (100 % at width 64)"),
        (lambda rows: rows.index == 0, "2 % of its rows carry a warning (8 % at width 4)"),
        (lambda rows: rows["target_width"] == 0, ""),
    ],
)
def test_a_fit_that_rests_on_warned_rows_says_on_how_many(warned, said):
    frame = pairs(lambda w: w**-0.5)
    frame["warning"] = np.where(warned(frame), "few images", "")
    assert fit_width_limit(frame, "y", [], bootstraps=10)["warning"].item() == said


def test_nets_are_resampled_for_a_band_alone_and_once(monkeypatch):
    asked = []
    monkeypatch.setattr(
        candidates,
        "bootstrap_means",
        lambda means, bootstraps, seed: asked.append((bootstraps, seed)) or bootstrap_means(means, 50, seed),
    )
    frame = pairs(lambda w: 0.1 + w**-0.8, noise=0.05, net=0.05)
    (fit,) = fit_groups(frame, "y", [], bootstraps=2000, seed=3)
    assert not asked
    curve, low, high = fit.band(WIDTHS)
    fit.band(WIDTHS)
    assert asked == [(2000, 3)]
    assert (low < curve).all()
    assert (curve < high).all()
