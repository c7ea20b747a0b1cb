"""Measures of images against direct definitions over samples."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import kstest, spearmanr

from espalier.tasks.measures.compare_layers import compare
from espalier.tasks.measures.debiased_hsic import hsic_of_centred, u_centred
from espalier.tasks.measures.sample_kernels import own_hsic, sample_kernel
from tests.tasks.measures.planted_nets import layer_of, mixed, noise, turned
from tests.tasks.measures.test_debiased_hsic import by_definition
from tests.tasks.measures.test_image_orders import spread


def nets():
    x = noise(8, 3, 2, 2, seed=1)
    return x, 0.5 * x[:, [2, 0, 1]] + noise(8, 3, 2, 2, seed=2), noise(8, 5, 2, 2, seed=3)


def cka_by_definition(features):
    kernels = [(x @ x.T).numpy() for x in features]
    hsic = [by_definition(*(kernels[i] for i in pair)) for pair in ((0, 1), (0, 0), (1, 1))]
    return hsic[0] / np.sqrt(hsic[1] * hsic[2])


def test_cka_and_rsa_are_those_of_flattened_maps_and_their_nulls_those_of_permuted_images():
    x, y, z = (net.float().double() for net in nets())
    layer = layer_of(x, y, z, permutations=9)
    found = compare(layer, ["cka", "rsa"])
    orders = layer.orders.orders_nN()
    for (s, t), pair in {(0, 1): (x, y), (0, 2): (x, z), (1, 2): (y, z)}.items():
        first, second = (net.flatten(1) for net in pair)
        assert found["cka"].value_SS[s, t].item() == pytest.approx(
            cka_by_definition([first, second]), abs=1e-9
        )
        wanted = spearmanr(pdist(first.numpy()), pdist(second.numpy())).statistic
        assert found["rsa"].value_SS[s, t].item() == pytest.approx(wanted, abs=1e-9)
        for k in (0, 8):
            permuted = second[orders[k]]
            wanted = cka_by_definition([first, permuted])
            assert found["cka"].nulls[s, t][k].item() == pytest.approx(wanted, abs=1e-5)
            wanted = spearmanr(pdist(first.numpy()), pdist(permuted.numpy())).statistic
            assert found["rsa"].nulls[s, t][k].item() == pytest.approx(wanted, abs=1e-5)


def test_cka_channels_averages_over_draws_of_one_position_an_image():
    x, y, _ = (net.float().double() for net in nets())
    layer = layer_of(x, y, permutations=5)
    assert len(layer.draws) == 8
    hsics = np.zeros(3)
    null = np.zeros(3)
    order = layer.drawn_orders.orders_nN()[3]
    for draw_N in layer.draws:
        assert torch.equal(draw_N[order], draw_N)
        rows = [net.flatten(2)[torch.arange(8), :, draw_N] for net in (x, y)]
        kernels = [(r @ r.T).numpy() for r in rows]
        hsics += [by_definition(*(kernels[i] for i in pair)) for pair in ((0, 1), (0, 0), (1, 1))]
        null += [by_definition(kernels[0], kernels[1][order][:, order]), 0, 0]
    found = compare(layer, ["cka_channels"])["cka_channels"]
    own = np.sqrt(hsics[1] * hsics[2])
    assert found.value_SS[0, 1].item() == pytest.approx(hsics[0] / own, abs=1e-9)
    assert found.nulls[0, 1][3].item() == pytest.approx(null[0] / own, abs=1e-5)


@pytest.mark.parametrize("name", ["cka", "rsa", "cka_channels"])
def test_rotations_shifts_and_scales_of_the_channels_change_nothing(name):
    x, _, z = nets()
    layer = layer_of(x, 3 * mixed(x, turned(3)) + 2, z, 3 * mixed(z, turned(5)) + 2)
    value = compare(layer, [name])[name].value_SS
    assert value[0, 1].item() == pytest.approx(1, abs=1e-6)
    assert value[0, 2].item() == pytest.approx(value[1, 3].item(), abs=1e-6)
    assert value.diagonal().tolist() == pytest.approx([1] * 4, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-16, 1e-12, 1e10])
@pytest.mark.parametrize("channels", [3, 32])  # products in float64 and in float32
def test_the_size_of_features_changes_no_null(channels, scale):
    shared = [mixed(noise(16, 3, 2, 2, seed=seed), noise(3, channels, seed=seed + 2)) for seed in (1, 2)]
    nets = shared[0], shared[0] / 8 + shared[1]
    names = ["cka", "cka_channels", "rsa", "procrustes", "match", "semi_match"]
    sized = [compare(layer_of(*(s * net for net in nets), products="float32"), names) for s in (1, scale)]
    for name in names:
        plain, scaled = (found[name].calibrated() for found in sized)
        assert scaled.p_value[0, 1] == plain.p_value[0, 1], name
        wanted = plain.calibrated[0, 1].item()
        assert scaled.calibrated[0, 1].item() == pytest.approx(wanted, abs=1e-4), name
    for name in ("cka", "cka_channels"):
        plain, scaled = (found[name].extra["corrected"][0, 1].item() for found in sized)
        assert scaled == pytest.approx(plain, rel=1e-4), name


def test_positions_are_drawn_for_groups_of_images_that_are_permuted_among_themselves():
    layer = layer_of(noise(70, 2, 3, 3), noise(70, 2, 3, 3, seed=1), permutations=30)
    orders = layer.drawn_orders
    assert (orders.images, orders.groups) == (68, 4)
    assert len(torch.stack(layer.draws).unique()) > 5
    for draw_M in layer.draws:
        assert (draw_M[orders.orders_nN()] == draw_M).all()


def test_many_images_lie_in_so_few_groups_that_one_round_has_all_permutations():
    for images, groups in ((50, 3), (80, 4), (100, 5), (200, 8)):
        orders = layer_of(noise(images, 1, 2, 2), permutations=19, batch=images).drawn_orders
        assert orders.groups == groups
        assert (len(orders.rounds) == 1) is (images >= 80)


def test_cka_channels_has_uniform_p_values_where_positions_alone_are_shared():
    position = 3 * noise(1, 4, 2, 2, seed=99)  # the same mean map in all nets: the images still share nothing
    found = []
    for seed in range(8):
        nets = noise(50, 32, 4, 2, 2, seed=seed) + position
        one = compare(layer_of(*nets, batch=32, permutations=15), ["cka_channels"])["cka_channels"]
        p_value = one.calibrated().p_value
        found += [p_value[net, net + 1].item() for net in range(0, 50, 2)]
    assert kstest(spread(found, 15), "uniform").pvalue > 0.01


def test_one_draw_is_enough_of_a_layer_without_positions():
    assert len(layer_of(noise(6, 3), noise(6, 4)).draws) == 1


@pytest.mark.parametrize(("name", "positions"), [("cka", 2), ("cka", 9), ("cka_channels", 2)])
def test_nets_of_few_channels_from_one_population_fall_short_of_it_and_the_correction_ends_that(
    name, positions
):
    functions = noise(60, 12, positions, 1, seed=5)  # what all channels are random mixtures of
    draws = [mixed(functions, noise(12, 24, seed=seed)) for seed in range(16)]
    found = compare(layer_of(*draws, batch=60, permutations=1), [name])[name]
    upper = torch.ones(16, 16).triu(1).bool()
    assert found.value_SS[upper].mean() < 0.75
    assert found.extra["corrected"][upper].mean().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("positions", [3, 12])
def test_kernels_of_channels_add_up_to_the_nets_and_have_their_own_hsic(positions):
    rows = noise(9, positions, 4)
    kernel, own = sample_kernel(rows, torch.float64), own_hsic(rows, torch.float64)
    flat = (rows - rows.mean(0)).flatten(1)
    assert torch.allclose(kernel, flat @ flat.T)
    single = [rows[:, :, channel] @ rows[:, :, channel].T for channel in range(4)]
    assert own.item() == pytest.approx(sum(hsic_of_centred([u_centred(k)])[0, 0].item() for k in single))
