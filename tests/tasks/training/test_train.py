"""Training against hand computation, and the same bits whatever cut it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from espalier.tasks.data.tensors import Data
from espalier.tasks.networks.checkpoint import pack_state, unpack_state
from espalier.tasks.networks.network import Network, initialise
from espalier.tasks.spec import Architecture, Layer, Recipe, Schedule, TrainSegment
from espalier.tasks.training.evaluation import evaluate
from espalier.tasks.training.schedule import factor
from espalier.tasks.training.train import Diverged, State, initial_state, order, train
from tests.tasks.conftest import make_data, make_net, make_snapshot


def run(net, epoch, data, state=None):
    """Train to an epoch, from a state or the beginning."""
    segment = TrainSegment(make_snapshot(net, epoch), state.epoch if state else None, keep_state=True)
    return train(segment, state or initial_state(net), data)


def carried(state):
    """A state that went through a file's bytes."""
    return State(*unpack_state(pack_state(state.parameters, state.momentum, state.epoch)))


def plain_rows(trained):
    """Curve rows without their segment's key and the clock."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in trained.curve_rows]


def same_bits(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("schedule", [
    Schedule("constant"),
    Schedule("cosine", warmup_epochs=1.5, epochs=5),
    Schedule("multi_step", milestones=(2, 4), gamma=0.3),
], ids=lambda schedule: schedule.kind)  # fmt: skip
def test_a_run_cut_at_any_snapshots_has_the_same_bits_and_rows_as_an_uncut_one(data, schedule):
    net = make_net(schedule=schedule)
    whole = run(net, 5, data)
    for cuts in [(0, 5), (1, 2, 3, 4, 5), (2, 5), (0, 3, 5)]:
        state, rows = None, []
        for epoch in cuts:
            trained = run(net, epoch, data, state)
            state = carried(trained.state)
            rows += plain_rows(trained)
        assert same_bits(trained.network.parameters, whole.network.parameters)
        assert same_bits(trained.state.momentum, whole.state.momentum)
        assert rows == plain_rows(whole)
        assert trained.net_row == whole.net_row


def test_the_same_spec_gives_the_same_bits_whatever_the_global_generator(data):
    first = run(make_net(), 2, data)
    torch.manual_seed(99)
    assert same_bits(run(make_net(), 2, data).network.parameters, first.network.parameters)


def test_training_changes_neither_the_state_that_it_starts_from_nor_its_data(data):
    net = make_net()
    state = run(net, 1, data).state
    before = {name: value.clone() for name, value in (state.parameters | state.momentum).items()}
    images = data.x_train.clone()
    run(net, 2, data, state)
    assert same_bits(state.parameters | state.momentum, before)
    assert torch.equal(images, data.x_train)


def softmax_gradient(x, y, weight, bias):
    """Gradient of the mean cross-entropy of a linear classifier, in float64."""
    logits = x @ weight.T + bias
    share = np.exp(logits - logits.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    share[np.arange(len(y)), y] -= 1
    return share.T @ x / len(y), share.mean(0)


@pytest.mark.parametrize(("nesterov", "momentum"), [(True, 0.9), (False, 0.8), (False, 0.0)])
@pytest.mark.parametrize("regularizer", ["l2", "none"])
def test_sgd_steps_are_those_of_a_hand_computation(nesterov, momentum, regularizer):
    """Sutskever et al. 2013 as PyTorch has it; l2 pulls on weights and leaves biases alone."""
    layer = Layer("dense", 3, activation="none")
    recipe = Recipe(0.1, momentum, nesterov, 8, Schedule("constant"), regularizer, 0.05)
    net = replace(make_net(), architecture=Architecture((1, 2, 2), (layer,)), recipe=recipe)
    data = make_data(train=32, test=8, image=(1, 2, 2), classes=3)
    trained = run(net, 2, data)

    x, y = data.x_train.flatten(1).double().numpy(), data.y_train.numpy()
    start = initialise(net).parameters
    weight, bias = (start[f"layers.1.{part}"].double().numpy().copy() for part in ("weight", "bias"))
    speed_weight, speed_bias = np.zeros_like(weight), np.zeros_like(bias)
    for epoch in (1, 2):
        for batch in order(net, epoch, 32).split(8):
            g_weight, g_bias = softmax_gradient(x[batch], y[batch], weight, bias)
            if regularizer == "l2":
                g_weight = g_weight + 0.05 * weight
            speed_weight = momentum * speed_weight + g_weight
            speed_bias = momentum * speed_bias + g_bias
            weight -= 0.1 * (g_weight + momentum * speed_weight if nesterov else speed_weight)
            bias -= 0.1 * (g_bias + momentum * speed_bias if nesterov else speed_bias)
    found = trained.network.parameters
    np.testing.assert_allclose(found["layers.1.weight"].numpy(), weight, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["layers.1.bias"].numpy(), bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "points"),
    [
        (Schedule("constant"), {0.1: 1, 1: 1, 50: 1}),
        (Schedule("constant", warmup_epochs=2), {0.5: 0.25, 1: 0.5, 2: 1, 3: 1}),
        (Schedule("cosine", epochs=8), {2: 0.5 + 0.5 / math.sqrt(2), 4: 0.5, 8: 0, 9: 0}),
        (Schedule("cosine", epochs=8, warmup_epochs=4), {2: 0.25 + 0.25 / math.sqrt(2), 4: 0.5}),
        (
            Schedule("multi_step", milestones=(2, 5), gamma=0.1),
            {1: 1, 2: 1, 2.01: 0.1, 5: 0.1, 5.01: 0.01},
        ),
    ],
    ids=["constant", "warm-up", "cosine", "cosine with warm-up", "multi_step"],
)
def test_the_learning_rate_at_known_points(schedule, points):
    for epoch, share in points.items():
        assert factor(schedule, epoch) == pytest.approx(share, abs=1e-12), epoch


def test_the_rate_in_the_curves_is_that_at_the_end_of_the_epoch(data):
    net = make_net(lr=0.2, schedule=Schedule("cosine", epochs=4, warmup_epochs=2))
    rates = [row["learning_rate"] for row in run(net, 4, data).curve_rows]
    assert rates == pytest.approx(
        [0.2 * 0.5 * (0.5 + 0.5 / math.sqrt(2)), 0.1, 0.2 * (0.5 - 0.5 / math.sqrt(2)), 0], abs=1e-12
    )


def test_a_cosine_without_an_end_is_refused():
    with pytest.raises(ValueError, match="number of epochs"):
        factor(Schedule("cosine"), 1.0)


def test_a_loss_that_is_no_number_is_a_hopeless_failure_that_says_where_and_what_to_do(data):
    net = make_net(lr=1e9, seed=4)
    with pytest.raises(Diverged) as caught:
        run(net, 3, data)
    text = str(caught.value)
    for word in ("loss_train", "epoch 1", "width 3", "seed 4", "train.lr", "1e+09", "warmup_epochs"):
        assert word in text
    assert caught.value.hopeless


def test_an_epoch_sees_every_image_once_in_an_order_of_its_own():
    net = make_net()
    orders = [order(net, epoch, 50) for epoch in range(1, 6)]
    assert all(sorted(seen.tolist()) == list(range(50)) for seen in orders)
    assert len({tuple(seen.tolist()) for seen in orders}) == 5


def test_a_shared_order_is_one_for_all_nets_and_independent_ones_differ():
    nets = [make_net(seed=seed, width=width) for seed in (0, 1) for width in (3, 4)]
    independent = {tuple(order(net, 2, 50).tolist()) for net in nets}
    shared = {tuple(order(replace(net, order=()), 2, 50).tolist()) for net in nets}
    assert len(independent) == 4
    assert len(shared) == 1


def test_the_loss_falls_and_held_out_images_are_learnt(data):
    rows = run(make_net(), 8, data).curve_rows
    losses = [row["loss_train"] for row in rows]
    assert losses[-1] < 0.5 * losses[0]
    assert rows[-1]["accuracy_test"] > 0.5  # of 5 classes


def test_an_untrained_net_knows_nothing(data):
    network = initialise(make_net())
    zeros = {name: torch.zeros_like(value) for name, value in network.parameters.items()}
    loss, accuracy = evaluate(Network(network.architecture, zeros), data.x_test, data.y_test)
    assert loss == pytest.approx(math.log(5))
    assert accuracy == pytest.approx((data.y_test == 0).double().mean().item())


def test_evaluation_is_a_mean_over_images_however_they_are_batched(monkeypatch):
    data, network = make_data(test=50), initialise(make_net())
    whole = evaluate(network, data.x_test, data.y_test)
    monkeypatch.setattr("espalier.tasks.training.evaluation.evaluation_batch", lambda architecture: 7)
    assert evaluate(network, data.x_test, data.y_test) == pytest.approx(whole, rel=1e-6)


def test_the_row_of_a_snapshot_is_an_evaluation_of_its_net(data):
    trained = run(make_net(), 3, data)
    row = trained.net_row
    assert (row["loss_test"], row["accuracy_test"]) == evaluate(trained.network, data.x_test, data.y_test)
    assert (row["loss_train"], row["accuracy_train"]) == evaluate(trained.network, data.x_train, data.y_train)
    assert row["parameters"] == sum(value.numel() for value in trained.network.parameters.values())
    assert row["loss_test"] == trained.curve_rows[-1]["loss_test"]


@pytest.mark.parametrize("epochs", [0, 2])
def test_the_test_images_are_judged_after_each_epoch_and_not_again_for_the_row(epochs, monkeypatch):
    seen = []

    def watched(network, x, *others):
        seen.append(len(x))
        return evaluate(network, x, *others)

    monkeypatch.setattr("espalier.tasks.training.train.evaluate", watched)
    run(make_net(), epochs, make_data(train=30, test=20))
    assert seen == [20] * max(1, epochs) + [30]


def test_the_last_short_batch_counts_by_its_images():
    """With a tiny rate the loss of every batch is the initial net's: the epoch's mean is over images."""
    data = make_data(train=37, test=10)
    net = make_net(lr=1e-12, batch_size=16)
    network = initialise(net)
    loss, accuracy = evaluate(network, data.x_train, data.y_train)
    (row,) = run(net, 1, Data(*data)).curve_rows
    assert row["loss_train"] == pytest.approx(loss, rel=1e-6)
    assert row["accuracy_train"] == pytest.approx(accuracy)
