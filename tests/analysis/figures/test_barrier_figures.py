"""The figures of paths show means over pairs with their textbook error, and the sentences say them."""

import pytest

from espalier.analysis.figures import barrier_figures
from espalier.analysis.figures.barrier_figures import Way
from espalier.analysis.figures.drawn_axes import read_back
from espalier.orchestrator.planning.kinds.registry import know_tables
from espalier.tasks.tables.rows import table
from tests.analysis.more_rows import barrier_curve_rows, barrier_rows

know_tables()


def frame(name, rows):
    return table(name, rows).to_pandas()


def test_barriers_of_pairs_that_share_no_net_have_the_textbook_error():
    rows = frame("barriers", barrier_rows())
    means = barrier_figures.barrier_means(rows, Way("weights", "repair"), "loss_test")
    assert means["target_width"].tolist() == [4, 8, 16, 32]
    assert means["mean"].tolist() == pytest.approx([1.1 / width for width in (4, 8, 16, 32)])
    assert means["error"].tolist() == pytest.approx([0.1 / width for width in (4, 8, 16, 32)])
    null = barrier_figures.barrier_means(rows, Way("none", "repair", True), "loss_test")
    assert null["mean"].tolist() == pytest.approx([4.1 / 4 / width for width in (4, 8, 16, 32)])


def test_each_way_is_a_line_and_tempered_ones_have_a_loss_alone():
    loss, accuracy = barrier_figures.by_width(frame("barriers", barrier_rows())).axes
    drawn = {bar.get_label(): bar.lines[0].get_ydata() for bar in loss.containers}
    assert list(drawn) == [
        "no matching",
        "no matching, REPAIR",
        "weights matched, REPAIR",
        "no matching, REPAIR, temperature chosen anew",
        "weights matched, REPAIR, temperature chosen anew",
    ]
    assert drawn["no matching"][0] == pytest.approx(8.1 / 4)
    assert len(accuracy.containers) == 3
    path = barrier_figures.along(frame("barrier_curves", barrier_curve_rows((4,))))
    axes = path.axes
    shown = read_back(path).panels[0]
    assert [band.group for band in shown.bands] == [line.group for line in shown.series] == list(drawn)
    curves = {line.get_label(): line.get_ydata() for line in axes[1].lines}
    assert curves["weights matched, REPAIR"] == pytest.approx([0.9, 0.9 - 1.1 / 40, 0.9])


def test_the_last_epoch_counts_and_each_pair_once_with_the_third_net_if_it_has_one():
    few = barrier_rows((4,), pairs=((0, 1),), third=None)
    more = [row | {"key": row["key"] + "more"} for row in barrier_rows((4,), pairs=((0, 1),))]
    rows = frame("barriers", [*more, *few, *barrier_rows((4,), epoch=1)])
    kept = barrier_figures.last_epoch(rows)
    assert len(kept) == 3
    assert set(kept["third_seed"]) == {4}
    curves = frame("barrier_curves", barrier_curve_rows((4,), pairs=((0, 1),)))
    assert barrier_figures.curves_of(curves, kept).empty  # those of the former key


def test_sentences_have_rows_intervals_the_null_and_the_cycle():
    path, gain, cycle = barrier_figures.findings(frame("barriers", barrier_rows()), 0.9)
    assert "of width 32 after 20 epochs" in path
    assert "weights matched, REPAIR: 0.034 [" in path
    assert "no matching, REPAIR, temperature chosen anew: 0.032 [" in path
    assert "weights matched, REPAIR, temperature chosen anew: 0.0086 [" in path
    assert "weights matched, REPAIR: 0.023 [" in gain
    assert "6 rows, none with a warning" in path
    assert "25 % (weights matched; 6.2 % by chance)" in cycle
    assert barrier_figures.findings(frame("barriers", []), 0.9) == []
    alone, gained = barrier_figures.findings(
        frame("barriers", barrier_rows(pairs=((0, 1),), third=None)), 0.9
    )
    assert "1 pair, no interval" in alone
    assert "1 pair, no interval" in gained


def planted(**tempered):
    """At width 4 the loss rises by 0.8 without a matching and by 0.3 with one, in both pairs."""
    rows = [row for row in barrier_rows((4,), third=None) if row["correction"] == "repair"]
    plain = {"none": 0.8, "weights": 0.3}
    return frame(
        "barriers",
        [
            row
            | {
                "loss_test_barrier": plain[row["matching"]],
                "tempered_loss_test_barrier": tempered[row["matching"]][row["source_seed"] // 2],
            }
            for row in rows
        ],
    )


def test_a_matching_is_held_against_no_matching_each_at_its_own_temperature():
    rows = planted(none=(0.24, 0.44), weights=(0.02, 0.20))
    (way, gain), *rest = barrier_figures.gains(rows)
    assert way == Way("weights", "repair", True)
    assert not rest
    assert gain.mean == pytest.approx((0.22 + 0.24) / 2)  # within pairs, whose own heights differ more
    assert gain.variance**0.5 == pytest.approx(0.01)
    said = barrier_figures.findings(rows, 0.9)[1]
    assert "weights matched, REPAIR: 0.23 [0.17, 0.29], 2 pairs" in said


def test_a_matching_that_takes_nothing_away_beyond_a_temperature_is_seen_not_to():
    rows = planted(none=(0.24, 0.26), weights=(0.24, 0.28))
    said = barrier_figures.findings(rows, 0.9)[1]
    assert "weights matched, REPAIR: -0.01 [-0.073, 0.053], 2 pairs" in said
    without = rows[rows["matching"] != "none"]
    assert barrier_figures.gains(without) == []
    assert len(barrier_figures.findings(without, 0.9)) == 1


def test_a_regression_shows_its_loss_alone_and_lost_paths_are_left_out():
    none = dict.fromkeys(name for name in barrier_rows()[0] if name.startswith(("accuracy", "tempered")))
    rows = [row | none for row in barrier_rows()]
    assert len(barrier_figures.by_width(frame("barriers", rows)).axes) == 1
    lost = frame("barriers", [rows[0] | {"loss_test_barrier": None}, *rows[1:]])
    means = barrier_figures.barrier_means(lost, Way("none", "none"), "loss_test")
    assert means["pairs"].tolist() == [1, 2, 2, 2]
