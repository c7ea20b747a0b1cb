"""Layouts change nothing but the order of sums."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tasks.architectures import is_trained
from tasks.batch_norm import USE, Training
from tasks.layout import NoBlocks, entering, laid, sum_of, unblocked
from tasks.network import Network, initialise
from tasks.probe import ways
from tasks.spec import Probe, Shortcut
from tests.tasks.conftest import make_data, make_net
from tests.tasks.families import family_net


@pytest.mark.parametrize("channels", [1, 3])
def test_maps_of_images_with_channels_last_are_so_too(channels):
    """PyTorch would take images of one channel for channels first, and copy every map of the next layer."""
    images, weight = torch.randn(2, channels, 6, 5), torch.randn(4, channels, 3, 3)
    expected = F.conv2d(images, weight, padding=1)
    found = F.conv2d(laid(images, "channels_last"), laid(weight, "channels_last"), padding=1)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected)


def test_what_is_laid_out_anew_has_the_same_numbers():
    for shape in ((3, 1, 4, 5), (3, 2, 4, 5), (3, 4), (3,)):
        value = torch.randn(shape)
        assert torch.equal(laid(value, "channels_last"), value)
        assert laid(value, "contiguous") is value
        assert laid(value, "blocked") is value
    images = torch.randn(2, 3, 4, 5)
    assert torch.equal(unblocked(entering(images, "blocked")), images)


def of_family(family):
    if family != "mixed":
        return family_net(family) if family != "conv" else make_net(width=16, entries=(1, "pool", 2))
    # What oneDNN lacks, in between: tanh, a shortcut from blocks past it, dropout, convs after that.
    net = make_net(width=16, entries=(1, 1, 1, 1, "pool", 2))
    first, second, third, *rest = net.architecture.layers
    layers = (
        replace(first, dropout=0.5),
        second,
        replace(third, activation="tanh"),
        replace(rest[0], shortcut=Shortcut(2)),
        *rest[1:],
    )
    return replace(net, architecture=replace(net.architecture, layers=layers))


def slopes(net, images, labels, layout, dtype):
    """The logits of a step, its gradient as one vector, and the logits in use."""
    parameters = {name: value.to(dtype) for name, value in initialise(net).parameters.items()}
    leaves = [value.requires_grad_() for name, value in parameters.items() if is_trained(name)]
    x = images.to(dtype)
    logits = Network(net.architecture, parameters, Training(0)).logits(entering(x, layout))
    found = torch.autograd.grad(F.cross_entropy(logits, labels), leaves)
    with torch.no_grad():
        used = Network(net.architecture, parameters, USE).logits(entering(x, layout))
    return logits.detach(), torch.cat([slope.flatten() for slope in found]), used


@pytest.mark.parametrize("layout", ["channels_last", "blocked"])
@pytest.mark.parametrize("family", ["conv", "vgg16-bn", "resnet20", "dense", "mixed"])
def test_logits_and_gradients_are_those_of_float64_in_every_layout(family, layout):
    """To 1e-4 of their norms: float32 rounds to 6e-8, which deep nets with BN amplify a few hundred times."""
    net = of_family(family)
    data = make_data(train=32, test=2, image=net.architecture.input)
    expected = slopes(net, data.x_train, data.y_train, "contiguous", torch.float64)
    for found, wanted in zip(
        slopes(net, data.x_train, data.y_train, layout, torch.float32), expected, strict=True
    ):
        assert not found.is_mkldnn
        assert (found - wanted).norm() < 1e-4 * wanted.norm()


def test_maps_stay_in_blocks_up_to_the_first_dense_layer():
    for family in ("conv", "vgg16-bn", "resnet20"):
        net = of_family(family)
        network = initialise(net)
        x = make_data(train=2, test=2, image=net.architecture.input).x_train
        for at in network.features(entering(x, "blocked")):
            layer = net.architecture.layers[at.layer - 1]
            assert at.z.is_mkldnn == (layer.kind == "conv")


def test_a_sum_of_maps_is_in_blocks_if_both_are():
    one, other = torch.randn(2, 16, 4, 4), torch.randn(2, 16, 4, 4)
    assert sum_of(one.to_mkldnn(), other.to_mkldnn()).is_mkldnn
    for mixed in (sum_of(one.to_mkldnn(), other), sum_of(one, other.to_mkldnn())):
        assert torch.equal(mixed, one + other)


def test_blocks_without_onednn_are_neither_offered_nor_tried(monkeypatch):
    net = make_net(width=16)
    offered = {mode.name for mode, _ in ways(Probe(net, 1, 1.0))}
    assert "loop blocked" in offered
    bf16 = replace(net, recipe=replace(net.recipe, precision="bf16"))
    for other in (
        ways(Probe(bf16, 1, 1.0)),
        ways(Probe(net, 1, 1.0), "cuda"),
        ways(Probe(of_family("dense"), 1, 1.0)),
    ):
        assert {mode.layout for mode, _ in other} == {"contiguous", "channels_last"}
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert {mode.name for mode, _ in ways(Probe(net, 1, 1.0))} == offered - {"loop blocked"}
    with pytest.raises(NoBlocks, match=r"delete probes\.json"):
        entering(torch.zeros(1, 1, 4, 4), "blocked")
