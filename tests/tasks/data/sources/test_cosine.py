"""The regression y = cos 4x: its data, its training, its grafts, and that it has no accuracy."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from espalier.tasks.data.images import facts, read
from espalier.tasks.data.sources.cosine import FACTS
from espalier.tasks.data.tensors import load, load_with_normalization
from espalier.tasks.grafting.graft import graft
from espalier.tasks.networks.families.dense import dense
from espalier.tasks.spec import GraftOptions, GraftTile, Pair, Schedule, TrainSegment
from espalier.tasks.tables.rows import table
from espalier.tasks.training.evaluation import evaluate
from espalier.tasks.training.train import initial_state, train
from tests.tasks.conftest import make_net, make_snapshot


def cosine_net(seed=0, width=30, **recipe):
    net = make_net(seed=seed, width=width, **{"lr": 0.003, "batch_size": 50} | recipe)
    return replace(
        net,
        architecture=dense([1, 1], width, (1, 1, 1), 1),
        recipe=replace(net.recipe, loss="mse", regularizer="none", reg_weight=0.0),
    )


def test_the_points_are_a_grid_and_the_values_its_cosine():
    data, normalization = load_with_normalization("cosine")
    assert (normalization.mean, normalization.std) == ((0.0,), (1.0,))
    x = torch.cat([data.x_train, data.x_test]).flatten()
    y = torch.cat([data.y_train, data.y_test]).flatten()
    assert (len(data.y_train), len(data.y_test)) == (FACTS.train, FACTS.test) == (1000, 250)
    np.testing.assert_allclose(np.sort(x.numpy()), np.linspace(-2 * np.pi, 2 * np.pi, 1250), atol=1e-6)
    np.testing.assert_allclose(y.numpy(), np.cos(4 * x.double().numpy()), atol=3e-6)
    assert y.dtype == torch.float32
    assert facts("cosine").regression


def test_the_split_is_that_of_the_recorded_rule():
    """The keys of results rest on it."""
    raw = read("cosine")
    assert "permuted 80/20 seed 0" in raw.split
    assert raw.split in facts("cosine").content
    step = 4 * np.pi / 1249
    places = np.rint((raw.x_train[:4].ravel() + 2 * np.pi) / step).astype(int)
    assert places.tolist() == np.random.RandomState(0).permutation(1250)[:4].tolist()


def test_the_drawn_points_are_uniform_standardised_and_their_values_the_cosine_of_what_was_drawn():
    raw, told = read("cosine-draws"), facts("cosine-draws")
    assert raw.x_train.shape == (told.train, 1, 1, 1) == (100_000, 1, 1, 1)
    assert raw.y_test.shape == (told.test, 1) == (1000, 1)
    assert told.regression
    assert raw.split in told.content
    x = raw.x_train.astype(np.float64).ravel()
    assert (x.mean(), x.std()) == pytest.approx((0, 1), abs=1e-6)
    drawn = np.random.RandomState(0).uniform(-2 * np.pi, 2 * np.pi, 101_000)  # NumPy keeps this stream
    mean, deviation = drawn[:100_000].mean(), drawn[:100_000].std()
    np.testing.assert_allclose(x * deviation + mean, drawn[:100_000], atol=2e-6)
    np.testing.assert_allclose(raw.x_test.ravel() * deviation + mean, drawn[100_000:], atol=2e-6)
    np.testing.assert_allclose(raw.y_train.ravel(), np.cos(4 * drawn[:100_000]), atol=1e-7)
    data, normalization = load_with_normalization("cosine-draws", limit_train=50)
    assert (normalization.mean, normalization.std) == ((0.0,), (1.0,))
    assert len(data.x_train) == 50


def test_a_limit_takes_the_first_points_of_a_shuffle():
    data = load("cosine", limit_train=100, limit_test=20)
    assert (len(data.x_train), len(data.y_train), len(data.y_test)) == (100, 100, 20)


def test_training_lowers_the_squared_error_and_has_no_accuracy():
    data, net = load("cosine"), cosine_net(schedule=Schedule("constant"))
    state = initial_state(net)
    trained = train(TrainSegment(make_snapshot(net, 3), None, True), state, data)
    before, accuracy = evaluate(make_network(state, net), data.x_test, data.y_test, "mse")
    assert accuracy is None
    assert trained.net_row["loss_test"] < before
    assert trained.net_row["accuracy_test"] is None
    assert trained.curve_rows[-1]["accuracy_train"] is None
    error = (trained.network.logits(data.x_test) - data.y_test).square().mean().item()
    assert trained.net_row["loss_test"] == pytest.approx(error, rel=1e-5)
    for name, rows in (("nets", [trained.net_row]), ("curves", trained.curve_rows)):
        assert table(name, rows).column("accuracy_test").null_count == len(rows)


def make_network(state, net):
    from espalier.tasks.networks.network import Network

    return Network(net.architecture, state.parameters)


def test_grafts_of_a_regression_have_errors_and_a_loss():
    data = load("cosine")
    nets = [cosine_net(seed) for seed in (0, 1)]
    networks = [
        train(TrainSegment(make_snapshot(net, 1), None, False), initial_state(net), data).network
        for net in nets
    ]
    pairs = (Pair("real", 0, 1), Pair("own", 1, 1, "self"))
    tile = GraftTile(tuple(make_snapshot(net, 1) for net in nets), pairs, GraftOptions())
    rows = graft(tile, networks, data)
    own_loss, _ = evaluate(networks[1], data.x_test, data.y_test, "mse")
    for row in rows.grafts:
        assert row["accuracy_test"] is row["accuracy_drop"] is row["source_accuracy_test"] is None
        if row["null"] == "self":
            assert row["fvu_test"] < 1e-6
            assert row["loss_test"] == pytest.approx(own_loss, rel=1e-3)
        else:
            assert 0 < row["fvu_test"] < 1
    assert table("grafts", rows.grafts).num_rows == 4
