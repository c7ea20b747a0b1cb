"""Statistics set right layer by layer, in float64."""

from dataclasses import replace

import pytest
import torch

from espalier.tasks.mixing.linear_path import between
from espalier.tasks.mixing.repair import output_scales, reordered_scales, repaired, scales_between
from espalier.tasks.networks.families.conv import conv
from espalier.tasks.networks.network import Network, permute_channels, sides, streams
from espalier.tasks.seeds import stream
from espalier.tasks.spec import Architecture, Layer, Shortcut
from tests.tasks.conftest import make_net
from tests.tasks.families import ARCHITECTURES, CLASSES, lively

RESIDUAL = Architecture(
    (2, 6, 6),
    (
        Layer("conv", 4, 3, 1),
        Layer("conv", 4, 3, 1),
        Layer("conv", 4, 3, 1, shortcut=Shortcut(1)),
        Layer("conv", 6, 3, 1, stride=2),
        Layer("conv", 6, 3, 1, shortcut=Shortcut(3, projection=True, stride=2), global_pool=True),
        Layer("dense", CLASSES, activation="none"),
    ),
)
"""A residual net without BN, as no family has it."""

CASES = {
    "conv": conv([1, "pool", 2], 3, (2, 6, 6), CLASSES),
    "conv-bn": ARCHITECTURES["conv-bn"],
    "dense": ARCHITECTURES["dense"],
    "residual": RESIDUAL,
}


def double(architecture, seed):
    net = lively(replace(make_net(seed=seed), architecture=architecture))
    return Network(architecture, {name: value.double() for name, value in net.parameters.items()})


def images(architecture, count=700):
    return torch.randn(count, *architecture.input, generator=stream("repair"), dtype=torch.float64)


def mean_and_sd(z):
    rows = z.transpose(0, 1).flatten(1)
    return rows.mean(1), rows.std(1, correction=0)


@pytest.mark.parametrize("held", [True, False], ids=["held", "recomputed"])
@pytest.mark.parametrize("name", ["conv", "dense", "residual"])
def test_every_channel_has_the_mean_and_deviation_between_the_ends(name, held):
    a, b = (double(CASES[name], seed) for seed in (0, 1))
    x = images(CASES[name])
    scales = [output_scales(net, x) for net in (a, b)]
    wanted = scales_between(*scales, 0.3)
    net = repaired(between(a, b, 0.3), wanted, x, held)
    outputs = [list(one.features(x)) for one in (net, a, b)]
    for layers in zip(*outputs, strict=True):
        place, last = f"layers.{layers[0].layer}", layers[0].layer == len(outputs[0])
        found, *ends = (mean_and_sd(features.z) for features in layers)
        for value, one, other in zip(found, *ends, strict=True):
            assert last or torch.allclose(value, 0.7 * one + 0.3 * other, atol=1e-10), place
    if name == "residual":
        found, *ends = (mean_and_sd(features[3].shortcuts[5]) for features in outputs)
        for value, one, other in zip(found, *ends, strict=True):
            assert torch.allclose(value, 0.7 * one + 0.3 * other, atol=1e-10)


@pytest.mark.parametrize("held", [True, False], ids=["held", "recomputed"])
def test_statistics_of_bn_are_those_of_the_net_with_all_below_it_set_right(held):
    a, b = (double(CASES["conv-bn"], seed) for seed in (0, 1))
    x = images(CASES["conv-bn"], 600)
    net = repaired(between(a, b, 0.5), {}, x, held)
    for features in list(net.features(x))[:-1]:
        rows = features.z.transpose(0, 1).flatten(1)
        name = f"layers.{features.layer}.bn.running"
        assert torch.allclose(net.parameters[f"{name}_mean"], rows.mean(1), atol=1e-10)
        assert torch.allclose(net.parameters[f"{name}_var"], rows.var(1), atol=1e-10)
    assert torch.equal(net.parameters["layers.1.weight"], between(a, b, 0.5).parameters["layers.1.weight"])


@pytest.mark.parametrize("name", ["conv", "dense", "residual"])
def test_an_end_is_left_as_it_is(name):
    net, other = (double(CASES[name], seed) for seed in (0, 1))
    x = images(CASES[name], 100)
    own = output_scales(net, x)
    again = repaired(net, scales_between(own, output_scales(other, x), 0.0), x)
    assert torch.allclose(again.logits(x), net.logits(x), atol=1e-10)


def test_scales_move_with_their_channels():
    net = double(RESIDUAL, 0)
    moved, x = permute_channels(net, 4), images(RESIDUAL, 50)
    orders = {
        number: torch.randperm(count, generator=stream("permute", number, 4))
        for number, count in {1: 4, 2: 4, 4: 6, 5: 6}.items()
    }
    found = reordered_scales(RESIDUAL, output_scales(net, x), orders)
    for name, scale in output_scales(moved, x).items():
        assert torch.allclose(found[name].mean_C, scale.mean_C), name
        assert torch.allclose(found[name].sd_C, scale.sd_C), name
    assert sides(RESIDUAL, "layers.5.shortcut.weight") == (5, 1)
    assert streams(RESIDUAL)[3] == 1


def test_a_constant_channel_is_shifted_alone():
    net, x = double(CASES["conv"], 0), images(CASES["conv"], 50)
    wanted = output_scales(net, x)
    flat = dict(net.parameters)
    flat["layers.1.weight"] = torch.zeros_like(flat["layers.1.weight"])
    again = repaired(Network(net.architecture, flat), wanted, x)
    z = next(again.features(x)).z
    assert torch.allclose(mean_and_sd(z)[0], wanted["layers.1"].mean_C)
    assert all(value.isfinite().all() for value in again.parameters.values())
