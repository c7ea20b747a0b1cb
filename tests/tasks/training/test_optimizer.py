"""AdamW against torch.optim, both optimizers through a file's bytes, and on views of larger tensors."""

from dataclasses import replace

import pytest
import torch

from espalier.tasks.kernels import sgd_kernel
from espalier.tasks.networks.architectures import is_map_weight, is_trained
from espalier.tasks.networks.checkpoint import pack_state, unpack_state
from espalier.tasks.networks.network import initialise
from espalier.tasks.spec import TrainSegment
from espalier.tasks.training.optimizer import make_optimizer
from espalier.tasks.training.train import State, initial_state, train
from tests.tasks.conftest import make_net, make_snapshot


def adamw_net(**recipe):
    net = make_net()
    changed = {"optimizer": "adamw", "momentum": 0.0, "nesterov": False, "lr": 0.01} | recipe
    return replace(net, recipe=replace(net.recipe, **changed))


def gradients(parameters, step):
    generator = torch.Generator().manual_seed(step)
    return {
        name: torch.randn(value.shape, generator=generator)
        for name, value in parameters.items()
        if is_trained(name)
    }


def copies(network):
    return {name: value.clone() for name, value in network.parameters.items()}


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.8)])
def test_adamw_takes_the_steps_of_torch_optim(betas):
    net = adamw_net(beta1=betas[0], beta2=betas[1], eps=1e-4, reg_weight=0.1)
    start = initialise(net)
    ours, theirs = copies(start), copies(start)
    weights = [value for name, value in theirs.items() if is_map_weight(name)]
    others = [value for name, value in theirs.items() if not is_map_weight(name)]
    reference = torch.optim.AdamW(
        [{"params": weights, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=0.01, betas=betas, eps=1e-4,
    )  # fmt: skip
    optimizer = make_optimizer(net, ours)
    for step in range(5):
        given = gradients(start.parameters, step)
        optimizer.apply(given, 0.01)
        for name, value in theirs.items():
            value.grad = given[name]
        reference.step()
    for name, value in theirs.items():
        # the same operations in float32
        torch.testing.assert_close(ours[name], value, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("regularizer", ["l2", "l12"])
def test_a_run_cut_in_two_has_the_same_bits(data, kind, regularizer):
    net = adamw_net(lr=0.01) if kind == "adamw" else make_net()
    net = replace(
        net, recipe=replace(net.recipe, regularizer=regularizer, augment="crop_flip", label_noise=0.1)
    )

    def run(epoch, state):
        return train(TrainSegment(make_snapshot(net, epoch), state.epoch, True), state, data).state

    whole = run(3, initial_state(net))
    first = run(1, initial_state(net))
    again = run(3, State(*unpack_state(pack_state(first.parameters, first.momentum, first.epoch))))
    assert again.momentum.keys() == whole.momentum.keys()
    assert whole.momentum
    for one, other in ((again.parameters, whole.parameters), (again.momentum, whole.momentum)):
        assert all(torch.equal(one[name], value) for name, value in other.items())


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_views_of_larger_tensors_step_as_tensors_of_their_own(kind):
    net = adamw_net() if kind == "adamw" else make_net()
    start = initialise(net)
    alone = copies(start)
    both = {name: torch.cat([value, value]) for name, value in alone.items()}
    views = {name: value[: len(alone[name])] for name, value in both.items()}
    for parameters in (alone, views):
        optimizer = make_optimizer(net, parameters)
        for step in range(3):
            optimizer.apply(gradients(start.parameters, step), 0.02)
    for name, value in alone.items():
        assert torch.equal(both[name][: len(value)], value)
        assert torch.equal(both[name][len(value) :], start.parameters[name])


def test_nothing_is_kept_before_the_first_step():
    for net in (make_net(), adamw_net()):
        assert make_optimizer(net, copies(initialise(net))).momentum == {}


def sgd_by_hand(weight, slope, buffer, rate, decay, momentum, nesterov):
    """In float64."""
    weight, slope, buffer = (value.double() for value in (weight, slope, buffer))
    slope = slope + decay * weight
    buffer = momentum * buffer + slope
    return weight - rate * (slope + momentum * buffer if nesterov else buffer), buffer


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("size", [(1,), (15,), (16,), (70,), (8, 3, 3, 3)])
def test_a_step_in_one_pass_is_that_of_sgd(size, nesterov):
    weight, slope, buffer = (torch.randn(size) for _ in range(3))
    assert sgd_kernel.suits(weight)
    factors = {"rate": 0.1, "decay": 0.01, "momentum": 0.9, "nesterov": nesterov}
    expected = sgd_by_hand(weight, slope, buffer, **factors)
    sgd_kernel.Step(**factors).take(weight, slope, buffer)
    for found, wanted in zip((weight, buffer), expected, strict=True):
        torch.testing.assert_close(
            found.double(), wanted, rtol=0, atol=1e-6
        )  # numbers up to 5, rounded to 3e-7


def test_bits_of_a_step_in_one_pass_do_not_depend_on_the_place_in_a_tensor():
    step = sgd_kernel.Step(rate=0.1, decay=0.01, momentum=0.9, nesterov=True)
    whole = [torch.randn(100) for _ in range(3)]
    pieces = [[value[start : start + 7].clone() for value in whole] for start in range(0, 98, 7)]
    step.take(*whole)
    for number, piece in enumerate(pieces):
        step.take(*piece)
        for found, wanted in zip(piece, whole, strict=True):
            assert torch.equal(found, wanted[7 * number : 7 * number + 7])


def test_other_numbers_and_tensors_with_gaps_are_left_to_pytorch():
    plain = torch.randn(4, 3, 2, 2)
    assert sgd_kernel.suits(plain)
    assert sgd_kernel.suits(plain.contiguous(memory_format=torch.channels_last))
    for other in (plain.double(), plain.to("meta"), plain[:, :2], plain.transpose(0, 1)):
        assert not sgd_kernel.suits(other)


def test_numbers_in_another_order_are_put_in_the_weights():
    plain = torch.randn(4, 3, 2, 2)
    last = plain.contiguous(memory_format=torch.channels_last)
    assert sgd_kernel.alike(plain, plain) is plain
    assert sgd_kernel.alike(last, last) is last
    for value, weight in ((plain, last), (last, plain)):
        found = sgd_kernel.alike(value, weight)
        assert torch.equal(found, value)
        assert found.stride() == weight.stride()
    one = torch.randn(4, 1, 2, 2)
    assert sgd_kernel.alike(one, one.contiguous(memory_format=torch.channels_last)) is one


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"nesterov": False},
        {"momentum": 0.0, "nesterov": False},
        {"regularizer": "l12"},
        {"reg_weight": 0.0},
    ],
)
def test_sgd_takes_the_steps_of_float64(recipe):
    """There PyTorch takes them: with momentum and without, with every decay, the first step and others."""
    net = make_net()
    net = replace(net, recipe=replace(net.recipe, **recipe))
    start = initialise(net)
    narrow = copies(start)
    wide = {name: value.double() for name, value in copies(start).items()}
    optimizers = make_optimizer(net, narrow), make_optimizer(net, wide)
    for step in range(4):
        given = gradients(start.parameters, step)
        exact = {name: value.double() for name, value in given.items()}
        optimizers[0].apply(given, 0.05)
        optimizers[1].apply(exact, 0.05)
    for name, value in wide.items():
        torch.testing.assert_close(narrow[name].double(), value, rtol=1e-5, atol=1e-6)
    for name, value in optimizers[1].momentum.items():
        torch.testing.assert_close(optimizers[0].momentum[name].double(), value, rtol=1e-5, atol=1e-6)
