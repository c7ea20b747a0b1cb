"""Predicted times of plans whose true schedule is known."""

import datetime
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.cluster.pool import Job
from espalier.orchestrator.planning.cost import Cost
from espalier.orchestrator.planning.plan import Plan
from espalier.orchestrator.planning.rates import JOB_SECONDS, Rates, fitted, gemm_rate, on_device, rates
from espalier.orchestrator.planning.simulate import Fleet, makespan, simulate
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


def test_the_models_own_seconds_count_until_jobs_of_the_kind_have_ended():
    """What each step takes besides its operations is in the overhead of measured jobs already."""
    one = Task(Job("a", "train", None), Cost(0.0, 0, 0, seconds=3.0), "a")
    fresh, shared = (rates(table("jobs", []), gemm=2e9, now=now) for now in (1.0, 2.0))
    assert fresh.seconds(one) == pytest.approx(JOB_SECONDS + 3.0)
    assert shared.seconds(one) == pytest.approx(JOB_SECONDS + 6.0)
    measured = rates(table("jobs", [job_row("train", 30.0, 2.0)]), gemm=2e9)
    assert measured.seconds(one) == pytest.approx(JOB_SECONDS)


def test_the_matrix_product_rate_is_a_real_machines():
    assert 1e8 < gemm_rate(size=256, repeats=2) < 1e13


def test_rate_and_overhead_of_synthetic_jobs_are_recovered():
    sizes = [10.0, 50.0, 200.0, 1000.0, 20.0]
    log = table("jobs", [job_row("graft", flops, 0.7 + flops / 25.0) for flops in sizes])
    speed = rates(log, gemm=1e9)
    assert speed.flops["graft"] == pytest.approx(25.0)
    assert speed.overhead["graft"] == pytest.approx(0.7)
    assert "train" not in speed.overhead


@given(
    flops=st.lists(st.floats(1.0, 1e6), min_size=1, max_size=20),
    noise=st.lists(st.floats(0.2, 5.0), min_size=20, max_size=20),
    besides=st.floats(0.0, 3.0),
)
@settings(max_examples=50, deadline=None)
def test_the_fit_meets_the_sum_of_all_seconds_and_is_never_negative(flops, noise, besides):
    x = np.array(flops)
    seconds = (besides + x / 100.0) * np.array(noise[: len(x)])
    rate, overhead = fitted(x, seconds)
    assert rate > 0
    assert overhead >= 0
    assert np.sum(overhead + x / rate) == pytest.approx(np.sum(seconds))


def test_slots_that_share_cores_are_slower_than_those_that_had_one_each():
    log = table("jobs", [job_row("graft", 100.0, 2.0)])
    assert rates(log, 1e9, was=1.0, now=2.0).flops["graft"] == 25.0
    assert rates(log, 1e9, was=2.0, now=2.0).flops["graft"] == 50.0
    alone, shared = (rates(log, 1e9, now=now).flops["train"] for now in (1.0, 2.0))
    assert alone == 2 * shared


def test_jobs_on_gpus_say_nothing_of_cpus():
    log = table("jobs", [job_row("train", 1.0, 1.0), job_row("train", 1.0, 1.0) | {"device": "A GPU"}])
    assert on_device(log, gpu=True)["device"].to_pylist() == ["A GPU"]
    assert on_device(log, gpu=False)["device"].to_pylist() == ["cpu"]


def jobs(*seconds):
    """Independent jobs that take so long in all."""
    return [task(f"job{number}", seconds=took - JOB_SECONDS) for number, took in enumerate(seconds)]


def test_what_slots_did_adds_up():
    fleet = Fleet(3, 2, loss_every=7.3, replaced_after=4.0)
    times = [(n * 7) % 5 + 1.0 for n in range(60)]
    made = simulate(jobs(*times), set(), fleet, SPEED, attempts=50)
    assert made.jobs == 60
    assert made.given_up == 0
    assert made.busy == pytest.approx(sum(times))
    assert made.lost_attempts > 0
    idle = sum(gap.slot_seconds for gap in made.idle)
    assert made.busy + made.wasted + idle == pytest.approx(made.slot_seconds)
    assert made.utilisation == pytest.approx(made.busy / made.slot_seconds)
    gone = made.lost_nodes * 4.0
    assert made.node_seconds == pytest.approx(3 * made.seconds - gone, abs=2 * 4.0)


@pytest.mark.parametrize("slots", [1, 3, 8])
def test_equal_jobs_keep_all_slots_busy_until_the_last_round(slots):
    made = simulate(jobs(*[2.0] * 10), set(), Fleet(1, slots), SPEED)
    rounds = math.ceil(10 / slots)
    assert made.seconds == pytest.approx(2.0 * rounds)
    assert made.utilisation == pytest.approx(10 / (rounds * slots))
    assert sum(gap.slots for gap in made.idle) == pytest.approx(rounds * slots - 10)
    assert not any(gap.held_up for gap in made.idle)


def test_a_node_that_is_lost_takes_its_jobs_time_with_it_and_a_new_one_goes_on():
    # On one slot: 10, 20, lost at 25, anew from 28: 38, 48, lost at 50 as the fifth has just begun.
    made = simulate(jobs(*[10.0] * 5), set(), Fleet(1, 1, 25.0, 3.0), SPEED, attempts=5)
    assert (made.lost_nodes, made.lost_attempts) == (2, 2)
    assert made.wasted == pytest.approx(5.0 + 2.0)
    assert made.seconds == pytest.approx(63.0)


def test_a_loss_costs_half_a_job_of_each_slot_on_average():
    """Of the job that runs then: a time that is chosen at random falls into long jobs more often."""
    lengths, slots = np.random.default_rng(0).uniform(0.5, 1.5, 8000), 4
    made = simulate(jobs(*lengths), set(), Fleet(5, slots, 3.37, 0.5), SPEED, attempts=20)
    assert made.lost_nodes == int(made.seconds / 3.37) > 100
    half = np.sum(lengths**2) / np.sum(lengths) / 2
    assert made.wasted == pytest.approx(made.lost_nodes * slots * half, rel=0.15)


def test_a_job_that_never_ends_between_losses_is_given_up_with_what_needs_it():
    tasks = [task("long", seconds=30, produces=("net",)), task("tile", "graft", inputs=("net",))]
    made = simulate(tasks, set(), Fleet(1, 1, 20.0, 1.0), SPEED, attempts=2)
    assert (made.jobs, made.given_up) == (0, 2)


def test_memory_and_bytes_are_those_of_the_fullest_node():
    made = [Task(Job(str(n), "train", None), Cost(10.0, 7, 100 * (n + 1)), str(n)) for n in range(4)]
    one, two = (simulate(made, set(), Fleet(nodes, 4 // nodes), SPEED) for nodes in (1, 2))
    assert (one.node_memory, one.slot_memory, one.node_bytes) == (1000, 400, 28)
    assert (two.node_memory, two.slot_memory, two.node_bytes) == (600, 400, 14)


def test_what_idles_is_said_with_what_it_waits_for():
    tasks = [task("quick", seconds=1, produces=("q",)), task("wide", seconds=9, produces=("w",))]
    tasks += [task(f"tile{n}", "graft", inputs=("q", "w"), seconds=2) for n in range(5)]
    waiting, end = simulate(tasks, set(), Fleet(1, 4), SPEED).idle[-2:]
    assert waiting.held_up
    assert waiting.last == "wide"
    assert waiting.end == pytest.approx(9 + JOB_SECONDS)
    assert not end.held_up
    assert end.slots == pytest.approx(3)


def test_a_million_grafts_on_a_thousand_slots_take_seconds_to_simulate():
    nets = [f"net{number}" for number in range(1000)]
    tasks = [task(name, seconds=60, produces=(name,)) for name in nets]
    quarters = [nets[first : first + 250] for first in range(0, 1000, 250)]
    tasks += [
        task(f"{name}-{number}", "graft", inputs=(name, *some), seconds=30)
        for name in nets
        for number, some in enumerate(quarters)
    ]
    start = time.process_time()
    made = simulate(tasks, set(), Fleet(125, 8), SPEED)
    assert time.process_time() - start < 10
    assert made.jobs == 5000
    assert made.utilisation == pytest.approx(1.0)
