"""The answer: a row a layer, no more said than the intervals carry."""

import numpy as np
import pandas as pd
import pytest

from espalier.analysis.limits.similarity_fits import compare
from espalier.analysis.limits.snapshots import end_fits
from espalier.analysis.report.answer import answer, in_short, sentence
from espalier.analysis.tables import load
from tests.analysis.compared_rows import compared_rows
from tests.analysis.conftest import graft_rows, write_tables
from tests.analysis.more_rows import LAYERS, SEEDS, WIDTHS, barrier_rows, exchange_rows

ROW = {
    "alpha": 0.8, "alpha_low": 0.7, "alpha_high": 0.9, "c": 0.0, "model": "power",
    "excess": -0.1, "excess_low": -0.2, "excess_high": -0.05, "alpha_ratio_low": 0.1,
    "p_exchangeable": 0.6,
}  # fmt: skip


def answered(folder, **tables):
    tables = load(write_tables(folder, **tables))
    last, _ = end_fits(tables.grafts, 0.9, 50)
    return answer(tables, last, compare(tables.similarity, 0.9, 20), 0.9)


def test_each_layer_has_its_row_of_everything_that_is_known(tmp_path):
    found = answered(
        tmp_path,
        grafts=graft_rows(widths=WIDTHS, seeds=SEEDS, layers=LAYERS),
        exchangeability=exchange_rows(),
        barriers=barrier_rows(),
        similarity=compared_rows(lambda *place: 0.9, layers=LAYERS),
    ).set_index("layer")
    assert found.index.tolist() == [2, 3]
    assert found["alpha"].to_numpy() == pytest.approx([0.8, 0.55], abs=0.1)
    assert (found["alpha_low"] < found["alpha"]).all()
    assert found["pool_ratio"].to_numpy() == pytest.approx(np.array([1.2, 1.3]) * 1.01)
    assert found["p_exchangeable"].to_numpy() == pytest.approx(2 * 1.1 / 3)  # twice the mean of 1, .05, .05
    assert found["least_p"].to_numpy() == pytest.approx(2 / 20)
    assert found["cka"].to_numpy() == pytest.approx(0.5)
    assert found["barrier"].to_numpy() == pytest.approx(1.1 / 32)
    assert set(found["barrier_of"]) == {"weights matched, REPAIR"}
    assert (found["excess_high"] < 0).all()
    assert found["said"][2] == (
        "The error falls as w^-0.80; a trained source serves better than an untrained one; too few "
        "partitions to tell one net from a pool."
    )


def test_what_is_not_in_the_tables_is_not_a_number_and_is_not_said(tmp_path):
    found = answered(tmp_path, grafts=graft_rows(widths=(4, 8), epochs=(5,), nulls=False))
    assert found[["alpha", "excess", "pool_ratio", "cka", "barrier"]].isna().all(axis=None)
    assert set(found["said"]) == {"No fit over widths."}
    assert in_short(found) == ""
    (tmp_path / "none").mkdir()
    assert answered(tmp_path / "none").empty


def test_what_is_of_another_epoch_or_width_is_left_out(tmp_path):
    found = answered(
        tmp_path,
        grafts=graft_rows(widths=WIDTHS, seeds=SEEDS, layers=(2,)),
        exchangeability=exchange_rows(widths=WIDTHS[:-1]),
        barriers=barrier_rows(epoch=5),
        similarity=compared_rows(lambda *place: 0.9, layers=(2,), epochs=(0, 5)),
    )
    assert set(zip(found["epoch"], found["width"], strict=True)) == {(20, max(WIDTHS))}
    assert found[["pool_ratio", "p_exchangeable", "cka", "barrier"]].isna().all(axis=None)


def test_without_grafts_the_pools_tell_the_place(tmp_path):
    found = answered(tmp_path, exchangeability=exchange_rows(), barriers=barrier_rows())
    assert set(zip(found["epoch"], found["width"], strict=True)) == {(20, max(WIDTHS))}
    assert found[["pool_ratio", "barrier"]].notna().all(axis=None)


def test_without_a_fit_the_excess_of_the_widest_nets_is_still_told(tmp_path):
    found = answered(tmp_path, grafts=graft_rows(widths=(4, 8), seeds=(0, 1, 2), layers=(2,)))
    assert found["alpha"].isna().all()
    assert found["excess_low"].item() < found["excess"].item() < found["excess_high"].item() < 0
    assert found["said"].item() == "No fit over widths; a trained source serves better than an untrained one."


def test_a_layer_whose_excess_has_no_fit_leaves_the_others_theirs_and_tells_its_own(tmp_path):
    grafts = [
        row
        for row in graft_rows(widths=WIDTHS, seeds=SEEDS, layers=(2, 3))
        if row["null"] != "untrained" or row["layer"] == 2 or row["target_width"] > WIDTHS[1]
    ]
    found = answered(tmp_path, grafts=grafts).set_index("layer")
    assert found["alpha_ratio"].notna().tolist() == [True, False]
    assert (found["excess_high"] < 0).all()
    assert not found["warning"].str.contains("excess of width").any()


@pytest.mark.parametrize("widths", [(2, 4, 8, 16, 32), (4, 8)], ids=["with a fit", "without one"])
def test_an_excess_of_narrower_nets_than_the_rows_says_so(tmp_path, widths):
    """The widest nets have no untrained sources yet."""
    grafts = graft_rows(widths=widths, seeds=SEEDS, layers=(2,))
    there = [r for r in grafts if (r["null"], r["target_width"]) != ("untrained", widths[-1])]
    found = answered(tmp_path, grafts=there)
    assert found["width"].item() == widths[-1]
    assert found["excess"].item() < 0
    assert f"excess of width {widths[-2]}" in found["warning"].item()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {},
            "falls as w^-0.80; a trained source serves better than an untrained one and more so with",
        ),
        ({"model": "power+plateau", "c": 0.06}, "falls as w^-0.80, to a limit of 0.06;"),
        (
            {"alpha_low": -0.1, "model": "power+plateau", "c": 0.06},
            "No fall with the width that can be seen;",
        ),
        ({"alpha_low": -0.1}, "No fall with the width that can be seen"),
        ({"alpha": -0.3, "alpha_low": -0.4, "alpha_high": -0.2}, "The error rises as w^0.30"),
        ({"alpha_ratio_low": -0.1}, "better than an untrained one;"),
        ({"excess_high": 0.1}, "an untrained source serves as well, as far as can be seen"),
        ({"excess": 0.1, "excess_low": 0.05, "excess_high": 0.2}, "serves worse than an untrained one"),
        ({"p_exchangeable": 0.04}, "one net serves worse than a pool of nets"),
        ({}, "one net is not told apart from a pool"),
        ({"p_exchangeable": 0.05 + 1e-12, "least_p": 0.05}, "one net serves worse than a pool of nets"),
        ({"least_p": 0.1}, "too few partitions to tell one net from a pool"),
        ({"alpha": np.nan}, "No fit over widths; a trained source"),
    ],
)
def test_a_sentence_says_what_its_intervals_carry_and_is_short(changed, said):
    text = sentence(ROW | changed)
    assert said in text
    assert len(text) < 170


def test_an_interval_that_is_not_known_says_nothing_for_training():
    text = sentence(ROW | {"excess_low": np.nan, "excess_high": np.nan})
    assert "untrained" not in text
    text = sentence(ROW | {"alpha_low": np.nan, "alpha_high": np.nan})
    assert text.startswith("The error goes as w^-0.80, with no interval;")


def test_two_seeds_have_an_excess_without_an_interval_of_which_nothing_is_said(tmp_path):
    found = answered(tmp_path, grafts=graft_rows(widths=(4, 8), seeds=(0, 1), layers=(2,)))
    assert found["excess"].notna().all()
    assert found["excess_low"].isna().all()
    assert set(found["said"]) == {"No fit over widths."}


def test_the_answer_in_a_sentence_counts_layers():
    two = pd.DataFrame([ROW | {"layer": 2}, ROW | {"layer": 3, "excess_high": 0.1, "alpha_low": -1}])
    text = in_short(two)
    assert "falls with the width at 1 of 2 layers" in text
    assert "at 1 of 2 (layer 2); the width adds to that at 1" in text
    assert "the tables do not tell" in in_short(two.assign(excess_low=np.nan))
