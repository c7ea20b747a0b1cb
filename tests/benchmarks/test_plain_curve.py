"""The loop written by hand against the project's own: the same penalty, the same rates, and it learns."""

from dataclasses import replace

import pytest
import torch

from benchmarks.plain_curve import cropped, fit, penalty, rate
from benchmarks.plain_loop import begin_from, modules
from espalier.tasks.data.tensors import load
from espalier.tasks.spec import Schedule, TrainSegment
from espalier.tasks.training.regularizer import penalty as own_penalty
from espalier.tasks.training.schedule import factor
from espalier.tasks.training.train import initial_state, order, train
from tests.tasks.conftest import make_net, make_snapshot
from tests.tasks.families import lively


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("regularizer", ["none", "l2", "l12"])
def test_both_loops_have_one_penalty(regularizer, biases):
    net = make_net()
    parameters, model = lively(net).parameters, modules(net.architecture)
    begin_from(model, parameters)
    # float32 sums in another order
    assert penalty(model, regularizer, biases).item() == pytest.approx(
        own_penalty(regularizer, parameters, biases).item(), rel=1e-5
    )


def test_both_loops_have_one_schedule():
    schedule = Schedule("multi_step", warmup_epochs=1.0, milestones=(3, 6), gamma=0.2)
    recipe = replace(make_net().recipe, schedule=schedule)
    for epoch in (0.25, 1.0, 2.5, 3.5, 6.25):
        assert rate(recipe, epoch) == pytest.approx(factor(schedule, epoch))


def test_crops_keep_the_size_and_show_a_part_of_the_image():
    torch.manual_seed(0)
    image = torch.arange(1.0, 65.0).reshape(1, 8, 8)
    crops = [cropped(image) for _ in range(50)]
    assert {crop.shape for crop in crops} == {image.shape}
    assert all(set(crop.unique().tolist()) <= {0.0, *image.unique().tolist()} for crop in crops)
    assert len({tuple(crop.flatten().tolist()) for crop in crops}) > 30


def test_a_net_learns_in_the_loop_by_hand():
    net = make_net(image=(1, 8, 8), classes=10, entries=(1, "pool", 1), width=8)
    recipe = replace(net.recipe, lr=0.05, augment="none", schedule=Schedule("constant"))
    curve = fit(replace(net, recipe=recipe), 3, load("digits", limit_train=500, limit_test=200), seed=0)
    assert [line["epoch"] for line in curve] == [1, 2, 3]
    assert curve[-1]["loss_train"] < curve[0]["loss_train"]
    assert curve[-1]["accuracy_test"] > 0.5


@pytest.mark.parametrize("regularizer", ["none", "l2", "l12"])
def test_from_the_same_weights_and_order_both_loops_give_one_curve(regularizer):
    net = make_net(image=(1, 8, 8), classes=10, entries=(1, "pool", 2), width=4)
    schedule = Schedule("multi_step", warmup_epochs=1.0, milestones=(2,), gamma=0.2)
    fields = {
        "lr": 0.02,
        "augment": "none",
        "schedule": schedule,
        "regularizer": regularizer,
        "reg_weight": 0.01,
    }
    net, epochs = replace(net, recipe=replace(net.recipe, **fields)), 3
    data, begun = load("digits", limit_train=500, limit_test=200), initial_state(net)
    orders = [order(net, epoch, 500) for epoch in range(1, epochs + 1)]
    by_hand = fit(net, epochs, data, 0, begun.parameters, orders)
    rows = train(TrainSegment(make_snapshot(net, epochs), None, False), begun, data).curve_rows
    for line, row in zip(by_hand, rows, strict=True):
        # float32 rounding, which some dozens of steps enlarge
        assert line["loss_train"] == pytest.approx(row["loss_train"], rel=1e-4)
        assert line["accuracy_test"] == pytest.approx(row["accuracy_test"], abs=0.006)  # one image
