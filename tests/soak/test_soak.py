"""How a soak is judged."""

import pytest

from tests.soak.three_nodes import _trend, faults


def figures(**changes):
    memory = {"driver": {"slope_mb_an_hour": 1.0}}
    good = {"driver_exit_code": 0, "sweeps": 2, "attempts": {"done": 9, "failed lost": 1}, "memory": memory}
    return {**good, "sweeps_with_the_rows_of_an_undisturbed_run_each_once": 2, **changes}


def test_the_slope_of_memory_is_that_of_the_last_two_thirds():
    warming_up = [(float(second), 50.0 + min(second, 1000)) for second in range(0, 3001, 10)]
    assert _trend(warming_up)["slope_mb_an_hour"] == pytest.approx(0, abs=0.1)
    assert _trend([(second, second / 36) for second in range(3000)])["slope_mb_an_hour"] == 100


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"driver_exit_code": 1}, "did not end well"),
        ({"sweeps": 3}, "1 sweeps have other rows"),
        ({"attempts": {"done": 9, "failed error": 1}}, "other causes than a lost node"),
        ({"memory": {"driver": {"slope_mb_an_hour": 90.0}}}, "memory grows"),
    ],
)
def test_each_broken_promise_is_told(changes, said):
    assert faults(figures()) == []
    (told,) = faults(figures(**changes))
    assert said in told
