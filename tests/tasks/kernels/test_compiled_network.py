"""Compiled networks are the plain ones, whatever their layers, and say who does what."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from espalier.tasks.kernels.compiled_network import compiled, compiles, shared_out
from espalier.tasks.networks.architectures import is_trained
from espalier.tasks.networks.batch_norm import USE, Training
from espalier.tasks.networks.families.conv import conv
from espalier.tasks.networks.families.resnet import resnet
from espalier.tasks.networks.families.vgg import vgg
from espalier.tasks.networks.network import Network, initialise
from espalier.tasks.spec import Architecture, Layer, Shortcut
from tests.tasks.conftest import make_data, make_net
from tests.tasks.families import lively


def mixed():
    """A ReLU that a shortcut reads too, tanh, dropout before a conv, odd sizes, a mean over positions."""
    wide = Layer("conv", 32, 3, 1)
    return Architecture(
        (3, 17, 17),
        (
            wide,
            wide,
            replace(wide, shortcut=Shortcut(1)),
            replace(wide, activation="tanh"),
            replace(wide, dropout=0.5, pool=2),
            replace(wide, batch_norm=True, pool=2),
            replace(wide, pool=3, dropout=0.5),
            replace(wide, activation="none"),
            replace(wide, global_pool=True),
            wide,
            Layer("dense", 5, activation="none"),
        ),
    )


ARCHITECTURES = {
    "conv": conv([1, 1, "pool", 2, 2, "pool"], 32, (1, 12, 12), 5),
    "conv-bn": conv([1, "pool", 2], 32, (2, 16, 16), 5, batch_norm=True),
    "narrow-bn": conv([1, "pool", 1], 8, (2, 32, 32), 5, batch_norm=True),
    "vgg16": vgg("vgg16", 8, (3, 32, 32), 5),
    "vgg16-bn": vgg("vgg16", 8, (3, 32, 32), 5, batch_norm=True),
    "resnet20": resnet("resnet20", 32, (3, 16, 16), 5),
    "mixed": mixed(),
}
EVERY = pytest.mark.parametrize("name", ARCHITECTURES)


def network_of(name, dtype, mode):
    net = replace(make_net(), architecture=ARCHITECTURES[name])
    parameters = {key: value.to(dtype) for key, value in lively(net).parameters.items()}
    return Network(net.architecture, parameters, mode)


def of_a_step(network, data):
    """The logits, the gradient as one vector, and the statistics that the step moved."""
    parameters = network.parameters
    leaves = [value.requires_grad_() for name, value in parameters.items() if is_trained(name)]
    logits = network.logits(data.x_train.to(leaves[0].dtype))
    found = torch.autograd.grad(F.cross_entropy(logits, data.y_train), leaves)
    moved = [value for name, value in parameters.items() if not is_trained(name)]
    return logits.detach(), *(
        torch.cat([part.flatten() for part in parts]) for parts in (found, moved) if parts
    )


@EVERY
def test_a_step_is_that_of_the_plain_network_in_float64(name):
    """Logits and statistics to 1e-4 of their norms: float32 rounds to 6e-8, which deep nets with BN amplify.

    Gradients to 2e-3: where rounding takes a number to the other side of a ReLU, or another one of a square
    wins, a part of the gradient takes another way (PyTorch's own float32: up to 1.4e-4 here).
    """
    data = make_data(train=24, test=2, image=ARCHITECTURES[name].input)
    expected = of_a_step(network_of(name, torch.float64, Training(0)), data)
    found = of_a_step(compiled(network_of(name, torch.float32, Training(0))), data)
    for tolerance, mine, theirs in zip((1e-4, 2e-3, 1e-4), found, expected, strict=False):
        assert (mine - theirs).norm() <= tolerance * theirs.norm()


@EVERY
def test_a_network_in_use_is_the_plain_one_in_float64(name):
    data = make_data(train=24, test=2, image=ARCHITECTURES[name].input)
    with torch.no_grad():
        expected = network_of(name, torch.float64, USE).logits(data.x_train.double())
        found = compiled(network_of(name, torch.float32, USE)).logits(data.x_train)
    assert (found - expected).norm() <= 1e-4 * expected.norm()


def test_convs_take_the_relu_before_them_and_the_pooling_after_where_nothing_is_between():
    rest, convs, norms = shared_out(ARCHITECTURES["conv"])
    assert {number: tuple(taken) for number, taken in convs.items()} == {
        2: (True, True), 3: (False, False), 4: (True, True)
    }  # fmt: skip
    assert [layer.activation for layer in rest.layers] == ["none"] * 5
    assert {layer.pool for layer in rest.layers} == {1}
    assert not norms


def test_what_else_reads_an_activation_gets_it_whole():
    rest, convs, norms = shared_out(mixed())
    assert {number: tuple(taken) for number, taken in convs.items()} == {
        2: (False, False),  # a shortcut reads h_1 as well
        3: (True, False),
        4: (True, False),
        5: (False, True),
        6: (False, False),  # it is taken below
        7: (True, False),
        8: (True, False),  # pooling by 3 and dropout come before the ReLU that is left
        9: (False, False),
        10: (False, False),  # a mean of ReLUs is no ReLU of a mean
    }
    assert norms == {}
    assert rest.layers[6].pool == 3
    assert rest.layers[8].activation == "relu"


def test_large_maps_are_normalised_with_what_follows():
    assert shared_out(ARCHITECTURES["conv-bn"]).norms == {1: "pooled", 2: "relu"}
    assert shared_out(ARCHITECTURES["narrow-bn"]).norms == {1: "pooled"}


def test_only_what_has_something_to_win_is_compiled():
    assert all(compiles(architecture) for architecture in ARCHITECTURES.values())
    assert not compiles(make_net(width=8).architecture)


def test_other_numbers_and_several_nets_stay_with_pytorch():
    network = initialise(replace(make_net(), architecture=ARCHITECTURES["conv"]))
    assert compiled(network) is not network
    for other in (
        replace(network, nets=2),
        replace(network, parameters={name: value.double() for name, value in network.parameters.items()}),
        replace(network, parameters={name: value.to("meta") for name, value in network.parameters.items()}),
    ):
        assert compiled(other) is other


@EVERY
def test_parameters_that_are_no_number_give_none(name):
    network = network_of(name, torch.float32, USE)
    poisoned = {**network.parameters, "layers.2.weight": network.parameters["layers.2.weight"] * float("nan")}
    with torch.no_grad():
        logits = compiled(replace(network, parameters=poisoned)).logits(
            torch.ones(2, *ARCHITECTURES[name].input)
        )
    assert logits.isnan().all()


def test_under_autocast_it_stays_with_pytorch():
    network = initialise(replace(make_net(), architecture=ARCHITECTURES["conv"]))
    with torch.autocast("cpu", torch.bfloat16):
        assert compiled(network) is network
