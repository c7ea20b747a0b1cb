"""Matchings of channels against planted permutations, brute force, and their own objective."""

from dataclasses import replace
from itertools import permutations

import pytest
import torch

from espalier.tasks.mixing.activation_matching import correlations, match_activations, mean_correlation
from espalier.tasks.mixing.matching_cycles import cycle_share
from espalier.tasks.mixing.repair import output_scales, repaired
from espalier.tasks.mixing.weight_matching import best_order, match_weights
from espalier.tasks.networks.architectures import is_trained
from espalier.tasks.networks.families.dense import dense
from espalier.tasks.networks.families.resnet import resnet
from espalier.tasks.networks.families.vgg import vgg
from espalier.tasks.networks.network import Network, free_streams, permute_channels, reordered
from espalier.tasks.seeds import stream
from espalier.tasks.spec import Architecture, Layer, Shortcut
from tests.tasks.conftest import make_net
from tests.tasks.families import ARCHITECTURES, CLASSES, family_net, lively

WIDER = {
    "conv-bn": ARCHITECTURES["conv-bn"],
    "vgg16-bn": vgg("vgg16", 2, (2, 32, 32), CLASSES, batch_norm=True),
    "resnet20": resnet("resnet20", 8, (2, 8, 8), CLASSES),
    "dense": dense([2, 1, 1], 8, (2, 3, 2), CLASSES),
}
"""Nets in which no channel is the copy of another, as some of width 1 or 2 are."""


def pair_of(architecture):
    """A net and the same with its channels permuted."""
    net = lively(replace(make_net(seed=3), architecture=architecture))
    return net, permute_channels(net, 11)


def images_of(network, count=60):
    return torch.randn(count, *network.architecture.input, generator=stream("matching images"))


def is_same(one, other):
    return all(torch.equal(value, other.parameters[name]) for name, value in one.parameters.items())


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "dense"])
def test_weights_bring_a_permuted_net_back_whatever_its_family(name):
    net, moved = pair_of(ARCHITECTURES[name])
    found = match_weights(net, moved, "names")
    assert found.settled
    assert not is_same(net, moved)
    assert is_same(net, reordered(moved, found.orders))


@pytest.mark.parametrize("name", WIDER)
@torch.no_grad()
def test_activations_bring_a_permuted_net_back(name):
    net, _ = pair_of(WIDER[name])
    x = images_of(net)
    net = repaired(net, output_scales(net, x), x)  # with statistics of BN of its own no channel is dead
    moved = permute_channels(net, 11)
    found, itself = correlations([net, moved], [(0, 1), (0, 0)], x).values()
    orders = match_activations(found)
    own = {number: torch.arange(len(order)) for number, order in orders.items()}
    best = mean_correlation(net.architecture, itself, own)
    assert mean_correlation(net.architecture, found, orders) == pytest.approx(best, abs=1e-9)
    if name == "vgg16-bn":  # of dead channels in its dense layers no activation tells one from the other
        assert 0.5 < best < 1.0
    else:
        assert best == pytest.approx(1.0, abs=1e-9)
        assert is_same(net, reordered(moved, orders))


def test_a_narrow_net_is_brought_back_by_several_descents():
    net, moved = pair_of(WIDER["dense"])
    assert is_same(net, reordered(moved, match_weights(net, moved).orders))


def test_a_map_from_a_stream_to_itself_moves_on_both_sides_and_never_makes_it_worse():
    """Of a block of one layer the order of a stream is no linear assignment: a step is taken if it helps."""
    block = Layer("conv", 6, 3, 1, shortcut=Shortcut(1))
    last = Layer("dense", CLASSES, activation="none")
    architecture = Architecture((2, 6, 6), (Layer("conv", 6, 3, 1), block, block_after(block), last))
    net, moved = pair_of(architecture)
    assert set(free_streams(architecture)) == {1}
    assert is_same(net, reordered(moved, match_weights(net, moved).orders))
    other = lively(replace(make_net(seed=5), architecture=architecture))
    found = match_weights(net, other)
    assert found.settled
    assert found.agreement == pytest.approx(agreement(net, reordered(other, found.orders)))
    assert found.agreement >= agreement(net, other)


def block_after(block):
    return replace(block, shortcut=Shortcut(2))


def agreement(one, other):
    return sum(
        (value.double() * other.parameters[name].double()).sum().item()
        for name, value in one.parameters.items()
        if is_trained(name)
    )


@pytest.mark.parametrize("name", ["conv-bn", "resnet20", "dense"])
def test_matching_two_draws_is_never_worse_than_leaving_them(name):
    one, other = (lively(family_net(name, seed)) for seed in (0, 1))
    found = match_weights(one, other, 0)
    assert found.agreement == pytest.approx(agreement(one, reordered(other, found.orders)))
    assert found.agreement > agreement(one, other)
    assert match_weights(one, one, 0).agreement == pytest.approx(agreement(one, one))
    assert match_weights(one, other, 0).agreement == found.agreement  # the same names, the same ways


def test_a_net_of_one_hidden_layer_is_matched_as_by_brute_force():
    nets = [
        lively(replace(make_net(seed=seed), architecture=dense([1], 4, (2, 3, 2), CLASSES)))
        for seed in (0, 1)
    ]
    every = [
        agreement(nets[0], reordered(nets[1], {1: torch.tensor(order)})) for order in permutations(range(4))
    ]
    assert match_weights(*nets).agreement == pytest.approx(max(every))


def test_two_hidden_layers_end_where_no_single_order_is_better():
    one, other = (
        lively(replace(make_net(seed=seed), architecture=dense([1, 1], 4, (2, 3, 2), CLASSES)))
        for seed in (0, 1)
    )
    found = match_weights(one, other)
    for number in found.orders:
        for order in permutations(range(4)):
            moved = reordered(other, found.orders | {number: torch.tensor(order)})
            assert agreement(one, moved) <= found.agreement + 1e-9


@pytest.mark.parametrize("size", [1, 3, 4])
def test_an_assignment_is_the_best_of_all_permutations(size):
    gain = torch.randn(size, size, generator=stream("gain", size), dtype=torch.float64)
    every = [
        sum(gain[place, channel] for place, channel in enumerate(order))
        for order in permutations(range(size))
    ]
    assert gain[torch.arange(size), best_order(gain)].sum() == pytest.approx(max(every).item())


def test_correlations_are_those_of_numpy_and_a_constant_channel_has_none():
    one, other = (lively(replace(make_net(seed=seed), architecture=WIDER["conv-bn"])) for seed in (0, 1))
    dead = torch.full_like(one.parameters["layers.1.bn.bias"], 0.3)
    flat = {"layers.1.bn.weight": one.parameters["layers.1.bn.weight"].clone(), "layers.1.bn.bias": dead}
    flat["layers.1.bn.weight"][0] = 0.0
    one = Network(one.architecture, {**one.parameters, **flat})
    x = images_of(one, 2000)  # more than a batch
    with torch.no_grad():
        (found,) = correlations([one, other], [(0, 1)], x).values()
        features = [net.prefix(2, x).transpose(0, 1).flatten(1) for net in (one, other)]
    assert found[1][0].tolist() == [0.0, 0.0, 0.0]
    wanted = torch.corrcoef(torch.cat(features).double())[1:3, 3:]
    assert torch.allclose(found[1][1:], wanted, atol=1e-7)


def test_layers_of_one_residual_stream_share_their_order_and_sum_their_correlations():
    one, other = (lively(family_net("resnet20", seed)) for seed in (0, 1))
    with torch.no_grad():
        (found,) = correlations([one, other], [(0, 1)], images_of(one, 20)).values()
        (itself,) = correlations([one, one], [(0, 1)], images_of(one, 20)).values()
    assert set(found) == set(free_streams(one.architecture)) == set(match_weights(one, other).orders)
    assert itself[1].diagonal().max() == pytest.approx(4.0)  # the first conv and three blocks
    assert itself[2].diagonal().max() == pytest.approx(1.0)


def test_three_copies_of_a_net_agree_all_round_and_random_orders_by_chance():
    net, moved = pair_of(WIDER["dense"])
    third = permute_channels(net, 12)
    nets = [net, moved, third]
    round_trip = [match_weights(nets[a], nets[b]).orders for a, b in ((0, 1), (1, 2), (2, 0))]
    share, chance = cycle_share(*round_trip)
    assert share == 1.0
    assert chance == pytest.approx((1 / 16 + 1 / 8 + 1 / 8) / 3)
    drawn = [
        cycle_share(*({1: torch.randperm(6, generator=stream("cycle", n, k))} for k in range(3)))[0]
        for n in range(2000)
    ]
    assert sum(drawn) / len(drawn) == pytest.approx(1 / 6, abs=0.012)  # 3 standard errors
