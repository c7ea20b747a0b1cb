"""Nets trained together: what each would be alone, with the same bits in any company."""

import math
from dataclasses import replace
from typing import get_args

import pytest
import torch

from espalier.tasks.networks.dense_products import dense_products
from espalier.tasks.networks.network import Network, initialise
from espalier.tasks.spec import (
    ALONE,
    COMPILED,
    Architecture,
    Layer,
    Layout,
    Probe,
    Schedule,
    TrainMode,
    TrainSegment,
)
from espalier.tasks.training.probe import ways
from espalier.tasks.training.stack import moved, part, stack
from espalier.tasks.training.train import Diverged, State, initial_state, train, train_group
from tests.tasks.conftest import make_data, make_net, make_snapshot
from tests.tasks.families import family_net

GROUPED, LAST = TrainMode(grouped=True), TrainMode(grouped=True, layout="channels_last")
TOGETHER = pytest.mark.parametrize("mode", [GROUPED, LAST], ids=lambda mode: mode.name)
FAMILIES = ["vgg16-bn", "resnet20", "dense"]


def segments(nets, epoch, start=None):
    return [TrainSegment(make_snapshot(net, epoch), start, keep_state=True) for net in nets]


def together(nets, epoch, data, mode=GROUPED, states=None):
    states = states or [initial_state(net) for net in nets]
    starts = [state.epoch for state in states]
    ladder = [TrainSegment(make_snapshot(net, epoch), s, True) for net, s in zip(nets, starts, strict=True)]
    return train_group(ladder, states, data, mode)


def same_bits(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def same_results(one, other):
    """The same bits in everything but the clock."""
    rows = [[{**row, "seconds": 0.0} for row in trained.curve_rows] for trained in (one, other)]
    return (
        same_bits(one.state.parameters, other.state.parameters)
        and same_bits(one.state.momentum, other.state.momentum)
        and rows[0] == rows[1]
        and one.net_row == other.net_row
    )


def nets_of(family, seeds, **recipe):
    if family == "conv":
        return [make_net(seed, width=3, **recipe) for seed in range(seeds)]
    return [replace(family_net(family), seed=seed, order=(3, seed)) for seed in range(seeds)]


def wide(data):
    """The same in float64, where rounding is out of sight."""
    return data._replace(x_train=data.x_train.double(), x_test=data.x_test.double())


def wide_state(net):
    state = initial_state(net)
    return replace(state, parameters={name: value.double() for name, value in state.parameters.items()})


def assert_as_alone(nets, data, mode=GROUPED, epoch=2):
    """In float64: of 1e-16 two epochs with BN of two images in a batch make 1e-8 at most."""
    found = together(nets, epoch, wide(data), mode, [wide_state(net) for net in nets])
    for net, trained in zip(nets, found, strict=True):
        alone = train(*segments([net], epoch), wide_state(net), wide(data))
        for name, value in alone.state.parameters.items():
            torch.testing.assert_close(trained.state.parameters[name], value, rtol=1e-7, atol=1e-7)
        for row, expected in zip(trained.curve_rows, alone.curve_rows, strict=True):
            assert row["loss_train"] == pytest.approx(expected["loss_train"], rel=1e-6)
            assert row["accuracy_train"] == expected["accuracy_train"]
            assert row["learning_rate"] == expected["learning_rate"]
            assert row["key"] == expected["key"]
        assert trained.net_row["loss_test"] == pytest.approx(alone.net_row["loss_test"], rel=1e-6)
    return found


@TOGETHER
@pytest.mark.parametrize("family", ["conv", *FAMILIES])
def test_nets_trained_together_are_those_trained_alone(family, mode):
    nets = nets_of(family, 3)
    assert_as_alone(nets, make_data(train=50, test=20, image=nets[0].architecture.input), mode)


@TOGETHER
def test_in_float32_they_differ_by_rounding(data, mode):
    """Losses of two epochs, to a thousandth: float32 rounds to 6e-8, which some steps amplify."""
    nets = nets_of("conv", 3)
    for net, trained in zip(nets, together(nets, 2, data, mode), strict=True):
        alone = train(*segments([net], 2), initial_state(net), data)
        for row, expected in zip(trained.curve_rows, alone.curve_rows, strict=True):
            assert row["loss_train"] == pytest.approx(expected["loss_train"], rel=1e-3)


def test_compiled_kernels_are_offered_where_they_take_a_layer_and_its_numbers():
    def offered(width, device="cpu", **recipe):
        net = make_net(width=width, entries=(1, 1, "pool", 2), **recipe)
        return COMPILED in {mode for mode, _ in ways(Probe(net, 1, 1.0), device)}

    assert offered(32)
    assert not offered(8)
    assert not offered(32, device="cuda")
    assert not offered(32, precision="bf16")


@TOGETHER
def test_a_group_cut_at_a_snapshot_has_the_same_bits(data, mode):
    nets = nets_of("conv", 3, schedule=Schedule("cosine", warmup_epochs=1.5, epochs=4))
    whole = together(nets, 4, data, mode)
    halfway = together(nets, 2, data, mode)
    for cut, uncut in zip(together(nets, 4, data, mode, [t.state for t in halfway]), whole, strict=True):
        assert same_bits(cut.state.parameters, uncut.state.parameters)
        assert same_bits(cut.state.momentum, uncut.state.momentum)


def test_each_net_has_its_own_place_in_the_schedule(data):
    """One net at the beginning beside one that has two epochs behind it, and other epochs to go."""
    nets = nets_of("conv", 2, schedule=Schedule("cosine", warmup_epochs=1.5, epochs=6))
    ahead = together([nets[1]], 2, data)[0].state
    ladder = [*segments([nets[0]], 1), *segments([nets[1]], 5, start=2)]
    mixed = train_group(ladder, [initial_state(nets[0]), ahead], data, GROUPED)
    expected = [together([nets[0]], 1, data)[0], together([nets[1]], 5, data, states=[ahead])[0]]
    for found, alone in zip(mixed, expected, strict=True):
        assert same_results(found, alone)
    assert [row["epoch"] for row in mixed[1].curve_rows] == [3, 4, 5]


@pytest.mark.parametrize("recipe", [
    {"regularizer": "l12", "reg_weight": 0.01},
    {"optimizer": "adamw", "momentum": 0.0, "nesterov": False, "lr": 1e-3},
    {"augment": "crop_flip"},
], ids=lambda recipe: next(iter(recipe.values())))  # fmt: skip
def test_recipes_of_every_kind_are_trained_together(recipe, data):
    plain = nets_of("conv", 3)
    nets = [replace(net, recipe=replace(net.recipe, **recipe)) for net in plain]
    assert_as_alone(nets, data)


def test_dropout_masks_are_each_nets_own():
    nets = [replace(net, architecture=with_dropout(net.architecture)) for net in nets_of("conv", 3)]
    data = make_data(train=32, test=10)
    found = assert_as_alone(nets, data, epoch=1)
    masks = {trained.curve_rows[0]["loss_train"] for trained in found}
    assert len(masks) == 3


def with_dropout(architecture):
    first, *rest = architecture.layers
    return replace(architecture, layers=(replace(first, dropout=0.5), *rest))


@TOGETHER
@pytest.mark.parametrize("lost", [0, 2])
def test_a_net_that_diverges_is_reported_and_its_group_goes_on_with_the_same_bits(lost, mode, data):
    nets = nets_of("conv", 3)
    states = [initial_state(net) for net in nets]
    poisoned = {**states[lost].parameters, "layers.1.weight": torch.full((3, 2, 3, 3), 1e30)}
    found = together(nets, 2, data, mode, [
        replace(state, parameters=poisoned) if index == lost else state for index, state in enumerate(states)
    ])  # fmt: skip
    assert isinstance(found[lost], Diverged)
    assert f"epoch 1 at width 3, seed {lost}" in str(found[lost])
    whole = together(nets, 2, data, mode)
    for index in {0, 1, 2} - {lost}:
        assert same_results(found[index], whole[index])


@pytest.mark.parametrize(
    "mode", [ALONE, TrainMode(layout="channels_last"), COMPILED], ids=lambda mode: mode.name
)
def test_a_loop_gives_what_each_gives_alone(mode, data):
    nets = [make_net(seed, width=32) for seed in range(2)]
    for net, trained in zip(nets, together(nets, 2, data, mode), strict=True):
        assert same_results(trained, train(*segments([net], 2), initial_state(net), data, mode))


def test_compiled_kernels_change_rounding_alone_and_a_cut_no_bit(data):
    """Losses of two epochs to a thousandth: float32 rounds to 6e-8, which some steps amplify."""
    net = make_net(
        width=32, entries=(1, 1, "pool", 2), schedule=Schedule("cosine", warmup_epochs=1.5, epochs=4)
    )
    plain, whole, halfway = (
        train(*segments([net], epoch), initial_state(net), data, mode)
        for epoch, mode in ((4, ALONE), (4, COMPILED), (2, COMPILED))
    )
    for row, expected in zip(whole.curve_rows, plain.curve_rows, strict=True):
        assert row["loss_train"] == pytest.approx(expected["loss_train"], rel=1e-3)
        assert row["loss_test"] == pytest.approx(expected["loss_test"], rel=1e-3)
    assert not same_bits(whole.state.parameters, plain.state.parameters)
    cut = train(*segments([net], 4, start=2), halfway.state, data, COMPILED)
    assert same_bits(cut.state.parameters, whole.state.parameters)
    assert same_bits(cut.state.momentum, whole.state.momentum)


@pytest.mark.parametrize("batch_norm", [False, True], ids=["", "bn"])
def test_with_compiled_kernels_a_net_that_diverges_is_reported(batch_norm):
    net = compiled_net(batch_norm, lr=1e9)
    with pytest.raises(Diverged, match="at width 32, seed 0"):
        train(*segments([net], 3), initial_state(net), make_data(image=(2, 16, 16)), COMPILED)


def compiled_net(batch_norm, dropout=0.0, **recipe):
    """Wide convs on maps that are large enough for BN's own kernels."""
    net = make_net(width=32, entries=(1, 1, "pool", 2), image=(2, 16, 16), **recipe)
    first, *rest = net.architecture.layers
    layers = [replace(layer, batch_norm=batch_norm and layer.kind == "conv") for layer in (first, *rest)]
    layers[1] = replace(layers[1], dropout=dropout)
    return replace(net, architecture=replace(net.architecture, layers=tuple(layers)))


@pytest.mark.parametrize(
    "recipe",
    [{}, {"optimizer": "adamw", "momentum": 0.0, "nesterov": False, "lr": 1e-3}, {"regularizer": "l12"}],
    ids=["sgd", "adamw", "l12"],
)
def test_with_compiled_kernels_a_net_with_bn_and_dropout_is_the_plain_one_and_a_cut_changes_no_bit(recipe):
    net = compiled_net(True, dropout=0.5, augment="crop_flip")
    net = replace(net, recipe=replace(net.recipe, **recipe))
    data = make_data(train=40, test=20, image=(2, 16, 16))
    plain, whole, halfway = (
        train(*segments([net], epoch), initial_state(net), data, mode)
        for epoch, mode in ((2, ALONE), (2, COMPILED), (1, COMPILED))
    )
    assert whole.curve_rows[0]["loss_train"] == pytest.approx(plain.curve_rows[0]["loss_train"], rel=1e-3)
    cut = train(*segments([net], 2, start=1), halfway.state, data, COMPILED)
    assert same_bits(cut.state.parameters, whole.state.parameters)
    assert same_bits(cut.state.momentum, whole.state.momentum)


def test_compiled_kernels_leave_bfloat16_and_groups_to_pytorch(data):
    net = make_net(width=32, entries=(1, 1, "pool", 2), precision="bf16")
    plain, other = (
        train(*segments([net], 1), initial_state(net), data, mode)
        for mode in (TrainMode(layout="channels_last"), COMPILED)
    )
    assert same_results(other, plain)
    nets = [make_net(seed, width=32) for seed in range(2)]
    both = TrainMode(grouped=True, layout="channels_last", compiled=True)
    for found, expected in zip(together(nets, 1, data, both), together(nets, 1, data, LAST), strict=True):
        assert same_results(found, expected)


def test_parameters_that_are_no_numbers_are_told_though_losses_are(data):
    """A bias of -inf before a ReLU: the channel is dead, and every loss is finite."""
    net = make_net()
    state = initial_state(net)
    dead = {**state.parameters, "layers.1.bias": torch.tensor([-math.inf, 0.0, 0.0])}
    with pytest.raises(Diverged, match="largest parameter is inf in epoch 1"):
        train(*segments([net], 1), replace(state, parameters=dead), data)


def test_a_regression_is_trained_together_too():
    nets = [replace(net, recipe=replace(net.recipe, loss="mse")) for net in nets_of("conv", 3)]
    plain = make_data(train=40, test=20)
    wanted = torch.eye(5)
    data = plain._replace(y_train=wanted[plain.y_train], y_test=wanted[plain.y_test])
    data = data._replace(y_train=data.y_train.double(), y_test=data.y_test.double())
    for trained in assert_as_alone(nets, data):
        assert trained.net_row["accuracy_test"] is None


@pytest.mark.parametrize(("images", "inputs", "outputs"), [(5, 3, 2), (16, 32, 10), (29, 25, 7)])
def test_dense_products_and_their_gradients_are_those_of_each_net(images, inputs, outputs):
    """In float64, where another order of sums is at most 1e-12 away."""
    generator = torch.Generator().manual_seed(1)
    nets = 3
    h, weight, bias = (
        torch.randn(size, generator=generator, dtype=torch.float64, requires_grad=True)
        for size in ((images, nets * inputs), (nets * outputs, inputs), (nets * outputs,))
    )
    g = torch.randn(images, nets * outputs, generator=generator, dtype=torch.float64)
    z = dense_products(h, weight, bias, nets)
    each = [
        torch.nn.functional.linear(*some)
        for some in zip(h.chunk(nets, 1), weight.chunk(nets), bias.chunk(nets), strict=True)
    ]
    expected = torch.cat(each, 1)
    torch.testing.assert_close(z, expected, rtol=1e-12, atol=1e-12)
    found = torch.autograd.grad(z, (h, weight, bias), g)
    for mine, theirs in zip(found, torch.autograd.grad(expected, (h, weight, bias), g), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_stacked_nets_come_apart_as_they_were():
    nets = [initialise(make_net(seed)).parameters for seed in range(3)]
    for layout in get_args(Layout):
        stacked = stack(nets, layout)
        for index, net in enumerate(nets):
            assert same_bits(part(stacked, index, 3), net)


def test_pooling_before_the_relu_gives_the_same_values_and_gradients():
    """Also where values of a square are equal: the first of them gets the gradient either way."""
    layer = Layer("conv", 2, 3, 1, pool=2)
    network = Network(Architecture((2, 8, 8), (layer,)), initialise(
        replace(make_net(), architecture=Architecture((2, 8, 8), (layer,)))).parameters)  # fmt: skip
    z = (
        torch.randint(-3, 4, (5, 2, 8, 8), generator=torch.Generator().manual_seed(2))
        .float()
        .requires_grad_()
    )
    plain = torch.nn.functional.max_pool2d(torch.relu(z), 2)
    found = network.after(1, z)
    g = torch.arange(plain.numel(), dtype=torch.float32).view(plain.shape)
    assert torch.equal(found, plain)
    assert torch.equal(torch.autograd.grad(found, z, g)[0], torch.autograd.grad(plain, z, g)[0])


def test_a_state_is_found_where_the_segment_starts(data):
    nets = nets_of("conv", 2)
    (row, _) = together(nets, 0, data)
    assert row.state.epoch == 0
    assert row.curve_rows == []
    assert same_bits(row.state.parameters, State(dict(initialise(nets[0]).parameters), {}, 0).parameters)
    assert math.isfinite(row.net_row["loss_test"])


def test_nets_that_differ_in_more_than_seed_and_order_are_refused_together():
    one = make_net(0, width=3)
    other = replace(make_net(1, width=3), parametrization="mup", base_width=2)
    with pytest.raises(ValueError, match="seed and order alone"):
        together([one, other], 1, make_data())


def test_states_go_where_the_images_are_but_for_numbers_that_optimizers_read_on_the_cpu():
    tensors = moved({"mean.w": torch.ones(2, 3), "steps": torch.tensor(4.0)}, torch.device("meta"))
    assert (tensors["mean.w"].device.type, tensors["steps"].device.type) == ("meta", "cpu")
