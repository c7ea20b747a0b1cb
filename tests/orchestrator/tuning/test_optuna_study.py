"""Studies on a pool that trains nothing: what is asked, told, pruned, lost, mended and chosen."""

import json
import math
import os
import re
from collections import Counter
from contextlib import contextmanager

import optuna
import pytest

from espalier.cluster.pool import Done, Failed, Output
from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.planning.studies import wanted_studies
from espalier.orchestrator.store.sweep_store import Store
from espalier.orchestrator.tuning import journal
from espalier.orchestrator.tuning.journal import JOURNAL, mend, open_storage
from espalier.orchestrator.tuning.run_studies import Means, run_studies
from espalier.tasks.data.images import facts

DIGITS = facts("digits")
RATE = {"train.lr": {"low": 1e-3, "high": 1.0, "log": True}}


def studies(widths=(4,), **tune):
    """Studies of 6 trials of 3 epochs."""
    given = {"space": RATE, "trials": 6, "epochs": 3, "startup_trials": 3, "pruner": "none"} | tune
    config = SweepConfig.parse({"tune": given, "sweep": {"widths": list(widths), "seeds": 2}})
    return wanted_studies(config, DIGITS)


def loss(net, epoch):
    """Least at lr 0.1 x width / 4, and falling with the epochs."""
    return 1 / (1 + epoch) + abs(math.log10(net.recipe.lr * 4 / net.width / 0.1))


class FakePool:
    """Answers each job at once; `fate` may make an event of its own of a job and its attempt."""

    def __init__(self, fate=None, slots=2, value=loss):
        self.slots, self._fate, self._value = slots, fate, value
        self._waiting, self.log, self.most = [], [], 0

    def submit(self, job, attempt):
        self._waiting.append((job, attempt))
        self.most = max(self.most, len(self._waiting))

    def wait(self, timeout):
        job, attempt = self._waiting.pop(0)
        self.log.append((job, attempt))
        event = self._fate(job, attempt) if self._fate else None
        return [event or self._answer(job, attempt)]

    def _answer(self, job, attempt):
        segment = job.payload
        rows = [
            {
                "seed": net.seed, "epoch": segment.epoch, "loss_train": 1.0, "accuracy_train": 0.5,
                "loss_validation": self._value(net, segment.epoch), "accuracy_validation": 0.5,
                "learning_rate": net.recipe.lr, "seconds": 0.1, "images_validation": 300,
            }
            for net in segment.nets
        ]  # fmt: skip
        states = {name: b"state of " + name.encode() for name in job.where["states"]}
        return Done(job.key, attempt, Output(blobs=states, answer=rows), 0.1, "here", "cpu")

    def running(self):
        return {job.key: 0.0 for job, _ in self._waiting[:1]}

    def close(self):
        self._waiting.clear()


class Silent:
    """A display that keeps its notes."""

    def __init__(self):
        self.notes, self.finished = [], 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def done(self, task, seconds):
        self.finished += 1

    def note(self, text):
        self.notes.append(text)

    def tick(self, in_flight, waits=""):
        pass


@contextmanager
def opened(folder):
    store = Store(folder)
    with store.lock():
        yield store


def run(folder, wanted, pool=None, attempts=3, show=None):
    """What running them came to, and the rows of `trials`."""
    with opened(folder) as store:
        display = show or Silent()
        means = Means(
            lambda: pool or FakePool(), {}, lambda plan, slots: display, attempts, {"dataset": "digits"}
        )
        tuned = run_studies(store, wanted, means)
        assert means.states == {}
    return tuned, rows(folder)


def rows(folder, table="trials"):
    return Store(folder).read_table(table).to_pylist()


def loaded(folder, study):
    """The study as optuna-dashboard would open it."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    return optuna.load_study(study_name=study.name, storage=storage)


def tried(lines):
    return [json.loads(line["parameters"])["lr"] for line in sorted(lines, key=lambda line: line["number"])]


def in_step(folder, study):
    """Optuna's trials and our rows are the same."""
    states = {
        "COMPLETE": ("complete",),
        "PRUNED": ("pruned",),
        "FAIL": ("lost", "failed", "diverged", "refused"),
    }
    here = {row["number"]: row for row in rows(folder) if row["study"] == study.key}
    there = {
        trial.user_attrs["number"]: trial
        for trial in loaded(folder, study).trials
        if trial.state.is_finished()
    }
    assert here.keys() == there.keys()
    for number, trial in there.items():
        assert here[number]["state"] in states[trial.state.name]
        assert trial.params == {"train.lr": json.loads(here[number]["parameters"])["lr"]}
        if trial.state.name == "COMPLETE":
            assert trial.value == here[number]["value"]
    return loaded(folder, study)


def test_each_study_has_its_trials_as_rows_and_in_optuna_and_the_best_is_chosen(tmp_path):
    wanted = studies(widths=(4, 8))
    display = Silent()
    tuned, made = run(tmp_path, wanted, show=display)
    assert (tuned.trials, tuned.failures, display.finished) == (12, (), 12)
    for study in wanted:
        own = [row for row in made if row["study"] == study.key]
        assert [row["number"] for row in own] == list(range(6))
        assert {(row["state"], row["epochs"], row["images_validation"]) for row in own} == {
            ("complete", 3, 300)
        }
        assert all(row["value"] == loss(study.nets({"lr": row["tried_lr"]})[0], 3) for row in own)
        found = in_step(tmp_path, study)
        (choice,) = [row for row in rows(tmp_path, "tuned") if row["study"] == study.key]
        assert choice["value"] == found.best_value == min(row["value"] for row in own)
        assert (choice["number"], choice["trials"]) == (found.best_trial.user_attrs["number"], 6)
        assert [trial.intermediate_values.keys() for trial in found.trials] == [{1, 2, 3}] * 6
    curves = rows(tmp_path, "trial_curves")
    assert len(curves) == 12 * 3
    assert {row["outcome"] for row in rows(tmp_path, "jobs")} == {"done"}


def test_a_second_run_asks_for_nothing_and_chooses_nothing(tmp_path):
    wanted = studies()
    run(tmp_path, wanted)
    before = rows(tmp_path), rows(tmp_path, "tuned")
    pool = FakePool()
    tuned, _ = run(tmp_path, wanted, pool)
    assert (tuned.trials, pool.log) == (0, [])
    assert (rows(tmp_path), rows(tmp_path, "tuned")) == before


def test_more_trials_go_on_and_what_was_chosen_stays(tmp_path):
    run(tmp_path, studies(sampler="random"))
    before = rows(tmp_path, "tuned")
    pool = FakePool(value=lambda net, epoch: 0.001 * loss(net, epoch))
    tuned, made = run(tmp_path, studies(sampler="random", trials=9), pool)
    assert (tuned.trials, len(made)) == (3, 9)
    assert rows(tmp_path, "tuned") == before
    (note,) = tuned.notes
    assert re.search(r"is better than trial \d .*chosen from 6 trials and which the nets keep", note)
    # the draws of the second run are not those of the first one again
    assert len(set(tried(made))) == 9


def test_as_many_trials_are_in_flight_as_there_are_slots_spread_over_the_studies(tmp_path):
    pool = FakePool(slots=3)
    run(tmp_path, studies(widths=(4, 8, 16)), pool)
    assert pool.most == 3
    assert len({job.payload.nets[0].width for job, _ in pool.log[:3]}) == 3


def test_each_epoch_goes_on_from_the_states_of_the_one_before(tmp_path):
    pool = FakePool(slots=1)
    run(tmp_path, studies(trials=1, seeds=[70, 71]), pool)
    assert [(job.payload.start, job.payload.epoch) for job, _ in pool.log] == [(0, 1), (1, 2), (2, 3)]
    before = ()
    for job, _ in pool.log:
        assert job.inputs == before
        before = job.where["states"]
        assert len(before) == 2


def test_a_run_that_ends_between_trials_goes_on_and_asks_for_what_was_lost_again(tmp_path):
    (study,) = wanted = studies()
    calls = iter(range(100))

    def interrupt(job, attempt):
        if next(calls) == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, wanted, FakePool(interrupt))
    running = [trial for trial in loaded(tmp_path, study).trials if not trial.state.is_finished()]
    assert len(running) == 2
    first = rows(tmp_path)
    tuned, made = run(tmp_path, wanted)
    states = Counter(row["state"] for row in made)
    assert states == {"complete": 6, "lost": 2}
    assert tuned.trials == 6 - len(first)
    lost = [row for row in made if row["state"] == "lost"]
    assert {row["tried_lr"] for row in lost} == {trial.params["train.lr"] for trial in running}
    again = [
        row for row in made if row["state"] == "complete" and row["tried_lr"] in {r["tried_lr"] for r in lost}
    ]
    assert len(again) == 2
    in_step(tmp_path, study)


def lose(count, state="lost"):
    """The first `count` jobs are lost with their workers, in whatever attempt."""
    left = iter(range(count))

    def fate(job, attempt):
        if next(left, None) is not None:
            return Failed(job.key, attempt, state, "ActorDiedError: gone", 0.2, "there", "cpu")
        return None

    return fate


def test_a_job_whose_worker_died_is_tried_again_from_the_same_states(tmp_path):
    (study,) = wanted = studies()
    pool = FakePool(lose(2), slots=1)
    tuned, made = run(tmp_path, wanted, pool)
    assert (tuned.failures, {row["state"] for row in made}) == ((), {"complete"})
    first = [(job.key, attempt) for job, attempt in pool.log[:3]]
    assert first == [(pool.log[0][0].key, attempt) for attempt in (1, 2, 3)]
    assert Counter(row["outcome"] for row in rows(tmp_path, "jobs")) == {"failed": 2, "done": 18}
    in_step(tmp_path, study)


class AfterAll(FakePool):
    """The first attempt is given up as late, and answers when the second one does."""

    def wait(self, timeout):
        (event,) = super().wait(timeout)
        job, attempt = self.log[-1]
        return [self._answer(job, 1), event] if attempt == 2 else [event]


def test_an_answer_of_an_attempt_that_was_given_up_is_refused_and_logged(tmp_path):
    (study,) = wanted = studies()
    told = Silent()
    tuned, made = run(tmp_path, wanted, AfterAll(lose(1, "late"), slots=1), show=told)
    assert (tuned.failures, {row["state"] for row in made}) == ((), {"complete"})
    log = rows(tmp_path, "jobs")
    assert Counter(row["outcome"] for row in log) == {"failed": 1, "refused": 1, "done": 18}
    (refused,) = (row for row in log if row["outcome"] == "refused")
    (failed,) = (row for row in log if row["outcome"] == "failed")
    assert refused["start"] == failed["start"], "both are the first attempt, and not the one that went on"
    assert (refused["attempt"], refused["cause"]) == (1, "")
    assert f"{refused['label']}, attempt 1: {refused['error']}" in told.notes
    in_step(tmp_path, study)


def test_a_trial_that_is_given_up_is_told_as_failed_and_its_values_are_asked_again(tmp_path):
    (study,) = wanted = studies()
    tuned, made = run(tmp_path, wanted, FakePool(lose(1, "error"), slots=1), attempts=1)
    assert tuned.failures == ("study " + study.name + ": 1 trials failed in a row: ActorDiedError: gone",)
    tuned, made = run(tmp_path, wanted, FakePool(slots=1), attempts=1)
    assert Counter(row["state"] for row in made) == {"failed": 1, "complete": 6}
    assert tried(made)[0] == tried(made)[1]
    assert "ActorDiedError" in made[0]["error"]
    in_step(tmp_path, study)


def test_a_study_whose_trials_fail_again_and_again_is_given_up_and_another_is_not(tmp_path):
    wanted = studies(widths=(4, 8))

    def fate(job, attempt):
        if job.payload.nets[0].width == 4:
            return Failed(job.key, attempt, "error", "ValueError: no such file", 0.1)
        return None

    tuned, made = run(tmp_path, wanted, FakePool(fate), attempts=2)
    (failure,) = tuned.failures
    assert wanted[0].name in failure
    assert "no such file" in failure
    assert Counter((row["width"], row["state"]) for row in made) == {(4, "failed"): 2, (8, "complete"): 6}
    assert [row["width"] for row in rows(tmp_path, "tuned")] == [8]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_objective_that_is_no_number_is_a_diverged_trial_and_never_the_best(tmp_path, value):
    (study,) = wanted = studies()
    pool = FakePool(
        value=lambda net, epoch: value if net.recipe.lr > 0.02 and epoch == 2 else loss(net, epoch)
    )
    _tuned, made = run(tmp_path, wanted, pool)
    diverged = [row for row in made if row["state"] == "diverged"]
    assert {row["tried_lr"] > 0.02 for row in diverged} == {True}
    assert len(made) == 6
    assert 0 < len(diverged) < 6
    assert all(math.isfinite(row["value"]) for row in made)
    in_step(tmp_path, study)
    assert rows(tmp_path, "tuned")[0]["value"] == min(
        row["value"] for row in made if row["state"] == "complete"
    )


def hopeless(error):
    """What becomes of every job."""
    return lambda job, attempt: Failed(job.key, attempt, "hopeless", error, 0.1)


def test_a_hopeless_error_that_is_no_divergence_gives_the_study_up_and_counts_no_trial(tmp_path):
    """A GPU that is not there says nothing about a learning rate."""
    wanted = studies()
    pool = FakePool(hopeless("NoDevice: finds no GPU"), slots=1)
    tuned, made = run(tmp_path, wanted, pool, attempts=2)
    assert [row["state"] for row in made] == ["failed", "failed"]
    assert len(pool.log) == 2
    assert "finds no GPU" in tuned.failures[0]
    again, made = run(tmp_path, wanted, FakePool())
    assert not again.failures
    assert Counter(row["state"] for row in made)["complete"] == 6


def test_a_diverged_job_is_not_tried_again_and_a_study_of_such_trials_has_no_best(tmp_path):
    (study,) = wanted = studies()
    pool = FakePool(hopeless("Diverged: loss_train is nan in epoch 1"), slots=1)
    tuned, made = run(tmp_path, wanted, pool)
    assert [row["state"] for row in made] == ["diverged"] * 6
    assert len(pool.log) == 6
    (failure,) = tuned.failures
    for word in (study.name, "6 diverged", "tune.space", "width 4"):
        assert word in failure
    assert rows(tmp_path, "tuned") == []


@pytest.mark.parametrize("pruner", ["median", "halving", "hyperband"])
def test_a_bad_trial_ends_early_and_is_no_candidate(tmp_path, pruner):
    wanted = studies(pruner=pruner, trials=12, epochs=9, sampler="random")
    pool = FakePool(slots=1)
    _, made = run(tmp_path, wanted, pool)
    states = Counter(row["state"] for row in made)
    assert states["pruned"] > 0
    assert states["complete"] > 0
    for row in made:
        assert (row["epochs"] < 9) == (row["state"] == "pruned")
    assert sum(row["epochs"] for row in made) == len(pool.log) == len(rows(tmp_path, "trial_curves"))
    kept = [row["value"] for row in made if row["state"] == "complete"]
    assert min(kept) < max(row["value"] for row in made if row["state"] == "pruned")
    in_step(tmp_path, wanted[0])


def test_the_same_seed_asks_for_the_same_first_trials_and_another_for_others(tmp_path):
    firsts = [
        tried(run(tmp_path / name, studies(sampler="random", sampler_seed=seed), FakePool(slots=1))[1])
        for name, seed in [("one", 0), ("two", 0), ("three", 1)]
    ]
    # the study's key holds the seed, so that only equal ones are the same study
    assert firsts[0] == firsts[1] != firsts[2]


def test_tpe_and_cmaes_come_nearer_to_the_best_than_their_first_draws(tmp_path):
    for sampler in ("tpe", "cmaes"):
        space = RATE | {"train.momentum": {"low": 0.1, "high": 0.9}}
        wanted = studies(sampler=sampler, trials=40, epochs=1, space=space)
        _, made = run(tmp_path / sampler, wanted, FakePool(slots=1))
        late = sorted(row["value"] for row in made if row["number"] >= 20)[10]
        early = sorted(row["value"] for row in made if row["number"] < 6)[3]
        assert late < early, sampler


def test_whole_fields_stay_whole_and_choices_are_what_was_given(tmp_path):
    space = {
        "train.batch_size": {"low": 8, "high": 64, "log": True},
        "train.regularizer": {"choices": ["l2", "none"]},
    }
    _, made = run(tmp_path, studies(space=space, sampler="random"))
    for row in made:
        found = json.loads(row["parameters"])
        assert type(found["batch_size"]) is int
        assert 8 <= found["batch_size"] <= 64
        assert found["regularizer"] in ("l2", "none")
        assert row["tried_batch_size"] == found["batch_size"]
        assert (row["regularizer"], row["tried_lr"]) == ("tuned", 0.05)


def test_values_that_do_not_go_together_are_a_refused_trial(tmp_path):
    space = {"train.momentum": {"choices": [0.0, 0.5]}}
    _tuned, made = run(tmp_path, studies(space=space, sampler="random"))
    for row in made:
        assert row["state"] == ("refused" if row["tried_momentum"] == 0 else "complete")
    refused = [row for row in made if row["state"] == "refused"]
    assert refused
    assert "nesterov" in refused[0]["error"]


def broken_line(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], b"\x00\x00\x00 no JSON\n", *lines[5:]]))


def other_operations(path):
    path.write_bytes(b'{"op_code": 77, "worker_id": "w"}\n')


DAMAGE = {
    "torn": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "broken_line": broken_line,
    "other_operations": other_operations,
    "no_text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_study_goes_on_after_its_journal_was_damaged_as_if_it_had_not_been(tmp_path, damage):
    (study,) = wanted = studies(trials=4)
    _, first = run(tmp_path, wanted, FakePool(slots=1))
    damage(tmp_path / JOURNAL)
    tuned, made = run(tmp_path, studies(trials=6), FakePool(slots=1))
    assert [row for row in made if row["number"] < 4] == first
    assert [row["number"] for row in made] == list(range(6))
    found = in_step(tmp_path, study)
    # the pruner needs what was reported, the sampler what was tried
    assert all(trial.intermediate_values.keys() == {1, 2, 3} for trial in found.trials)
    assert bool(list(tmp_path.glob(".broken/*"))) == (damage in (broken_line, other_operations))
    assert len(tuned.notes) == (damage not in (DAMAGE["missing"], DAMAGE["empty"]))


def test_a_torn_journal_is_cut_to_its_last_whole_line(tmp_path):
    path = tmp_path / "a.journal"
    path.write_bytes(b'{"op_code": 0}\n{"op_c')
    (told,) = mend(path)
    assert "6 bytes" in told
    assert path.read_bytes() == b'{"op_code": 0}\n'
    assert mend(path) == []
    assert mend(tmp_path / "none") == []


@pytest.mark.parametrize(
    "plant",
    [
        lambda path, victim: path.symlink_to(victim),
        lambda path, victim: os.link(victim, path),
        lambda path, victim: os.mkfifo(path),
        lambda path, victim: path.mkdir(),
    ],
    ids=["link", "hard link", "pipe", "folder"],
)
@pytest.mark.parametrize("name", [JOURNAL, f"{JOURNAL}.lock"])
def test_a_journal_is_written_into_a_file_of_ours_alone(tmp_path, monkeypatch, plant, name):
    monkeypatch.setattr(journal, "LOCK_SECONDS", 0.0)
    (tmp_path / "sweep").mkdir()
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    plant(tmp_path / "sweep" / name, victim)
    storage, told = open_storage(Store(tmp_path / "sweep"), None)
    storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "study")
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "sweep" / JOURNAL).is_file()
    assert len(told) == (name == JOURNAL)


def test_a_killed_writers_lock_on_the_journal_does_not_stop_the_next_run(tmp_path):
    run(tmp_path, studies(trials=2))
    (tmp_path / f"{JOURNAL}.lock").symlink_to(tmp_path / JOURNAL)
    assert run(tmp_path, studies(trials=3))[0].trials == 1


def test_rows_that_were_lost_are_written_again_from_the_journal(tmp_path):
    (study,) = wanted = studies()
    run(tmp_path, wanted)
    part = sorted((tmp_path / "tables" / "trials").iterdir())[2]
    before = rows(tmp_path)
    part.unlink()
    _, made = run(tmp_path, studies(trials=7))
    kept = ("number", "parameters", "value", "state")
    assert [[row[name] for name in kept] for row in made[:6]] == [
        [row[name] for name in kept] for row in before
    ]
    in_step(tmp_path, study)


def test_a_named_storage_holds_the_study_and_belongs_to_one_sweep(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDIES", str(tmp_path))
    url = "sqlite:///$STUDIES/studies.db"
    (study,) = wanted = studies(storage=url)
    run(tmp_path / "one", wanted)
    assert not (tmp_path / "one" / JOURNAL).exists()
    there = optuna.load_study(study_name=study.name, storage=f"sqlite:///{tmp_path}/studies.db")
    assert len(there.trials) == 6
    assert run(tmp_path / "one", studies(storage=url, trials=7))[0].trials == 1
    with pytest.raises(ConfigError, match=r"tune\.storage.*is that of .*one: give each sweep a storage"):
        run(tmp_path / "two", wanted)


def test_a_storage_that_cannot_be_opened_is_told_without_what_was_filled_in(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    for url in (
        "postgresql://me:$SECRET@localhost:1/none",
        "sqlite:////no/such/folder/$SECRET.db",
        "nonsense",
    ):
        with pytest.raises(ConfigError, match=r"tune\.storage") as caught:
            run(tmp_path, studies(storage=url))
        assert "hunter2" not in str(caught.value)


def test_at_a_url_the_studies_are_made_anew_from_the_rows(tmp_path):
    import fsspec

    url = "memory://tune-at-a-url"
    memory = fsspec.filesystem("memory")
    if memory.exists("/tune-at-a-url"):
        memory.rm("/tune-at-a-url", recursive=True)
    run(url, studies(trials=4, sampler="random"))
    tuned, made = run(url, studies(trials=6, sampler="random"))
    assert tuned.trials == 2
    assert sorted(row["number"] for row in made) == list(range(6))
    assert len(set(tried(made))) == 6


def test_trials_that_others_put_into_the_study_are_left_alone(tmp_path):
    (study,) = wanted = studies(trials=3)
    run(tmp_path, wanted)
    foreign = loaded(tmp_path, study)
    foreign.enqueue_trial({"train.lr": 0.5})
    foreign.add_trial(optuna.trial.create_trial(params={}, value=9.0))
    _, made = run(tmp_path, studies(trials=5))
    assert len(made) == 5
    assert tried(made)[3] == 0.5  # what a user enqueued in the dashboard is asked first


def test_the_journal_of_a_store_is_in_its_folder(tmp_path):
    with opened(tmp_path) as store:
        storage, notes = open_storage(store, None)
    assert notes == []
    assert (tmp_path / JOURNAL).exists()
    storage.remove_session()
