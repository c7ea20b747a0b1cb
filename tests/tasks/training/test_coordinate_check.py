"""The exponents with which a few steps move each layer: what theory says of each parametrization."""

from dataclasses import replace

import pytest
import torch

from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.orchestrator.planning.nets import nets
from espalier.tasks.data.images import facts
from espalier.tasks.data.tensors import load
from espalier.tasks.networks.network import initialise
from espalier.tasks.tables.schemas import COORDINATES
from espalier.tasks.training.coordinate_check import (
    BatchStatistics,
    at_a_constant_rate,
    coordinate_changes,
    outputs,
)
from espalier.tasks.training.slopes import layer_slopes
from tests.tasks.conftest import make_net
from tests.tasks.families import family_net, lively

CONV = {"layers": [1, "pool", 1, "pool", 1]}
DENSE = {"family": "dense", "activation": "relu"}
SGD, ADAM = {"lr": 0.05}, {"optimizer": "adamw", "lr": 4e-3}


def measured(network, train, widths=(8, 16, 32, 64, 128), seeds=2, steps=5, drawn_outputs=False):
    """Slopes of layers by number after the last step, on digits."""
    config = SweepConfig.parse(
        {"network": network, "train": train, "sweep": {"widths": list(widths), "seeds": seeds}}
    )
    data, rows = load("digits"), []
    for net in nets(config, facts("digits")):
        rows += coordinate_changes(at_a_constant_rate(net), data, steps, drawn_outputs)
    return {layer: found.slope for layer, found in layer_slopes(rows, steps).items()}


@pytest.mark.parametrize("train", [SGD, ADAM], ids=["sgd", "adamw"])
def test_hidden_layers_of_mup_move_alike_at_every_width_and_those_of_sp_do_not(train):
    flat = measured(CONV | {"parametrization": "mup"}, train)
    steep = measured(CONV | {"parametrization": "sp"}, train)
    for layer in (1, 2, 3):
        assert abs(flat[layer]) < 0.1, layer
    for layer in (2, 3):
        assert steep[layer] > 0.5, layer


@pytest.mark.parametrize(("train", "lr"), [(SGD, 0.001), (ADAM, 0.016)], ids=["sgd", "adamw"])
def test_mean_field_moves_alike_at_every_width_too(train, lr):
    flat = measured(CONV | {"parametrization": "mean_field"}, train | {"lr": lr})
    assert all(abs(flat[layer]) < 0.1 for layer in (1, 2, 3))


@pytest.mark.parametrize(("train", "lr"), [(SGD, 0.05), (ADAM, 4e-3)], ids=["sgd", "adamw"])
def test_features_of_ntk_stand_still_as_the_width_to_minus_a_half(train, lr):
    """The kernel limit: z_l moves as 1 / sqrt(width) once the outputs are random; wide nets show it best."""
    network = DENSE | {"layers": [1, 1, 1], "parametrization": "ntk", "base_width": 64}
    found = measured(network, train | {"lr": lr}, widths=(64, 128, 256, 512, 1024), drawn_outputs=True)
    assert all(abs(found[layer] + 0.5) < 0.12 for layer in (1, 2, 3)), found


def test_rows_are_those_of_the_schema_one_per_step_and_layer(data):
    rows = coordinate_changes(make_net(), data, 3)
    assert all(list(row) == COORDINATES.names for row in rows)
    assert [(row["step"], row["layer"]) for row in rows] == [
        (step, layer) for step in (1, 2, 3) for layer in (1, 2, 3)
    ]
    assert rows[0]["layer_name"] == "conv1"
    assert all(row["change"] > 0 for row in rows)


def test_a_change_is_the_root_mean_square_of_the_difference(data):
    """One step by hand with drawn outputs: plain SGD on the first batch."""
    from espalier.tasks.training.loss import mean_loss
    from espalier.tasks.training.train import order

    net = make_net(momentum=0.0, nesterov=False)
    net = replace(net, recipe=replace(net.recipe, regularizer="none"))
    start = initialise(net)
    parameters = {name: value.clone().requires_grad_() for name, value in start.parameters.items()}
    batch = order(net, 1, len(data.y_train))[:16]
    logits = replace(start, parameters=parameters).logits(data.x_train[batch])
    slopes_ = torch.autograd.grad(
        mean_loss("cross_entropy", logits, data.y_train[batch]), [*parameters.values()]
    )
    moved = {
        name: value - 0.05 * g for (name, value), g in zip(start.parameters.items(), slopes_, strict=True)
    }
    x = data.x_test[:128]
    expected = [
        (after.z - before.z).square().mean().sqrt().item()
        for before, after in zip(start.features(x), replace(start, parameters=moved).features(x), strict=True)
    ]
    rows = coordinate_changes(net, data, 1, drawn_outputs=True)
    assert [row["change"] for row in rows] == pytest.approx(expected, rel=1e-3)


def test_batch_statistics_leave_the_stored_ones_alone_and_drop_nothing():
    network = lively(family_net("vgg16-bn"))
    before = {name: value.clone() for name, value in network.parameters.items()}
    x = torch.randn(20, 2, 32, 32, generator=torch.Generator().manual_seed(1))
    first, again = outputs(network, x), outputs(network, x)
    assert all(torch.equal(first[layer], again[layer]) for layer in first)
    assert all(torch.equal(network.parameters[name], value) for name, value in before.items())
    z = torch.randn(50, 3, generator=torch.Generator().manual_seed(2))
    plain = BatchStatistics().normalise("bn", z, {"bn.weight": torch.ones(3), "bn.bias": torch.zeros(3)})
    torch.testing.assert_close(plain.mean(0), torch.zeros(3), rtol=0, atol=1e-5)
