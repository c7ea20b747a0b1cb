"""One look at a sweep: what is done, failed with its cause, at work and left, as data and as lines."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from espalier.cluster.pool import Failed, Job, Output
from espalier.orchestrator.planning.cost import Cost
from espalier.orchestrator.planning.task import Task
from espalier.orchestrator.planning.time_left import worked
from espalier.orchestrator.running.attempts import keep_attempt
from espalier.orchestrator.running.heartbeat import HEARTBEAT, Heart
from espalier.orchestrator.running.progress import Tally
from espalier.orchestrator.store.sweep_store import Store
from espalier.orchestrator.sweep import Sweep
from espalier.orchestrator.watching.job_logs import listing, told
from espalier.orchestrator.watching.status import look
from espalier.orchestrator.watching.status_text import SHOWN, SILENT_SECONDS, lines
from tests.integration.conftest import run, write_config

START = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path):
    return write_config(tmp_path / "my sweep")


def attempt(
    store, key, number, outcome, *, cause="error", error="ValueError: odd", run=0, log="", kind="graft"
):
    """An attempt as a run would have kept it."""
    task = Task(Job(key, kind, None), Cost(1e9, 0, 0), f"{kind} {key}")
    event = Failed(key, number, cause, error, 2.0, "node-1", "cpu", log=log)
    if outcome == "done":
        from espalier.cluster.pool import Done

        event = Done(key, number, Output(), 2.0, "node-1", "cpu", log)
    keep_attempt(store, task, event, START + timedelta(hours=run, seconds=number), outcome, error)


def spoken(folder):
    return "\n".join(lines(look(Sweep(folder)), str(folder)))


def test_before_a_run_all_is_missing_and_the_time_is_the_models(folder):
    seen = look(Sweep(folder))
    assert (seen.active, seen.beat, seen.seconds_left) == (False, None, None)
    assert seen.unseen == ("train", "graft")
    assert seen.predicted > 0
    text = spoken(folder)
    assert "Time left: ?, until two jobs of train and graft have ended; by the cost model about" in text
    assert f"No run is active; go on with:  espalier run '{folder}'" in text


def test_two_jobs_of_every_kind_make_the_time_left_known(folder):
    store = Store(folder)
    with store.lock():
        for kind in ("train", "graft"):
            for number in (1, 2):
                assert look(Sweep(folder)).seconds_left is None
                attempt(store, f"{kind}{number}", 1, "done", kind=kind)
                store.flush()
    seen = look(Sweep(folder))
    # at half a GFLOP/s, as those two jobs
    left = sum(task.cost.flops for task in seen.plan.tasks) / 0.5e9 / seen.slots
    assert seen.seconds_left == pytest.approx(left)
    assert seen.predicted > left
    # and as the line of a run says that goes on now
    tally = Tally(seen.plan, seen.slots)
    tally.recall(worked(store.read_table("jobs")))
    assert tally.seconds_left() == seen.seconds_left
    assert "of work left on" in spoken(folder)


def test_failures_are_told_with_cause_node_and_log_until_a_later_run_mends_them(folder):
    store = Store(folder)
    with store.lock():
        attempt(store, "aa", 1, "failed", cause="lost", error="ActorDiedError: gone")
        attempt(store, "aa", 2, "failed", log="Traceback\nValueError: odd\n")
        attempt(store, "aa", 3, "gave_up")
        attempt(store, "bb", 1, "gave_up", cause="memory", error="MemoryError: 2 GiB")
        attempt(store, "bb", 1, "done", run=1)
    seen = look(Sweep(folder))
    (failure,) = seen.failures
    assert (failure.key, failure.outcome, failure.cause, failure.attempts) == ("aa", "gave_up", "error", 3)
    assert (failure.node, failure.log) == ("node-1", True)
    assert seen.causes == {"lost": 1, "error": 2, "memory": 1}
    text = spoken(folder)
    assert "failed attempts so far: 1 x a worker or its node died, 2 x an error, 1 x out of memory" in text
    told = "gave_up after 3 attempts on node-1: graft aa: ValueError: odd; its log:  espalier logs"
    assert f"{told} '{folder}' aa" in text
    assert "bb" not in text


def test_of_many_failures_the_last_are_told_and_the_rest_counted(folder):
    store = Store(folder)
    with store.lock():
        for number in range(SHOWN + 5):
            attempt(store, f"k{number:02}", number, "gave_up")
    text = spoken(folder)
    assert "5 more jobs failed for good before these (table jobs):" in text
    assert "k04" not in text
    assert text.count("gave_up") == SHOWN


def test_beside_a_run_slots_jobs_at_work_and_silence_are_told(folder):
    running, now = Store(folder), datetime.now(UTC)
    tasks = {key: Task(Job(key, "train", None), Cost(1.0, 0, 0), f"train {key}") for key in "abc"}
    with running.lock():
        assert "it hands out no jobs at this moment" in spoken(folder)
        clock = iter([0.0, 200.0]).__next__
        with Heart(running, lambda: now, clock) as heart:
            heart.beat(5, {"a": 4.0, "b": 61.0}, tasks)
            seen = look(Sweep(folder))
            assert seen.active
            assert seen.slots == 5
            text = spoken(folder)
            assert "2 of 5 slots at work, 1 queued; no job has ended for 3 min 20 s." in text
            assert text.index("train b (for 1 min 1 s)") < text.index("train a (for 4 s)")
            assert "No run is active" not in text
        silent = now - timedelta(seconds=SILENT_SECONDS + 60)
        with Heart(running, lambda: silent) as heart:
            heart.beat(5, {}, tasks)
            assert "has not been heard of for 3 min" in spoken(folder)
        (folder / HEARTBEAT).write_text("[]")
        assert f"broken: {folder}/{HEARTBEAT} is []" in spoken(folder)
    # what a killed run left says nothing about now
    assert look(Sweep(folder)).beat is None


def test_a_look_is_json_that_a_script_can_read_and_changes_nothing(folder):
    run(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    said = json.loads(json.dumps(look(Sweep(folder)).plain(), allow_nan=False))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert said["complete"] is True
    assert said["kinds"]["train"] == {
        "units": "snapshots", "total": 8, "done": 8, "jobs_left": 0, "flops_left": 0
    }  # fmt: skip
    assert said["failures"] == said["broken"] == []
    assert said["seconds_left"] == 0
    held = sum(
        path.stat().st_size for part in ("tables", "checkpoints") for path in (folder / part).rglob("*.*")
    )
    assert said["disk"]["used"] == held
    assert said["disk"]["free"] > 0
    assert "Nothing is missing." in spoken(folder)


def test_logs_are_listed_and_told_by_the_beginning_of_a_key(folder):
    store = Store(folder)
    with store.lock():
        attempt(store, "abc", 1, "failed", log="UserWarning: slow\nTraceback: first")
        attempt(store, "abc", 2, "gave_up", log="Traceback: second")
        attempt(store, "abd", 1, "done")
    assert [line.split(" of ")[0] for line in listing(store)] == ["abc, attempt 1", "abc, attempt 2"]
    first, text, second, _ = told(store, "abc")
    assert first == "abc, attempt 1 of 20250101T000001 (UTC): graft abc: failed on node-1"
    assert text == "UserWarning: slow\nTraceback: first"
    assert second.startswith("abc, attempt 2")
    assert list(told(store, "abc", 2))[1:] == ["Traceback: second"]
    assert list(told(store, "abd"))[1:] == ["(it said nothing)"]
    for key, number, word in (
        ("ab", None, "2 jobs begin"),
        ("x", None, "no attempt"),
        ("abc", 3, "it has 1, 2"),
    ):
        with pytest.raises(ValueError, match=word):
            list(told(store, key, number))


def test_a_sweep_without_logs_says_so(folder):
    (line,) = listing(Store(folder))
    assert "no attempt left a log" in line
