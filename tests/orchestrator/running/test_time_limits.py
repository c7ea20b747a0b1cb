"""A limit is far beyond what a job takes, knows the speed that was seen, and grows with each attempt."""

import math

import pytest

from espalier.cluster.pool import Done, Failed, Job, Output
from espalier.orchestrator.planning.cost import Cost
from espalier.orchestrator.planning.state_machine import Machine
from espalier.orchestrator.planning.task import Task
from espalier.orchestrator.running.driver import Driver
from espalier.orchestrator.running.progress import duration
from espalier.orchestrator.running.time_limits import (
    FIRST_RATE,
    LEAST_SECONDS,
    PATIENCE,
    SLACK,
    TimeLimits,
    longest_attempt,
    waited_for,
)
from espalier.orchestrator.store.sweep_store import Store
from espalier.tasks.tables.rows import table
from tests.orchestrator.store.test_sweep_store import job


def task(key="k", flops=1.0, kind="train", seconds=0.0):
    return Task(Job(key, kind, None), Cost(flops, 0, 0, seconds), f"{kind} {key}")


@pytest.mark.parametrize("flops", [0.0, 1.0, 1e9])
def test_no_limit_is_shorter_than_minutes(flops):
    limits = TimeLimits()
    limits.done(task(flops=1e15), 1.0)  # a machine that is very fast
    assert limits.limited(task(flops=flops)).limit == LEAST_SECONDS >= 600


@pytest.mark.parametrize("seconds", [0.1 * 3600, 5 * 3600, 100 * 3600])
def test_a_limit_follows_the_model_and_then_the_speed_that_was_seen(seconds):
    limits, hours = TimeLimits(), task(flops=FIRST_RATE * 3600)
    assert limits.limited(hours).limit == pytest.approx(SLACK * 3600)
    limits.done(hours, seconds)
    limits.done(task("g", flops=1.0, kind="graft"), 1e9)  # another kind's speed says nothing
    assert limits.limited(hours).limit == pytest.approx(SLACK * seconds)
    steps = task(flops=0.0, seconds=1000.0)
    assert limits.limited(steps).limit == pytest.approx(SLACK * 1000)


def test_after_a_late_attempt_the_next_has_more_time_and_nothing_else_of_the_job_changes():
    limits, job = TimeLimits(), task()
    first, second = (limits.limited(job, late) for late in (0, 1))
    assert second.limit == PATIENCE * first.limit
    assert (first.key, first.kind, first.payload) == (job.job.key, job.job.kind, job.job.payload)
    assert job.job.limit == math.inf


def test_no_attempt_of_a_folder_lasts_longer_than_what_follows_from_its_plan_and_its_log():
    nothing = table("jobs", [])
    assert longest_attempt([], nothing, 1) == LEAST_SECONDS
    assert longest_attempt([], nothing, 3) == LEAST_SECONDS * PATIENCE**2
    assert longest_attempt([], nothing, 10**9) < math.inf
    slow = task(seconds=3600.0)
    assert longest_attempt([task(), slow], nothing, 2) == TimeLimits().limited(slow, 1).limit
    for row in ({"seconds": 7200.0}, {"flops": 7200 * FIRST_RATE}):
        assert longest_attempt([slow], table("jobs", [job(1), job(2) | row]), 1) == SLACK * 7200


def test_what_is_waited_for_is_the_longest_job_at_work():
    tasks = {key: task(key) for key in "ab"}
    assert waited_for({"a": 59.0, "b": 1.0}, tasks, duration) == ""
    assert waited_for({"a": 61.0, "b": 700.0}, tasks, duration) == "train b (at work for 11 min 40 s)"
    assert waited_for({"gone": 700.0}, tasks, duration) == ""
    assert waited_for({}, tasks, duration) == "a worker to start"
    assert waited_for({}, {}, duration) == ""


class Hanging:
    """A pool whose first attempt of a job hangs, and answers when it is late."""

    slots = 1

    def __init__(self):
        self.given, self.late = [], []

    def submit(self, job, attempt):
        self.given.append((job, attempt))

    def running(self):
        return {self.given[-1][0].key: 90.0}

    def wait(self, timeout):
        job, attempt = self.given[-1]
        if attempt == 1:
            return [Failed(job.key, 1, "late", "no result after 600 s", 600.0, "a", "cpu")]
        first, last = (
            Done(job.key, number, Output(answer=number), 1.0, "b", "cpu") for number in (1, attempt)
        )
        return [first, last] if attempt == 2 else []


class Told:
    """A display that keeps what it is told."""

    def __init__(self):
        self.notes, self.waits, self.ended = [], [], []

    def note(self, text):
        self.notes.append(text)

    def done(self, task, seconds):
        self.ended.append(task.job.key)

    def tick(self, in_flight, waits=""):
        self.waits.append(waits)


class Rows(Store):
    """A store that keeps what it is given."""

    def __init__(self, root):
        super().__init__(root)
        self.commits, self.jobs = [], []

    def commit(self, key, tables, blobs, receipts):
        self.commits.append(key)

    def append_job(self, row):
        self.jobs.append((row["attempt"], row["outcome"], row["error"]))


def test_a_late_job_is_tried_again_and_its_late_result_is_refused_and_logged(tmp_path):
    from datetime import UTC, datetime

    pool, told, rows = Hanging(), Told(), Rows(tmp_path)
    machine = Machine([task()], (), room=3, attempts=3, reduce=lambda task, lost: None)
    outcome = Driver(machine, pool, rows, told, lambda: datetime.now(UTC)).run()
    assert [(job.limit, attempt) for job, attempt in pool.given] == [(600.0, 1), (2400.0, 2)]
    assert rows.commits == told.ended == ["k"]
    refused = "its answer came after it had been given up (late), and was refused"
    assert rows.jobs == [(1, "failed", "no result after 600 s"), (1, "refused", refused), (2, "done", "")]
    assert told.notes == [
        "train k failed (no result after 600 s); trying again",
        f"train k, attempt 1: {refused}",
    ]
    assert told.waits[0] == ""  # nothing is in flight while it is tried again
    assert outcome.done == {"train": 1}
