"""Predicted times of plans whose true schedule is known."""

import datetime
import math

import pytest

from espalier.cluster.pool import Job
from espalier.orchestrator.planning.cost import Cost
from espalier.orchestrator.planning.plan import Plan
from espalier.orchestrator.planning.simulate import JOB_SECONDS, Rates, gemm_rate, makespan, rates
from espalier.orchestrator.planning.task import Task
from espalier.tasks.tables.rows import table

SPEED = Rates({"train": 10.0, "graft": 20.0}, "a test")
UNIT = 1.0 + JOB_SECONDS
"""Seconds of a job of one second's operations."""


def task(key, kind="train", seconds=1.0, inputs=(), produces=()):
    return Task(Job(key, kind, None, inputs), Cost(seconds * SPEED.flops[kind], 0, 0), key, produces)


def plan(*tasks):
    return Plan(tasks, {"train": 0, "graft": 0}, {"train": 0, "graft": 0})


def test_nothing_takes_no_time():
    assert makespan(plan(), set(), 4, SPEED) == 0.0


def test_one_job_takes_its_own_time():
    assert makespan(plan(task("a", seconds=7)), set(), 4, SPEED) == pytest.approx(7 + JOB_SECONDS)
    assert makespan(plan(task("a", "graft", seconds=7)), set(), 4, SPEED) == pytest.approx(7 + JOB_SECONDS)


@pytest.mark.parametrize("jobs", [1, 4, 5, 12])
@pytest.mark.parametrize("slots", [1, 2, 5, 100])
def test_equal_jobs_take_as_many_rounds_as_the_slots_need(jobs, slots):
    made = plan(*(task(f"job{number}") for number in range(jobs)))
    assert makespan(made, set(), slots, SPEED) == pytest.approx(math.ceil(jobs / slots) * UNIT)


def test_a_chain_takes_its_length_however_many_slots_there_are():
    chain = [task("0", produces=("0",))]
    chain += [task(str(n), inputs=(str(n - 1),), produces=(str(n),)) for n in range(1, 5)]
    assert makespan(plan(*chain), set(), 64, SPEED) == pytest.approx(5 * UNIT)


def test_a_tile_overlaps_with_training_that_it_does_not_need():
    made = plan(
        task("short", produces=("short",)),
        task("long", seconds=3, produces=("long",)),
        task("tile", "graft", inputs=("short",), seconds=1.5),
    )
    assert makespan(made, set(), 2, SPEED) == pytest.approx(3 + JOB_SECONDS)


def test_what_is_there_need_not_be_waited_for():
    made = plan(task("tile", "graft", inputs=("there",)))
    assert makespan(made, {"there"}, 1, SPEED) == pytest.approx(UNIT)


def test_more_slots_never_take_longer_on_independent_jobs():
    made = plan(*(task(f"job{n}", seconds=(n * 7) % 5 + 1) for n in range(20)))
    times = [makespan(made, set(), slots, SPEED) for slots in (1, 2, 4, 8, 16, 32)]
    assert times == sorted(times, reverse=True)
    assert times[0] == pytest.approx(sum((n * 7) % 5 + 1 + JOB_SECONDS for n in range(20)))


def job_row(kind, flops, seconds, outcome="done"):
    return {
        "key": "k", "kind": kind, "label": "", "attempt": 1, "node": "", "device": "cpu",
        "start": datetime.datetime.now(datetime.UTC), "seconds": seconds, "flops": flops, "bytes_in": 0,
        "outcome": outcome, "error": "", "mode": "", "cause": "",
    }  # fmt: skip


def test_rates_are_those_of_the_sweeps_own_finished_jobs():
    log = table(
        "jobs", [job_row("train", 30.0, 2.0), job_row("train", 10.0, 2.0), job_row("train", 9e9, 1, "failed")]
    )
    speed = rates(log, gemm=1e9)
    assert speed.flops["train"] == 10.0
    assert 0 < speed.flops["graft"] < 1e9
    assert "own jobs (train)" in speed.origin


def test_without_finished_jobs_rates_are_shares_of_a_matrix_products():
    speed = rates(table("jobs", []), gemm=2e9)
    assert all(0 < rate < 2e9 for rate in speed.flops.values())
    assert speed.origin.startswith("2 GFLOP/s")


def test_the_matrix_product_rate_is_a_real_machines():
    assert 1e8 < gemm_rate(size=256, repeats=2) < 1e13
