"""The means of measures without a fit: known values, intervals over nets, what is left out and counted."""

import numpy as np
import pytest

from espalier import similarity_summary
from espalier.analysis.limits.intervals import spread_interval
from tests.analysis.compared_rows import compared_rows, effects, frame_of

NET = effects(0.05)


def additive(measure, width, layer, epoch, pair):
    """Effects of the nets alone: the error of the mean is 2 sd / sqrt(S), to the last digit."""
    return 0.5 + layer / 10 + NET[pair[0]] + NET[pair[1]]


def test_the_mean_has_the_error_of_the_nets_and_not_of_their_pairs():
    found = similarity_summary(frame_of(compared_rows(additive, layers=(1,), widths=(4,), epochs=(20,))))
    (row,) = found.to_dict("records")
    assert row["value"] == pytest.approx(0.6 + 2 * NET[:4].mean())
    assert row["error"] == pytest.approx(2 * NET[:4].std(ddof=1) / 2)
    assert (row["low"], row["high"]) == pytest.approx(spread_interval(row["value"], row["error"], 3, 0.9))
    assert (row["nets"], row["pairs"], row["undefined"], row["warned"]) == (4, 6, 0, 0)
    assert (row["measure"], row["kind"], row["null"], row["dataset"]) == (
        "cka",
        "similarity",
        "images",
        "digits",
    )
    told = [row[name] for name in ("null_mean", "null_sd", "calibrated", "rejected")]
    assert told == pytest.approx([0.1, 0.02, 0.5, 1.0])


def test_each_measure_layer_width_and_epoch_is_a_row_of_its_own():
    rows = compared_rows(additive, measures=("cka", "energy"))
    found = similarity_summary(frame_of([*rows, *rows]))  # rows that stand there again count once
    assert len(found) == 2 * 4 * 2 * 2
    assert set(found["pairs"]) == {6}
    assert found[found["layer"] == 2]["value"].to_numpy() == pytest.approx(0.7 + 2 * NET[:4].mean())


def test_pairs_without_a_value_are_counted_and_in_no_mean():
    rows = compared_rows(lambda *at: None if 3 in at[-1] else additive(*at), widths=(4,), epochs=(20,))
    found = similarity_summary(frame_of(rows))
    assert found["value"].to_numpy() == pytest.approx(np.array([0.6, 0.7]) + 2 * NET[:3].mean())
    assert found[["nets", "pairs", "undefined"]].to_numpy().tolist() == [[3, 3, 3]] * 2
    assert found["warned"].tolist() == [0.5, 0.5]
    none = similarity_summary(frame_of(compared_rows(lambda *at: None, widths=(4,), epochs=(20,))))
    assert none["value"].isna().all()
    assert none[["nets", "pairs", "undefined"]].to_numpy().tolist() == [[0, 0, 6]] * 2


def test_two_nets_have_a_mean_and_no_interval():
    (row,) = similarity_summary(
        frame_of(compared_rows(additive, widths=(4,), epochs=(20,), seeds=(0, 1), layers=(1,)))
    ).to_dict("records")
    assert np.isfinite(row["value"])
    assert np.isnan([row["error"], row["low"], row["high"]]).all()


def test_what_is_no_table_of_one_setting_is_refused():
    rows = frame_of(compared_rows(additive, widths=(4,)))
    with pytest.raises(ValueError, match="give rows of table `similarity`"):
        similarity_summary(rows.drop(columns="measure"))
    with pytest.raises(ValueError, match="level must lie between 0 and 1, got 90"):
        similarity_summary(rows, level=90)
    with pytest.raises(ValueError, match="whose init differs are of two settings"):
        similarity_summary(rows.assign(source_init="uniform"))
    assert similarity_summary(rows.iloc[:0]).empty


def test_a_weight_that_a_study_chose_is_no_other_setting():
    """A tuned field has no value in the axes; two of them are alike."""
    rows = frame_of(compared_rows(additive, widths=(4,), epochs=(20,), layers=(1,)))
    tuned = rows.assign(source_reg_weight=np.nan, target_reg_weight=np.nan)
    assert similarity_summary(tuned)["pairs"].tolist() == [6]
    with pytest.raises(ValueError, match="whose reg_weight differs are of two settings"):
        similarity_summary(rows.assign(source_reg_weight=np.nan))
