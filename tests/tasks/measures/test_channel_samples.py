"""Channels as two samples: statistics against direct definitions and closed forms, and their p-values."""

from itertools import product
from math import gamma, sqrt

import numpy as np
import pytest
import torch
from scipy.special import hyp1f1
from scipy.stats import energy_distance, kstest, wasserstein_distance

from espalier.tasks.measures.calibration import calibrate
from espalier.tasks.measures.channel_samples import BANDWIDTHS, Statistic, deals, input_kernel
from espalier.tasks.measures.compare_layers import compare
from espalier.tasks.measures.layer_matrices import LayerMatrices
from espalier.tasks.measures.sliced_distance import projections, sliced
from espalier.tasks.networks.network import initialise
from tests.tasks.conftest import make_data, make_net
from tests.tasks.measures.planted_nets import layer_of, noise, turned
from tests.tasks.measures.test_image_orders import spread


def points(net):
    """Channels as points (C, M), distances as root mean squares over rows."""
    rows = net.float().double().permute(1, 0, 2, 3).flatten(1).numpy()
    return rows / sqrt(rows.shape[1])


def away(x, y):
    return np.sqrt(np.square(x[:, None] - y[None]).sum(-1))


def mean_apart(matrix):
    return matrix[~np.eye(len(matrix), dtype=bool)].mean()


def energy_by_definition(x, y):
    return 2 * away(x, y).mean() - mean_apart(away(x, x)) - mean_apart(away(y, y))


def mmd_by_definition(x, y):
    both = np.concatenate([x, y])
    median = np.median(away(both, both)[np.triu_indices(len(both), 1)])
    total = 0.0
    for times in BANDWIDTHS:
        k = [np.exp(-(away(a, b) ** 2) / (2 * (times * median) ** 2)) for a, b in ((x, x), (y, y), (x, y))]
        total += mean_apart(k[0]) + mean_apart(k[1]) - 2 * k[2].mean()
    return total


@pytest.mark.parametrize(
    ("name", "definition"), [("energy", energy_by_definition), ("mmd", mmd_by_definition)]
)
@pytest.mark.parametrize("unequal", [0, 3])
def test_values_and_those_of_random_labels_are_those_of_the_definitions(name, definition, unequal):
    x, y = noise(5, 4, 2, 3, seed=1), 1.5 * noise(5, 4 + unequal, 2, 3, seed=2) + 1
    found = compare(layer_of(x, y, permutations=9), [name])[name]
    both = np.concatenate([points(x), points(y)])
    both /= sqrt(np.square(both).sum(1).mean())
    labels = deals(4, 4 + unequal, 9)
    assert labels[0].tolist() == [True] * 4 + [False] * (4 + unequal)
    assert (labels.sum(1) == 4).all()
    assert found.value_SS[0, 1].item() == pytest.approx(definition(both[:4], both[4:]), abs=1e-9)
    for k in (0, 8):
        first = labels[1 + k].numpy()
        assert found.nulls[0, 1][k].item() == pytest.approx(definition(both[first], both[~first]), abs=1e-9)


def test_scale_and_what_rotates_function_space_changes_nothing():
    x, y = noise(6, 4, 1, 1, seed=1), noise(6, 5, 1, 1, seed=2) + 1
    turn = turned(6)
    other = [10 * torch.einsum("nchw,nm->mchw", net, turn) for net in (x, y)]
    for name in ("energy", "mmd"):
        one, again = (compare(layer_of(*nets), [name])[name].value_SS[0, 1] for nets in ((x, y), other))
        assert one.item() == pytest.approx(again.item(), abs=1e-6)


def test_the_order_of_channels_changes_nothing():
    x, y = noise(9, 6, 2, 2, seed=1), noise(9, 6, 2, 2, seed=2) + 0.3
    layer = layer_of(x, y, x[:, [3, 1, 5, 0, 2, 4]])
    for name, found in compare(layer, ["energy", "mmd", "sliced_w2", "mmd_inputs"]).items():
        value = found.value_SS
        assert value[0, 1].item() == pytest.approx(value[1, 2].item(), abs=1e-6), name
        assert value[0, 2].item() == pytest.approx(value[0, 0].item(), abs=1e-6), name


def test_one_dimensional_samples_have_the_energy_distance_of_scipy():
    x, y = noise(7, seed=1).numpy(), noise(9, seed=2).numpy() + 1
    both = np.concatenate([x, y])
    statistic = Statistic(torch.from_numpy(np.abs(both[:, None] - both)), without_self=False)
    assert statistic.values(deals(7, 9, 0)).sqrt().item() == pytest.approx(energy_distance(x, y))


def expected_distance(dimensions, shift):
    """E |x - y| of normal x and y whose means are apart: sqrt(2) times a noncentral chi's mean."""
    half = dimensions / 2
    return 2 * gamma(half + 0.5) / gamma(half) * hyp1f1(-0.5, half, -(shift**2) / 4)


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_shifted_gaussians_have_the_energy_distance_and_mmd_of_the_closed_forms(shift):
    d, c, width = 6, 60, 2.0
    wanted_energy = 2 * (expected_distance(d, shift) - expected_distance(d, 0))
    spread_k = (width**2 / (width**2 + 2)) ** (d / 2)
    wanted_mmd = 2 * spread_k * (1 - np.exp(-(shift**2) / (2 * (width**2 + 2))))
    found = []
    for seed in range(60):
        both = noise(2 * c, d, seed=seed)
        both[c:, 0] += shift
        distance = torch.cdist(both, both).fill_diagonal_(0)
        kernel = torch.exp(-distance.square() / (2 * width**2)).fill_diagonal_(0)
        labels = deals(c, c, 0)
        found.append([Statistic(m, True).values(labels).item() for m in (distance, -kernel)])
    mean, error = np.mean(found, 0), np.std(found, 0) / sqrt(len(found))
    assert np.abs(mean - [wanted_energy, wanted_mmd]).max() < 0.02
    assert (np.abs(mean - [wanted_energy, wanted_mmd]) < 4 * error).all()


@pytest.mark.parametrize("kind", ["energy", "mmd"])
def test_p_values_are_uniform_for_draws_of_one_distribution(kind):
    c, permutations, found = 6, 19, []
    labels = deals(c, c, permutations)
    for both in noise(1000, 2 * c, 3, seed=4).exp():
        distance = torch.cdist(both, both).fill_diagonal_(0)
        matrix = distance if kind == "energy" else -torch.exp(-distance.square() / 2).fill_diagonal_(0)
        values = Statistic(matrix, True).values(labels)
        found.append(calibrate(values[0], values[1:], 1.0).p_value.item())
    assert kstest(spread(found, permutations), "uniform").pvalue > 0.01


def test_a_planted_difference_is_found_and_none_is_not():
    draws = [noise(10, 24, 2, 2, seed=seed) for seed in range(3)]
    draws[2] = draws[2] + 0.6
    for name, found in compare(
        layer_of(*draws, permutations=99), ["energy", "mmd", "sliced_w2", "mmd_inputs"]
    ).items():
        columns = found.calibrated()
        assert columns.p_value[0, 2].item() == pytest.approx(0.01), name
        assert columns.calibrated[0, 2] > 0, name
        assert columns.p_value[0, 1] > 0.02, name
        assert found.null == "labels"


@pytest.mark.parametrize("counts", [(5, 5), (4, 6), (3, 7)])
def test_sliced_w2_is_the_mean_over_directions_of_one_dimensional_ones(counts):
    projected, first = noise(sum(counts), 9, seed=3), deals(*counts, 4)
    found = sliced(projected, first)
    for labels, value in zip(first, found, strict=True):
        squares = []
        for line in projected.T:
            a, b = np.sort(line[labels].numpy()), np.sort(line[~labels].numpy())
            grid = (np.arange(420) + 0.5) / 420  # 420 is a multiple of all the counts
            at = [sample[(grid * len(sample)).astype(int)] for sample in (a, b)]
            squares.append(np.square(at[0] - at[1]).mean())
            assert np.abs(at[0] - at[1]).mean() == pytest.approx(wasserstein_distance(a, b))
        assert value.item() == pytest.approx(sqrt(np.mean(squares)))


def test_projections_have_the_channels_mean_squares_as_variances():
    x, y = 2 * noise(8, 3, 2, 2, seed=1), noise(8, 4, 2, 2, seed=2)
    pair = layer_of(x, y).gram.pair(0, 1)
    projected = projections(pair)
    squares = torch.cat([net.square().mean((0, 2, 3)) for net in (x, y)]) / pair.scale**2
    assert torch.allclose(projected.square().mean(1), squares, rtol=0.35)
    again = projections(layer_of(x[:, [2, 0, 1]], y).gram.pair(0, 1))
    assert torch.allclose(again[[1, 2, 0]], projected[:3], atol=1e-6)


def test_mmd_inputs_is_the_mean_of_one_dimensional_ones_at_each_input():
    values = noise(40, 7, seed=6)
    found = Statistic(-input_kernel(values), False).values(deals(3, 4, 0)).item()
    wanted = []
    for row, width in product(values.numpy(), (0.1, 0.5, 1.0, 5.0)):
        k = np.exp(-((row[:, None] - row) ** 2) / (2 * width**2))
        wanted.append(k[:3, :3].mean() + k[3:, 3:].mean() - 2 * k[:3, 3:].mean())
    assert found == pytest.approx(np.mean(wanted), abs=1e-6)


def test_channels_of_untrained_nets_are_draws_of_one_distribution_and_share_the_images():
    x = make_data(train=4, test=40).x_test
    nets = [initialise(make_net(seed=seed, width=4)) for seed in range(120)]
    pairs = [(net, net + 1) for net in range(0, 120, 2)]
    layer = LayerMatrices([4] * 120, 19, "float64", pairs)
    layer.add([list(net.features(x))[1].h_in for net in nets])  # h of layer 1 is what layer 2 reads
    found = {name: one.calibrated().p_value for name, one in compare(layer, ["energy", "cka"]).items()}
    p_values = {name: [column[pair].item() for pair in pairs] for name, column in found.items()}
    assert kstest(spread(p_values["energy"], 19), "uniform").pvalue > 0.01
    assert max(p_values["cka"]) == pytest.approx(0.05)
