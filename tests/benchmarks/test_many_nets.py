"""The figures of a long run are made of looks at its process."""

import os
import time

import pytest

from benchmarks.many_nets import PARTS, Look, _cpu, after, tenths


def looks(end=200):
    """A second of start, then two snapshots a second, each half of a job that takes the driver 10 ms."""
    return [Look(1 + n / 2, 0.5 + 0.005 * n, 100.0 + n, n) for n in range(end + 1)]


def test_each_tenth_of_a_run_has_its_own_cost_of_a_job_and_memory():
    rows = tenths([Look(0.0, 0.0, 50.0, 0), *looks()], total=200, jobs=100)
    assert [row["snapshots"] for row in rows] == [20 * part for part in range(1, PARTS + 1)]
    assert [row["cpu_ms_a_job"] for row in rows] == pytest.approx([10.0] * PARTS)
    assert rows[-1] == {"snapshots": 200, "seconds": 101.0, "cpu_ms_a_job": 10.0, "resident_mb": 300.0}


def test_tenths_that_passed_between_two_looks_cost_nothing_that_is_known():
    rows = tenths([Look(0.0, 0.0, 50.0, 0), Look(1.0, 1.0, 60.0, 1), Look(2.0, 3.0, 70.0, 40)], 40, 40)
    assert [row["cpu_ms_a_job"] for row in rows] == [pytest.approx(2000 / 39, abs=0.01)] + [None] * 9


def test_what_follows_the_last_snapshot_is_told_apart():
    rest = [Look(110.0, 2.0, 400.0, 200), Look(120.0, 2.5, 350.0, 200)]
    found = after([*looks(), *rest], total=200, jobs=4)
    assert found == {"seconds": 19.0, "jobs": 4, "cpu_ms_a_job": 250.0, "resident_mb": 400.0}


def test_the_time_of_a_process_is_told_by_the_system():
    assert _cpu(os.getpid()) == pytest.approx(time.process_time(), abs=0.1)
