"""Nulls by their error and by the accuracy of the grafted net, and which of the two a claim rests on."""

import pytest

from espalier.analysis.figures import source_nulls
from espalier.tasks.tables.rows import table
from tests.analysis.conftest import graft_rows
from tests.analysis.more_rows import LAYERS, SEEDS

EPOCH = 20


def real_rows():
    rows = graft_rows(widths=(32,), seeds=SEEDS, epochs=(EPOCH,), layers=LAYERS)
    return [row for row in rows if row["null"] in ("none", "self")]


def beside(null, factor, **columns):
    """For each real row one of the null, its error `factor` times as large."""
    real = [row for row in real_rows() if row["null"] == "none"]
    return [row | {"null": null, "fvu_test": factor * row["fvu_test"], **columns} for row in real]


def frame(*rows):
    return table("grafts", [row for some in rows for row in some]).to_pandas()


def lines(axes):
    return {bar.get_label(): bar.lines[0].get_ydata() for bar in axes.containers}


def test_nulls_are_drawn_by_their_error_and_by_accuracy():
    rows = frame(real_rows(), beside("resampled", 2.0), beside("clustered_noise", 9.0, accuracy_test=0.6))
    left, right = source_nulls.error_of_nulls(rows).axes[:2]
    drawn = lines(left)
    assert drawn["resampled"] == pytest.approx(2 * drawn["real grafts"])
    assert drawn["clustered noise"] == pytest.approx(9 * drawn["real grafts"])
    assert lines(right)["clustered noise"] == pytest.approx([0.6, 0.6])
    own = next(line for line in right.get_lines() if line.get_label() == "the targets' own")
    assert own.get_ydata()[0] == pytest.approx(rows["target_accuracy_test"].mean())
    assert "self" not in drawn  # 0 but for rounding: it is told, so that the axis shows the others apart
    assert "self: at most " in left.get_title(loc="left")
    assert "self" in lines(right)


def test_a_floor_that_does_not_hold_is_drawn():
    broken = [row | ({"fvu_test": 0.1} if row["null"] == "self" else {}) for row in real_rows()]
    assert "self" in lines(source_nulls.error_of_nulls(frame(broken, beside("untrained", 2.0))).axes[0])


def test_a_regression_has_one_panel_and_no_sentence_on_accuracy():
    none = dict.fromkeys(("accuracy_test", "target_accuracy_test", "accuracy_drop"))
    rows = frame([row | none for row in [*real_rows(), *beside("clustered_noise", 9.0)]])
    assert len(source_nulls.error_of_nulls(rows).axes) == 1
    assert source_nulls.findings(rows, 0.9) == []


@pytest.mark.parametrize(
    ("accuracy", "factor", "words"),
    [
        (0.85, 9.0, "accuracy is no evidence of like features, and a claim rests on the FVU alone"),
        (0.1, 9.0, "A claim rests on the FVU; accuracy supports it only by what real grafts have more"),
        (0.85, 0.5, "BEWARE, neither carries a claim here"),
    ],
)
def test_class_noise_says_which_of_accuracy_and_error_a_claim_rests_on(accuracy, factor, words):
    noise = beside("clustered_noise", factor, accuracy_test=accuracy)
    noise = [row | {"accuracy_test": accuracy + 0.01 * (row["layer"] == 3)} for row in noise]
    (said,) = source_nulls.findings(frame(real_rows(), noise), 0.9)
    assert f"reaches an accuracy of {accuracy + 0.01:.3f} at layer 3, where it is highest" in said
    assert words in said
    assert "12 rows" in said


def test_a_net_drawn_anew_is_held_against_the_real_source_of_the_same_pair():
    said = source_nulls.findings(frame(real_rows(), beside("resampled", 2.0)), 0.9)
    assert len(said) == 1
    assert "layer 2: 0.5 [0.5, 0.5]; layer 3: 0.5 [0.5, 0.5]" in said[0]
    assert "the real source serves better at 2 of 2 layers" in said[0]
    (worse,) = source_nulls.findings(frame(real_rows(), beside("untrained_scaled", 0.5)), 0.9)
    assert "at 0 of 2 layers, and worse at 2" in worse


def test_without_these_nulls_nothing_is_said():
    assert source_nulls.findings(frame(real_rows()), 0.9) == []
    assert source_nulls.findings(frame(real_rows()).iloc[:0], 0.9) == []
    (only,) = source_nulls.captioned_figures(frame(real_rows(), beside("resampled", 2.0)))
    assert only.name == "nulls"
    assert "Drawn anew: " in only.reading
    assert "Class noise knows" not in only.reading
