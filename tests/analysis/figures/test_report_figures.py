"""Figures beyond pairs of one width show the means of their groups, and the sentences say them."""

import re

import numpy as np
import pandas as pd
import pytest

from espalier import load
from espalier.analysis.answers.pool_tests import largest_pools
from espalier.analysis.figures import crossings, mixtures, pool_nulls, pool_words, ridge_path, variants
from espalier.analysis.figures.pair_matrix import pair_matrix
from espalier.analysis.limits.selection import plain_grafts, usual_method
from espalier.analysis.report.html_page import make_report
from espalier.tasks.tables.rows import table
from tests.analysis.conftest import graft_rows, write_tables
from tests.analysis.more_rows import (
    LAYERS,
    SEEDS,
    WIDTHS,
    across_width_rows,
    all_graft_rows,
    barrier_curve_rows,
    barrier_rows,
    exchange_rows,
    hybrid_rows,
    method_rows,
    pool_graft_rows,
    ridge_rows,
    skip_rows,
)

NAMES = [
    "excess", "error_by_width", "pair_matrix", "nulls", "exchangeability", "exchangeability_at_start",
    "exchangeability_tests", "wider_subset", "wider_subset_at_start", "wider_subset_tests",
    "cross_width", "cross_epoch", "skip", "methods", "hybrids", "barriers", "barrier_curves", "ridge_path",
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_tables(
        tmp_path_factory.mktemp("whole"),
        grafts=all_graft_rows(),
        exchangeability=[*exchange_rows(), *exchange_rows("wider_subset")],
        hybrids=hybrid_rows(),
        barriers=barrier_rows(),
        barrier_curves=barrier_curve_rows(),
        ridges=ridge_rows(),
    )


@pytest.fixture(scope="module")
def made(whole, no_pictures):
    return make_report(whole, bootstraps=50)


@pytest.fixture(scope="module")
def tables(whole):
    return load(whole)


def lines(axes):
    """By label the heights of what is drawn with error bars."""
    return {bar.get_label(): bar.lines[0].get_ydata() for bar in axes.containers}


def frame(name, rows):
    return table(name, rows).to_pandas()


def test_every_figure_is_there_with_its_reading(made):
    text = made.path.read_text()
    for name in NAMES:
        assert f'<figure id="{name}">' in text
        assert (made.path.parent / f"{name}.png").is_file()
    assert made.fits["widths"].tolist() == [4, 4]


def test_rows_of_other_pairings_and_methods_change_no_fit(made, tmp_path):
    alone = write_tables(tmp_path, grafts=graft_rows(widths=WIDTHS, seeds=SEEDS, layers=LAYERS))
    pd.testing.assert_frame_equal(made.fits, make_report(alone, bootstraps=50).fits)


def test_across_widths_the_axis_is_the_narrower_width(tables):
    rows = crossings.width_rows(usual_method(tables.grafts))
    axes = crossings.cross_width(rows).axes[0]
    drawn = lines(axes)
    assert drawn["into the widest"] == pytest.approx(2 * drawn["out of the widest"])
    own = rows[(rows["direction"] == crossings.INTO) & (rows["layer"] == 2)]
    assert drawn["into the widest"] == pytest.approx(
        own.groupby("source_width")["fvu_test"].mean().to_numpy()
    )
    assert axes.containers[0].lines[0].get_xdata().tolist() == [4, 8, 16]
    assert len(drawn["within one width"]) == 4


def test_across_epochs_one_net_is_at_the_end(tables):
    rows = crossings.epoch_rows(usual_method(tables.grafts))
    untrained = crossings.untrained_rows(usual_method(tables.grafts), rows)
    left, right = crossings.cross_epoch(rows, untrained).axes[:2]
    assert left.containers[0].lines[0].get_xdata().tolist() == [0, 1, 5, 20]
    last = rows["pairing"] == "same_width"
    assert lines(left)["2 · conv2"][-1] == pytest.approx(rows[last & (rows["layer"] == 2)]["fvu_test"].mean())
    assert lines(right)["3 · conv3"][:3] == pytest.approx([0.297] * 3)
    beside = next(bar.lines[0] for bar in right.containers if bar.get_label() == "3 · conv3, untrained")
    assert beside.get_xdata().tolist() == [0, 20]  # the targets whose untrained sources are in the rows
    into_last = untrained[(untrained["layer"] == 3) & (untrained["target_epoch"] == 20)]
    assert beside.get_ydata()[1] == pytest.approx(into_last["fvu_test"].mean())


def test_skips_and_methods_are_held_against_plain_exact_grafts(tables):
    rows = variants.skip_rows(tables.grafts)
    drawn = lines(variants.by_layer(variants.skip_means(rows), rows, {0: "none"}, "x").axes[0])
    assert len(drawn["none"]) == 2
    assert drawn["1"] == pytest.approx([0.297])
    rows = variants.method_rows(tables.grafts)
    assert set(rows["target_width"]) == {32}
    drawn = lines(variants.by_layer(variants.method_means(rows), rows, variants.METHOD_WORDS, "x").axes[0])
    assert list(drawn) == ["exact (least squares)", "stitch (1x1 conv)", "Adam, as in Gu 2020"]
    assert drawn["Adam, as in Gu 2020"] * 1.5 == pytest.approx(drawn["stitch (1x1 conv)"])


def test_the_exchangeability_of_a_width_is_the_geometric_mean_over_its_targets(tables):
    rows = tables.exchangeability
    last = rows[(rows["null"] == "pooled") & (rows["target_epoch"] == 20)]
    found = pool_nulls.summary(last)
    assert found["ratio"].to_numpy() == pytest.approx(np.tile([1.2, 1.3], [4, 1]).T.ravel() * 1.01)
    assert (found["rejects"] == 2).all()
    first = rows[(rows["null"] == "pooled") & (rows["target_epoch"] == 0)]
    axes = pool_nulls.ratios(last, first).axes[0]
    assert axes.get_lines()[-1].get_ydata() == pytest.approx([1.2 * 1.01] * 4)
    assert [text.get_text() for text in axes.texts] == ["2/3\n(0)"] * 4


def test_of_a_sweep_that_grew_the_largest_pools_and_the_widest_nets_count():
    rows = [*exchange_rows(), *exchange_rows("wider_subset")]
    smaller = [row | {"nets": row["nets"] - 1, "ratio": 9.0} for row in rows]
    narrower = [row | {"null_width": 16, "ratio": 9.0} for row in exchange_rows("wider_subset")]
    kept = largest_pools(frame("exchangeability", [*smaller, *rows, *narrower]))
    assert kept["ratio"].tolist() == [row["ratio"] for row in rows]
    grown = frame("grafts", [*across_width_rows(WIDTHS), *across_width_rows((*WIDTHS, 64))])
    across = crossings.width_rows(grown)
    assert set(across[["source_width", "target_width"]].max(axis=1)) == {64}
    assert len(crossings.width_means(across)) == 16


def test_what_is_said_of_exchangeability_is_no_more_than_the_rows_carry():
    said = pool_words.findings(frame("exchangeability", exchange_rows()))
    assert "Before training a net serves a target with 1.01 times" in said[0]
    assert "After 20 epochs a net serves a target with 1.26 times" in said[1]
    assert "24 rows, none with a warning" in said[1]
    assert "layer 2: 67 % of 12 targets, initial nets 0 %" in said[2]
    assert "depend on one another" in said[-1]


def test_hybrids_of_pairs_that_share_no_net_have_the_textbook_error(tables):
    means = mixtures.share_means(tables.hybrids)
    assert means["mean"].tolist() == pytest.approx([0.905, 0.805, 0.905] * 4)
    assert means["error"].to_numpy() == pytest.approx(0.005)
    drawn = lines(mixtures.hybrids(tables.hybrids).axes[0])
    assert drawn["32"] == pytest.approx([0.905, 0.805, 0.905])
    (said,) = mixtures.findings(tables.hybrids, 0.9)
    assert "at worst, share 0.5: 80.5 ([" in said
    assert "the 297 images; 6 rows, none with a warning" in said


def test_sentences_beyond_pairs_of_one_width_have_rows_and_intervals(tables):
    every = [
        *crossings.findings(usual_method(tables.grafts), 0.9),
        *variants.findings(tables.grafts, 0.9),
    ]
    assert len(every) == 5  # across widths, across epochs, a skip, Adam, a stitch
    for said in every:
        assert re.search(r"layer \d: \S+ \[\S+, \S+\]", said), said
        assert re.search(r"\d+ rows, (none|\d+ %) with a warning", said), said


def test_hybrids_of_a_regression_show_their_loss():
    none = {f"{name}accuracy_test": None for name in ("", "source_", "target_")}
    rows = frame("hybrids", [row | none for row in hybrid_rows()])
    assert lines(mixtures.hybrids(rows).axes[0])["4"] == pytest.approx([0.3] * 3)
    assert mixtures.findings(rows, 0.9) == []


def test_the_ridge_path_marks_what_was_chosen(tables):
    rows = ridge_path.path_rows(tables.ridges)
    means = ridge_path.path_means(rows)
    chosen = means.groupby("ridge")["chosen"].mean()
    assert chosen.to_numpy() == pytest.approx([0, 2 / 3, 1 / 3])
    drawn = lines(ridge_path.ridge_path(rows).axes[0])["8"]
    assert drawn == pytest.approx(drawn[1] * np.array([2, 1, 2]))
    assert "The ridge 1e-06 was chosen most often (67 %" in ridge_path.findings(tables.ridges)[0]


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        (across_width_rows(), "cross_width"),
        (skip_rows(), "skip"),
        ([*method_rows("stitch", 3.0), *method_rows("adam", 2.0)], "methods"),
        ([*graft_rows(widths=(4, 8)), *pool_graft_rows(width=8)], "nulls"),
    ],
)
def test_a_sweep_of_other_rows_alone_has_a_report(tmp_path, rows, name):
    made = make_report(write_tables(tmp_path, grafts=rows), bootstraps=20)
    assert f'<figure id="{name}">' in made.path.read_text()


def test_seeds_stay_whole_numbers_beside_rows_of_pools(tables):
    grafts = plain_grafts(tables.grafts)
    last = grafts[(grafts["target_epoch"] == 20) & (grafts["target_width"] == 32)]
    shown = pair_matrix(last).axes[0]
    assert [text.get_text() for text in shown.get_xticklabels()] == ["0", "1", "2"]
