"""l2 and l12 against plain numpy, their gradients against finite differences, and what they do to weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from espalier.tasks.networks.architectures import is_map_weight, is_trained
from espalier.tasks.networks.network import initialise
from espalier.tasks.training.optimizer import make_optimizer
from espalier.tasks.training.regularizer import gradient, penalty
from tests.tasks.conftest import make_net
from tests.tasks.families import family_net, lively


def numpy_l12(weight):
    """The formula of Gu et al. 2020 with its loops: w[ky, kx, in, out]."""
    kernel = weight.reshape(*weight.shape[:2], *(weight.shape[2:] or (1, 1))).transpose(2, 3, 1, 0)
    rows, columns, inputs, outs = kernel.shape
    total = 0.0
    for i in range(inputs):
        values = [
            abs(kernel[y, x, i, o]) * np.sqrt(inputs)
            for y in range(rows)
            for x in range(columns)
            for o in range(outs)
        ]
        total += np.mean(values) ** 2
    return total / inputs


def doubles(network):
    return {name: value.double() for name, value in network.parameters.items()}


@pytest.mark.parametrize("name", ["conv-bn", "resnet20", "dense"])
@pytest.mark.parametrize("kind", ["l2", "l12", "none"])
def test_a_penalty_is_that_of_plain_numpy_over_the_maps_alone(name, kind):
    parameters = doubles(lively(family_net(name)))
    weights = [value.numpy() for key, value in parameters.items() if is_map_weight(key)]
    plain = {
        "l2": sum(0.5 * (weight**2).sum() for weight in weights),
        "l12": sum(numpy_l12(weight) for weight in weights),
        "none": 0.0,
    }
    # float64 sums in another order
    assert penalty(kind, parameters).item() == pytest.approx(plain[kind], rel=1e-12)


@pytest.mark.parametrize("kind", ["l2", "l12", "none"])
@pytest.mark.parametrize("shape", [(3, 4, 3, 3), (5, 7), (2, 3, 1, 1)], ids=str)
def test_a_gradient_is_that_of_finite_differences(kind, shape):
    weight = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found, step = gradient(kind, weight), 1e-6
    for place in [(0,) * len(shape), tuple(size - 1 for size in shape)]:
        higher, lower = weight.clone(), weight.clone()
        higher[place] += step
        lower[place] -= step
        up, down = (penalty(kind, {"layers.1.weight": moved}).item() for moved in (higher, lower))
        # the penalty is quadratic along any line that crosses no zero: only rounding is left
        assert found[place].item() == pytest.approx((up - down) / (2 * step), rel=1e-7, abs=1e-9)
    assert found.shape == weight.shape


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("parametrization", ["sp", "mup"])
@pytest.mark.parametrize("kind", ["l2", "l12"])
def test_weights_decay_by_the_rate_times_the_weight_times_the_gradient_whatever_the_parametrization(
    optimizer, parametrization, kind
):
    net = make_net(width=3, momentum=0.0, nesterov=False)
    recipe = replace(net.recipe, optimizer=optimizer, regularizer=kind, reg_weight=0.3)
    net = replace(net, recipe=recipe, parametrization=parametrization)
    start = initialise(net).parameters
    moved = {name: value.clone() for name, value in start.items()}
    make_optimizer(net, moved).apply({name: torch.zeros_like(value) for name, value in start.items()}, 0.1)
    for name, value in start.items():
        decay = gradient(kind, value) if is_map_weight(name) else torch.zeros_like(value)
        torch.testing.assert_close(moved[name], value - 0.1 * 0.3 * decay, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("parametrization", ["sp", "mup"])
@pytest.mark.parametrize("name", ["conv-bn", "dense"])
def test_l2_of_everything_decays_biases_and_bn_too(optimizer, parametrization, name):
    net = family_net(name, momentum=0.0, nesterov=False)
    recipe = replace(net.recipe, optimizer=optimizer, regularizer="l2", reg_weight=0.3, reg_biases=True)
    net = replace(net, recipe=recipe, parametrization=parametrization)
    start = {name: value for name, value in lively(net).parameters.items() if is_trained(name)}
    moved = {name: value.clone() for name, value in start.items()}
    make_optimizer(net, moved).apply({name: torch.zeros_like(value) for name, value in start.items()}, 0.1)
    assert not all(is_map_weight(name) for name in start)
    for place, value in start.items():
        torch.testing.assert_close(moved[place], value * (1 - 0.1 * 0.3), rtol=1e-6, atol=1e-7)
    every = 0.5 * sum(value.double().square().sum().item() for value in start.values())
    assert penalty("l2", doubles(lively(net)), biases=True).item() == pytest.approx(every, rel=1e-6)


def test_l12_goes_into_the_momentum_as_part_of_the_loss_does():
    """Two steps by hand: v = 0.5 v + dR, w -= 0.1 v, from the loss's gradients of 0."""
    net = make_net(momentum=0.5, nesterov=False)
    net = replace(net, recipe=replace(net.recipe, regularizer="l12", reg_weight=2.0))
    moved = {name: value.clone() for name, value in initialise(net).parameters.items() if is_trained(name)}
    name = "layers.2.weight"
    weight, speed = moved[name].clone(), torch.zeros_like(moved[name])
    optimizer = make_optimizer(net, moved)
    for _ in range(2):
        optimizer.apply({key: torch.zeros_like(value) for key, value in moved.items()}, 0.1)
        speed = 0.5 * speed + 2.0 * gradient("l12", weight)
        weight = weight - 0.1 * speed
    torch.testing.assert_close(moved[name], weight, rtol=1e-6, atol=1e-7)
