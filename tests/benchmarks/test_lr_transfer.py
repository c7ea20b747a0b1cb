"""The search for the best learning rate, on losses that are known and on tiny nets."""

import math

import pytest

from benchmarks import lr_transfer
from benchmarks.lr_transfer import AROUND, STEP, Setup, rate_at, run, search, vertex
from espalier.tasks.data.tensors import load


@pytest.mark.parametrize("best", [0.02, 0.04, 1.3])
@pytest.mark.parametrize("diverges", [False, True])
def test_a_search_ends_with_enough_worse_rates_on_either_side_of_the_best(monkeypatch, best, diverges):
    """Losses whose logarithm is a parabola in log rate, infinite from four times the best rate on."""
    asked = []

    def loss(setup, parametrization, width, lr, data):
        asked.append(lr)
        far = math.log(lr / best)
        return math.inf if diverges and far > math.log(4) else math.exp(far * far)

    monkeypatch.setattr(lr_transfer, "loss_at", loss)
    setup = Setup()
    measured = search(setup, "sp", 8, 0, None)
    least = min(measured, key=measured.__getitem__)
    assert all(least + side in measured for side in range(-AROUND, AROUND + 1))
    assert len(asked) == len(set(asked)) == len(measured)
    found = rate_at(setup, 0) * STEP ** vertex(measured, least)
    assert found == pytest.approx(best, rel=1e-6)


def test_a_best_rate_without_a_parabola_is_the_one_tried():
    assert vertex({0: 1.0, 1: 2.0}, 0) == 0.0
    assert vertex({-2: 1.0, -1: 1.1, 0: 1.2, 1: 1.1, 2: 0.95}, 2) == 2.0  # a hill
    assert vertex({-1: math.inf, 0: 1.0, 1: math.inf}, 0) == 0.0


def test_a_tiny_run_has_a_row_for_each_parametrization_and_width():
    setup = Setup(widths=(2, 4), seeds=1, epochs=2, images=100, network="dense")
    result = run(setup)
    assert [(row["parametrization"], row["width"]) for row in result["rows"]] == [
        ("sp", 2), ("sp", 4), ("mup", 2), ("mup", 4),
    ]  # fmt: skip
    for row in result["rows"]:
        tried = [
            entry["loss_train"]
            for entry in result["losses"]
            if (entry["parametrization"], entry["width"]) == (row["parametrization"], row["width"])
        ]
        assert row["loss_train"] == min(tried)
        assert 0.0 < row["best_lr"] < 40.0
    for summary in result["summary"]:
        rates = [r["best_lr"] for r in result["rows"] if r["parametrization"] == summary["parametrization"]]
        assert summary["moved_by"] == pytest.approx(max(rates) / min(rates))


def test_a_net_that_diverges_has_an_infinite_loss():
    setup = Setup(widths=(2,), seeds=1, epochs=2, images=100, network="dense", optimizer="sgd")
    data = load("mnist5k", limit_train=100, limit_test=100)
    assert lr_transfer.loss_at(setup, "sp", 2, 1e38, data) == math.inf
