"""A digits sweep that is tuned per width, with two settings, from the command line and through Ray."""

import json
import os
import re
import signal

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from espalier.orchestrator.cli import app
from espalier.orchestrator.config.sweep_config import ConfigError
from espalier.orchestrator.running.pool_makers import in_process
from espalier.orchestrator.sweep import Sweep
from espalier.orchestrator.tuning.journal import JOURNAL
from tests.integration.conftest import Sabotage, all_rows, published, run, wait_until, write_config

SPACE = {
    "tune.space.'train.lr'": "{low = 1e-3, high = 0.5, log = true}",
    "tune.space.'train.reg_weight'": "{choices = [0.0, 5e-3]}",
}
TUNE = {"tune.trials": 3, "tune.startup_trials": 1, "tune.seeds": [90]}


def tuned_config(folder, **changes):
    """The tiny sweep with a study of 3 trials for each of 2 widths."""
    lines = {
        "space": "{" + ", ".join(f"{name.split('.', 2)[2]} = {value}" for name, value in SPACE.items()) + "}"
    }
    fields = {f"tune__{name}": value for name, value in lines.items()}
    return write_config(
        folder, **{name.replace(".", "__"): value for name, value in TUNE.items()} | fields | changes
    )


def frame(folder, table):
    return pd.read_parquet(folder / "tables" / table)


def check(folder, settings, widths=(2, 3), trials=3):
    """Every study has its trials and a best, and every net was trained with the best of its width."""
    made, chosen, nets = (frame(folder, name) for name in ("trials", "tuned", "nets"))
    assert len(chosen) == settings * len(widths)
    assert made[made.state != "lost"].groupby("study").size().tolist() == [trials] * len(chosen)
    assert not made.duplicated(["study", "number"]).any()
    for best in chosen.itertuples():
        own = made[(made.study == best.study) & (made.state == "complete")]
        assert best.value == own.value.min()
        parameters = json.loads(best.parameters)
        here = nets[(nets.width == best.width) & (nets.parametrization == best.parametrization)]
        assert len(here)
        (told,) = set(here.tuned)
        for name, value in parameters.items():
            (found,) = re.findall(rf"{name} ([^,]+)", told)
            assert float(found) == pytest.approx(value, rel=1e-5)
        assert set(here.recipe) == set(own.recipe)
    curves = frame(folder, "trial_curves")
    assert curves.groupby(["study", "number"]).size().sum() == made.epochs.sum()
    assert not np.isinf(curves.loss_validation).any()


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_a_tuned_digits_sweep_of_two_parametrizations_runs_through_ray(tmp_path, local_ray):
    cross = '{"network.parametrization" = ["sp", "mup"]}'
    folder = tuned_config(tmp_path / "sweep", sweep__cross=cross, graft__nulls="[]", run__slots=2)
    summary = Sweep(folder).run()
    assert (summary.complete, summary.tuned.trials) == (True, 12)
    check(folder, settings=2)
    again = run(folder)
    assert again.complete
    assert (again.plan.tasks, again.tuned.trials) == ((), 0)


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_a_trial_whose_worker_is_killed_goes_on_in_another(tmp_path, local_ray):
    folder = tuned_config(
        tmp_path / "sweep", sweep__widths=[2], graft__nulls="[]", tune__pruner='"none"', run__slots=1
    )
    sabotage = Sabotage(kind="tune", job=4)
    assert Sweep(folder).run(pool=sabotage).complete
    assert sabotage.pool.killed
    log = frame(folder, "jobs")
    # the fourth job is the second trial's second epoch: it goes on from its first
    (lost,) = log[(log.kind == "tune") & (log.outcome == "failed")].itertuples()
    assert "trial 1 to epoch 2" in lost.label
    check(folder, settings=1, widths=(2,))
    assert (frame(folder, "trials").epochs == 2).all()


def espalier(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_plan_status_and_run_say_how_many_trials_there_are_and_what_was_chosen(tmp_path):
    folder = tuned_config(tmp_path / "sweep")
    text = espalier("plan", folder).output
    assert re.search(r"tune\W+trials\W+6?\W*0\W+6", text)
    assert "2 of 2 studies have chosen nothing yet" in text
    assert not (folder / "tables").exists()
    answer = espalier("run", folder, "--in-process")
    assert answer.exit_code == 0, answer.output
    assert "6 trials, 8 snapshots" in answer.output
    text = espalier("status", folder).output
    assert len(re.findall(r"tuned: width [23]: lr [\d.e-]+, reg_weight \S+ \(loss", text)) == 2
    assert "Nothing is missing." in text
    assert (folder / JOURNAL).exists()
    check(folder, settings=1)


@pytest.mark.parametrize("moment", ["study", "sweep"])
def test_a_tuned_sweep_that_is_killed_goes_on_and_repeats_no_trial(tmp_path, drivers, moment):
    folder = tuned_config(tmp_path / "sweep", tune__trials=4)
    process = drivers.start(folder)
    place = folder / "tables" / ("trials" if moment == "study" else "nets")
    wait_until(lambda: len(list(place.glob("*.parquet"))) >= 2, process)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    before = published(folder)
    assert before
    assert run(folder).complete
    after = published(folder)
    kept = [name for name in before if "resume" not in name and not name.startswith("tables/jobs")]
    assert {name: after.get(name) for name in kept} == {name: before[name] for name in kept}
    check(folder, settings=1, trials=4)


def test_more_trials_change_no_net_and_another_space_is_refused(tmp_path):
    folder = tuned_config(tmp_path / "sweep")
    assert run(folder).complete
    before, nets = published(folder), all_rows(folder)
    tuned_config(folder, tune__trials=5)
    summary = run(folder)
    assert summary.complete
    assert summary.tuned.trials == 4
    after = published(folder)
    assert {name: after[name] for name in before} == before
    assert all_rows(folder) == nets
    check_chosen = frame(folder, "tuned")
    assert (check_chosen.trials == 3).all()
    tuned_config(folder, tune__trials=5, tune__objective='"accuracy"')
    with pytest.raises(ConfigError, match=r"tune\.objective: 'loss' there, 'accuracy' now"):
        run(folder)


def test_one_more_width_has_a_study_of_its_own(tmp_path):
    folder = tuned_config(tmp_path / "sweep")
    assert run(folder).complete
    before = published(folder)
    tuned_config(folder, sweep__widths=[2, 3, 4])
    summary = run(folder)
    assert (summary.complete, summary.tuned.trials) == (True, 3)
    after = published(folder)
    assert {name: after[name] for name in before} == before
    check(folder, settings=1, widths=(2, 3, 4))


def test_a_sweep_whose_study_finds_nothing_says_so_and_trains_nothing(tmp_path):
    folder = tuned_config(tmp_path / "sweep", tune__space="{'train.lr' = {low = 1e8, high = 1e9}}")
    answer = espalier("run", folder, "--in-process")
    assert answer.exit_code == 2, answer.output
    assert (
        len(
            re.findall(
                r"failed: study width-[23]-\w+: none of its trials was completed \(3 diverged\)",
                answer.output,
            )
        )
        == 2
    )
    assert not (folder / "tables" / "nets").exists()
    assert Sweep(folder).run(pool=in_process).tuned.failures
