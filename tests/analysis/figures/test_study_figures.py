"""The report's chapter on studies, from rows with known answers."""

import json

import pandas as pd
import pytest

from espalier.analysis.figures import study_figures
from espalier.analysis.report.chapters import chapters
from espalier.analysis.report.html_page import make_report
from espalier.analysis.tables import load
from espalier.tasks.tables.rows import table
from espalier.tasks.tables.schemas import SCHEMAS
from tests.analysis.conftest import curve_rows, graft_rows, job_rows, net_axes, net_rows, write_tables

RATES = {4: [0.1, 0.4, 0.2], 8: [0.1, 0.05, 0.8]}
"""By width the learning rates tried; the loss is |lr - best|, the best 0.4 at width 4 and 0.1 at width 8."""
BEST = {4: 0.4, 8: 0.1}


def axes(width, init="he_normal"):
    """The study's own columns: a width's key, and what its setting is before anything was tuned."""
    whole = net_axes(width, 0, 0) | {"init": init, "reg_weight": None, "recipe": "sgd lr tuned"}
    kept = set(SCHEMAS["trials"].names)
    return {"study": f"{init}{width}", **{name: value for name, value in whole.items() if name in kept}}


def trial_rows(init="he_normal", rates=RATES, objective="loss"):
    return [
        axes(width, init)
        | {
            "number": number, "parameters": json.dumps({"lr": rate, "schedule": "cosine", "nesterov": True}),
            "tried_lr": rate, "tried_momentum": 0.9, "tried_batch_size": 64, "tried_reg_weight": 0.0,
            "objective": objective, "value": abs(rate - BEST[width]) if objective == "loss" else rate,
            "state": "complete", "epochs": 5, "epochs_wanted": 5, "seeds": "1000", "images_validation": 300,
            "sampler": "tpe", "pruner": "none", "seconds": 1.0, "error": "",
        }
        for width in rates
        for number, rate in enumerate(rates[width])
    ]  # fmt: skip


def spoilt(row, state):
    """A trial without a value, however good it might look."""
    return row | {"number": row["number"] + 10, "state": state, "value": None, "epochs": 0}


def tuned_rows(rows, trials=3):
    """The best of the first `trials` of each study."""
    made = []
    for study in dict.fromkeys(row["study"] for row in rows):
        own = [row for row in rows if row["study"] == study and row["number"] < trials]
        best = min(own, key=lambda row: row["value"])
        kept = {name: best[name] for name in SCHEMAS["tuned"].names if name != "trials"}
        made.append(kept | {"trials": trials})
    return made


def frames(rows, chosen):
    return table("trials", rows).to_pandas(), table("tuned", chosen).to_pandas()


def test_the_chapter_says_what_was_chosen_for_each_width_and_how_far_the_rate_moves():
    rows = trial_rows()
    said = study_figures.findings(*frames([*rows, spoilt(rows[0], "diverged")], tuned_rows(rows)))
    assert said[0] == "7 trials in 2 studies: 6 complete, 1 diverged."
    assert said[1].startswith(
        "Width 4: lr 0.4, schedule cosine, nesterov True, with a held-back loss of 0 (trial 1"
    )
    assert said[2].startswith("Width 8: lr 0.1,")
    assert said[3:] == ["Over widths 4 to 8 the best learning rate moves by a factor of 4, 0.1 to 0.4."]


def test_settings_are_told_apart_by_what_they_differ_in():
    rows = [*trial_rows("uniform"), *trial_rows()]
    named = study_figures.named_studies(frames(rows, [])[0])
    assert list(named.values()) == [
        f"width {width}, init = {init}" for init in ("he_normal", "uniform") for width in (4, 8)
    ]
    said = study_figures.findings(*frames(rows, tuned_rows(rows)))
    assert sum("moves by a factor of 4" in sentence for sentence in said) == 2
    assert any(sentence.endswith("(init = uniform).") for sentence in said)


def test_a_better_trial_that_came_after_the_choice_is_told():
    rows = trial_rows()
    said = study_figures.findings(*frames(rows, tuned_rows(rows, trials=1)))
    (later,) = [sentence for sentence in said if "is better than" in sentence]
    assert later.startswith("Width 4: trial 1 (0) is better than trial 0, which was chosen before")


@pytest.mark.parametrize(("objective", "number"), [("loss", 1), ("accuracy", 1)])
def test_the_best_trial_is_complete_and_the_earliest_of_equals(objective, number):
    rows = trial_rows(rates={4: [0.1, 0.4, 0.4]}, objective=objective)
    best = study_figures.best_trial(frames([*rows, spoilt(rows[1], "pruned")], [])[0])
    assert best["number"] == number
    assert study_figures.best_trial(frames([spoilt(rows[0], "failed")], [])[0]) is None


def test_the_figures_show_every_trial_the_best_so_far_and_what_was_chosen():
    rows = trial_rows()
    rows[3] |= {"state": "pruned"}
    trials, tuned = frames(rows, tuned_rows(trial_rows()))
    figure = study_figures.values_by_trial(trials)
    assert [axes.get_title() for axes in figure.axes] == ["width 4", "width 8"]
    marks = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}
    assert marks["complete"] == [[0, pytest.approx(0.3)], [1, 0], [2, pytest.approx(0.2)]]
    assert [y for _, y in marks["best so far"]] == [pytest.approx(0.3), 0, 0]
    assert [
        x for x, _ in {line.get_label(): line for line in figure.axes[1].lines}["complete"].get_xydata()
    ] == [1, 2]
    (kept,) = [line for line in figure.axes[1].lines if line.get_label() == "complete"]
    assert kept.get_xdata().tolist() == [1, 2]
    figure = study_figures.best_by_width(trials, tuned)
    # the words and truths among what was tuned have no axis
    assert [axes.get_title() for axes in figure.axes] == ["lr"]
    drawn = [line.get_xydata().tolist() for line in figure.axes[0].lines]
    assert [[4, 0.4], [8, 0.1]] in drawn


def test_a_report_has_the_chapter_and_its_fits_stay_those_of_the_one_setting(tmp_path):
    rows = trial_rows()
    grafts = graft_rows(epochs=(20,), layers=(2, 3), nulls=False)
    tables = {"nets": net_rows(), "grafts": grafts, "curves": curve_rows(epochs=5), "jobs": job_rows()}
    write_tables(tmp_path, **tables)
    alone = make_report(tmp_path, bootstraps=20)
    write_tables(tmp_path, trials=rows, tuned=tuned_rows(rows))
    assert [chapter.label for chapter in chapters(load(tmp_path), 0.9, 20)] == ["", "Tuning"]
    made = make_report(tmp_path, bootstraps=20)
    pd.testing.assert_frame_equal(made.fits, alone.fits)
    page = made.path.read_text()
    for words in ("Value over trials", "The best of each width", "Width 4: lr 0.4", ">Grafts</a>"):
        assert words in page
    assert (tmp_path / "report" / "study.svg").exists()


def test_trials_that_all_failed_have_sentences_and_no_figure():
    rows = [spoilt(row, "failed") for row in trial_rows()]
    trials, tuned = frames(rows, [])
    assert study_figures.findings(trials, tuned) == ["6 trials in 2 studies: 6 failed."]
    assert list(study_figures.captioned_figures(trials, tuned)) == []
