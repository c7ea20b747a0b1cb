"""Networks from plain lists against torch.nn modules that are put together by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from espalier.tasks.networks.network import Network, initialise, max_pool, permute_channels
from tests.tasks.conftest import make_net

ENTRIES = (1, 2, "pool", 2)
IMAGE = (2, 6, 6)


@pytest.fixture
def network():
    """A net with biases that are not 0."""
    net = initialise(make_net(entries=ENTRIES, image=IMAGE))
    generator = torch.Generator().manual_seed(1)
    return Network(
        net.architecture,
        {
            name: torch.randn(value.shape, generator=generator) if name.endswith("bias") else value
            for name, value in net.parameters.items()
        },
    )


@pytest.fixture
def x():
    return torch.randn(11, *IMAGE, generator=torch.Generator().manual_seed(2))


def by_hand(network):
    """The same net as modules: width 3, [1, 2, pool, 2] on (2, 6, 6), 5 classes."""
    modules = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(),
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(6 * 3 * 3, 5),
    )  # fmt: skip
    maps = [module for module in modules if isinstance(module, nn.Conv2d | nn.Linear)]
    for number, module in enumerate(maps, start=1):
        module.weight.data = network.parameters[f"layers.{number}.weight"]
        module.bias.data = network.parameters[f"layers.{number}.bias"]
    return modules.requires_grad_(False)


INPUT_OF = {1: 0, 2: 2, 3: 5, 4: 7}
"""How many of the modules by hand lie below each layer."""


def test_logits_are_those_of_the_net_by_hand(network, x):
    assert torch.equal(network.logits(x), by_hand(network)(x))


@pytest.mark.parametrize("layer", [1, 2, 3, 4])
def test_a_prefix_gives_what_the_layer_reads(network, x, layer):
    assert torch.equal(network.prefix(layer, x), by_hand(network)[: INPUT_OF[layer]](x))


def test_features_are_every_layers_input_and_output(network, x):
    modules = by_hand(network)
    features = list(network.features(x))
    assert [entry.layer for entry in features] == [1, 2, 3, 4]
    for entry in features:
        below = INPUT_OF[entry.layer]
        assert torch.equal(entry.h_in, modules[:below](x))
        linear = modules[below] if entry.layer < 4 else modules[below:]
        assert torch.equal(entry.z, linear(entry.h_in))


@pytest.mark.parametrize("layer", [1, 2, 3, 4])
def test_a_suffix_goes_on_from_any_z(network, layer):
    modules, below = by_hand(network), INPUT_OF[layer] + (2 if layer == 4 else 1)
    shape = {1: (3, 6, 6), 2: (6, 6, 6), 3: (6, 3, 3), 4: (5,)}[layer]
    z = torch.randn(4, *shape, generator=torch.Generator().manual_seed(3))
    found = list(network.suffix(layer, z))
    assert [number for number, _ in found] == list(range(layer, 5))
    assert torch.equal(found[0][1], z)
    assert torch.equal(found[-1][1], modules[below:](z))


@pytest.mark.parametrize("layer", [1, 2, 3, 4])
def test_prefix_layer_and_suffix_make_the_net(network, x, layer):
    z = network.layer(layer, network.prefix(layer, x))
    assert torch.equal(list(network.suffix(layer, z))[-1][1], network.logits(x))


def test_initial_weights_are_he_normal_within_the_sampling_error():
    """n draws of N(0, v) have a sample variance of v with relative deviation sqrt(2 / n)."""
    net = initialise(make_net(width=40, entries=(1, "pool", 2), image=(2, 6, 6)))
    for layer, fan_in in ((1, 2 * 9), (2, 40 * 9), (3, 80 * 3 * 3)):
        weight = net.parameters[f"layers.{layer}.weight"].double()
        n = weight.numel()
        assert weight.square().mean().item() == pytest.approx(2 / fan_in, rel=5 * (2 / n) ** 0.5)
        assert abs(weight.mean().item()) < 5 * (2 / fan_in / n) ** 0.5
        kurtosis = weight.pow(4).mean() / weight.square().mean() ** 2
        assert kurtosis.item() == pytest.approx(3.0, abs=5 * (96 / n) ** 0.5)
        assert not net.parameters[f"layers.{layer}.bias"].any()


def test_nets_of_other_seeds_widths_and_layers_are_independent_draws():
    def draws(width, seed, layer):
        weight = initialise(make_net(width=width, seed=seed, entries=(1, 1, 1))).parameters
        return weight[f"layers.{layer}.weight"].flatten()

    streams = [draws(12, 0, 2), draws(12, 1, 2), draws(16, 0, 2), draws(16, 1, 2), draws(12, 0, 3)]
    n = min(len(values) for values in streams)
    table = torch.corrcoef(torch.stack([values[:n] for values in streams]))
    assert (table - torch.eye(len(streams))).abs().max().item() < 5 / n**0.5
    assert not set(draws(12, 0, 2).tolist()) & set(draws(16, 0, 2).tolist())


def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before():
    first = initialise(make_net(seed=3))
    torch.manual_seed(123)
    torch.randn(10)
    again = initialise(make_net(seed=3))
    assert all(torch.equal(first.parameters[name], again.parameters[name]) for name in first.parameters)


def test_permuted_channels_are_the_old_ones_in_another_order(network):
    permuted = permute_channels(network, 7)
    for layer in (1, 2, 3):
        before, after = (
            sorted(net.parameters[f"layers.{layer}.bias"].tolist()) for net in (network, permuted)
        )
        assert before == after
    assert torch.equal(permuted.parameters["layers.4.bias"], network.parameters["layers.4.bias"])
    again = permute_channels(network, 7)
    assert all(torch.equal(permuted.parameters[name], again.parameters[name]) for name in again.parameters)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("shape", [(2, 3, 6, 6), (1, 2, 7, 5), (2, 1, 3, 8)])
def test_pooling_is_pytorchs_with_and_without_gradients(shape, size):
    h = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = F.max_pool2d(h, size)
    assert torch.equal(max_pool(h, size), expected)
    assert torch.equal(max_pool(h.requires_grad_(), size), expected)
