"""Every family against torch.nn modules put together by hand, and against published sizes."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from espalier.tasks.networks.architectures import (
    ArchitectureError,
    checked,
    input_shapes,
    parameter_count,
    parameter_shapes,
    shapes_of,
    stored_count,
)
from espalier.tasks.networks.batch_norm import Training
from espalier.tasks.networks.families.dense import dense
from espalier.tasks.networks.families.resnet import STANDARD_WIDTH, resnet
from espalier.tasks.networks.families.vgg import vgg
from espalier.tasks.networks.network import Network, initialise, permute_channels, streams
from espalier.tasks.spec import Layer, Shortcut, TrainSegment
from espalier.tasks.training.train import State, initial_state, order, train
from tests.tasks.conftest import make_data, make_snapshot
from tests.tasks.families import ARCHITECTURES, BY_HAND, by_hand, family_net, lively, names_by_hand


def images(name, count=9, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *ARCHITECTURES[name].input, generator=generator)


@pytest.mark.parametrize("name", BY_HAND)
def test_logits_are_those_of_the_net_by_hand(name):
    network, x = lively(family_net(name)), images(name)
    modules, parts = by_hand(name, network)
    assert {ours for ours, _ in names_by_hand(parts)} == set(network.parameters)
    torch.testing.assert_close(network.logits(x), modules.eval()(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", BY_HAND)
def test_two_steps_of_sgd_with_batch_statistics_are_those_of_the_net_by_hand(name):
    """Dropout apart: its masks come from streams of ours."""
    data = make_data(train=32, test=8, image=ARCHITECTURES[name].input)
    net = family_net(name, batch_size=16, lr=0.01)
    layers = tuple(replace(layer, dropout=0.0) for layer in net.architecture.layers)
    net = replace(net, architecture=replace(net.architecture, layers=layers))
    start = Network(net.architecture, lively(net).parameters)
    trained = train(TrainSegment(make_snapshot(net, 1), 0, True), State(dict(start.parameters), {}, 0), data)

    modules, parts = by_hand(name, start)
    modules.train().apply(lambda m: setattr(m, "p", 0.0) if isinstance(m, torch.nn.Dropout) else None)
    ours = dict(names_by_hand(parts))
    decayed = [v for n, v in ours.items() if n.endswith(".weight") and ".bn." not in n]
    free = [v for n, v in ours.items() if n.endswith(("bias", "bn.weight"))]
    groups = [{"params": decayed, "weight_decay": net.recipe.reg_weight}, {"params": free}]
    optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.9, nesterov=True)
    for batch in order(net, 1, 32).split(16):
        optimizer.zero_grad()
        F.cross_entropy(modules(data.x_train[batch]), data.y_train[batch]).backward()
        optimizer.step()
    for tensor, value in names_by_hand(parts):
        torch.testing.assert_close(
            trained.network.parameters[tensor], value.detach(), rtol=1e-4, atol=1e-5, msg=tensor
        )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_features_prefix_and_suffix_make_the_net_at_every_layer(name):
    network, x = lively(family_net(name)), images(name)
    logits, shapes = network.logits(x), input_shapes(network.architecture)
    for entry in network.features(x):
        assert torch.equal(entry.h_in, network.prefix(entry.layer, x))
        assert tuple(entry.h_in.flatten(1).shape[1:]) == (torch.Size(shapes[entry.layer - 1]).numel(),)
        *_, (last, outputs) = network.suffix(entry.layer, entry.z, entry.shortcuts)
        assert last == network.architecture.depth
        torch.testing.assert_close(outputs, logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_permuting_channels_leaves_the_function_and_moves_the_features(name):
    network, x = lively(family_net(name)), images(name)
    permuted = permute_channels(network, 7)
    torch.testing.assert_close(permuted.logits(x), network.logits(x), rtol=1e-4, atol=1e-4)
    layer = network.architecture.depth
    before, after = (net.prefix(layer, x) for net in (network, permuted))
    assert not torch.allclose(before, after)
    torch.testing.assert_close(before.sum(1), after.sum(1), rtol=1e-4, atol=1e-4)


def test_layers_of_one_residual_stream_share_a_permutation():
    assert streams(ARCHITECTURES["resnet20"]) == [
        0, 1, 2, 1, 4, 1, 6, 1, 8, 9, 10, 9, 12, 9, 14, 15, 16, 15, 18, 15, 20,
    ]  # fmt: skip


CIFAR, IMAGENET = (3, 32, 32), (3, 224, 224)


@pytest.mark.parametrize(
    ("architecture", "published"),
    [
        (vgg("vgg16", 64, IMAGENET, 1000), 138_357_544),  # Simonyan & Zisserman 2015: 138 M
        (vgg("vgg19", 64, IMAGENET, 1000), 143_667_240),  # 144 M
        (vgg("vgg16", 64, IMAGENET, 1000, batch_norm=True), 138_365_992),  # torchvision's vgg16_bn
        (vgg("vgg16", 64, CIFAR, 10), 14_714_688 + 513 * 4096 + 4097 * 4096 + 40_970),
    ],
)
def test_parameters_of_vgg_are_as_many_as_published(architecture, published):
    assert parameter_count(architecture) == published


@pytest.mark.parametrize(("family", "published"), [("resnet18", 11_173_962), ("resnet20", 272_474)])
def test_parameters_of_residual_nets_are_as_many_as_published_apart_from_the_convs_biases(family, published):
    """He et al. 2016 give 0.27 M for ResNet-20; the published nets leave out biases that BN takes away."""
    net = resnet(family, STANDARD_WIDTH[family], CIFAR, 10)
    shapes = parameter_shapes(net)
    last = f"layers.{net.depth}.bias"
    biases = [n for n in shapes if n.endswith(".bias") and ".bn." not in n and n != last]
    assert parameter_count(net) - sum(shapes[name][0] for name in biases) == published
    assert stored_count(net) - parameter_count(net) == 2 * sum(
        shapes[name][0] for name in shapes if name.endswith("running_mean")
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_initial_tensors_have_the_shapes_of_the_description(name):
    network = initialise(family_net(name))
    found = {tensor: tuple(value.shape) for tensor, value in network.parameters.items()}
    assert found == parameter_shapes(network.architecture)


def test_maps_of_residual_nets_halve_at_each_stage():
    net = resnet("resnet18", 64, CIFAR, 10)
    sizes = [shape[1] for shape in shapes_of(net)]
    assert sizes == [32] * 6 + [16] * 4 + [8] * 4 + [4] * 3 + [1, 1]
    assert net.depth == 18


@pytest.mark.parametrize(("family", "convs"), [("vgg16", 13), ("vgg19", 16)])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_vgg_drops_before_its_three_dense_layers_alone(family, convs, batch_norm):
    net = vgg(family, 1, CIFAR, 10, batch_norm)
    dropped = {number: layer.dropout for number, layer in enumerate(net.layers, start=1) if layer.dropout}
    assert dropped == {convs: 0.5, convs + 1: 0.5, convs + 2: 0.5}
    assert not any(layer.dropout for layer in vgg("vgg16", 1, CIFAR, 10, dropout=0.0).layers)


@pytest.mark.parametrize("image", [(1, 28, 28), (3, 64, 31)])
def test_vgg_refuses_small_images(image):
    with pytest.raises(ArchitectureError, match=f"vgg19 .* 32x32 or more, found {image[1]}x{image[2]}"):
        vgg("vgg19", 4, image, 10)


@pytest.mark.parametrize(
    ("shortcut", "words"),
    [
        (Shortcut(0), r"layer 2 gives \(1, 4, 4\) where the layer gives \(3, 2, 2\)"),
        (Shortcut(0, projection=True), r"layer 2 gives \(3, 4, 4\) where the layer gives \(3, 2, 2\)"),
        (Shortcut(2), "reads h of layer 2: it must lie below, 0 to 1"),
    ],
)
def test_a_shortcut_that_does_not_fit_is_refused(shortcut, words):
    first = Layer("conv", 3, 3, 1, stride=2)
    with pytest.raises(ArchitectureError, match=words):
        checked((1, 4, 4), [first, Layer("conv", 3, 3, 1, shortcut=shortcut)])


def test_a_dense_net_without_hidden_layers_is_refused():
    with pytest.raises(ArchitectureError, match="no hidden layer"):
        dense([], 4, (1, 1, 1), 1)


def test_a_layer_with_a_shortcut_does_not_go_on_without_it():
    network = lively(family_net("resnet20"))
    with pytest.raises(ValueError, match="layer 3 adds a shortcut"):
        network.after(3, torch.zeros(1, 2, 8, 8))


def test_dropout_zeroes_its_share_keeps_the_mean_and_differs_by_step_and_layer():
    h = torch.ones(400, 50)
    dropped = Training(0, 3, 1, 1).drop(4, 0.3, h)
    kept = (dropped != 0).float().mean().item()
    assert kept == pytest.approx(0.7, abs=5 * (0.21 / h.numel()) ** 0.5)
    assert sorted(dropped.unique().tolist()) == pytest.approx([0.0, 1 / 0.7])
    others = [Training(0, 3, 1, 2).drop(4, 0.3, h), Training(0, 3, 1, 1).drop(5, 0.3, h)]
    assert all(not torch.equal(dropped, other) for other in others)
    assert torch.equal(dropped, Training(0, 3, 1, 1).drop(4, 0.3, h))


@pytest.mark.parametrize("name", ["vgg16-bn", "resnet20"])
def test_a_cut_run_has_the_same_bits_with_running_statistics_and_dropout(name):
    from espalier.tasks.networks.checkpoint import pack_state, unpack_state

    data = make_data(train=40, test=8, image=ARCHITECTURES[name].input)
    net = family_net(name, batch_size=16)

    def run(epoch, state):
        return train(TrainSegment(make_snapshot(net, epoch), state.epoch, True), state, data)

    whole = run(3, initial_state(net))
    state = initial_state(net)
    for epoch in (1, 3):
        state = run(epoch, state).state
        state = State(*unpack_state(pack_state(state.parameters, state.momentum, state.epoch)))
    assert state.parameters.keys() == whole.state.parameters.keys()
    assert all(torch.equal(state.parameters[n], value) for n, value in whole.state.parameters.items())
    assert all(torch.equal(state.momentum[n], value) for n, value in whole.state.momentum.items())
    assert not any(name.endswith(("running_mean", "running_var")) for name in state.momentum)
    assert not torch.equal(
        whole.state.parameters["layers.1.bn.running_var"],
        initial_state(net).parameters["layers.1.bn.running_var"],
    )
