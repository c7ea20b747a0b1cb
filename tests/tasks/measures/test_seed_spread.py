"""Spread over seeds: unbiased on draws of known moments, 0 for nets that are alike; it falls as 1 / width."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from espalier.tasks.measures.seed_spread import Outputs, SeedSpread, feature_kernel, sizes
from espalier.tasks.networks.network import initialise
from tests.tasks.conftest import make_net

NETS, WIDE, IMAGES, CLASSES = 5, 3, 7, 4


def spread_of(values):
    found = SeedSpread()
    for value in values:
        found.add(value)
    return found


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def mean_and_error(values):
    values = np.array(values)
    return values.mean(0), values.std(0, ddof=1) / len(values) ** 0.5


def test_variance_square_and_distance_are_unbiased_on_gaussians_of_known_moments():
    """1,000 draws of 3 nets with variance 4 about a, and 2 with variance 1 about b: 4 standard errors."""
    a, b = normal(6, seed=1), normal(6, seed=2)
    ours, theirs = 2 * normal(1000, 3, 6, seed=3) + a, normal(1000, 2, 6, seed=4) + b
    found = []
    for one, other in zip(ours, theirs, strict=True):
        here, there = spread_of(one), spread_of(other)
        found.append((here.variance, here.square, here.squared_distance(there), there.square))
    wanted = [4.0, a.square().mean(), (a - b).square().mean(), b.square().mean()]
    mean, error = mean_and_error(found)
    assert (np.abs(mean - np.array(wanted)) < 4 * error).all()
    plain = (ours.mean(1) - theirs.mean(1)).square().mean()  # what is not corrected is far off
    assert abs(plain - wanted[2]) > 20 * error[2]


def test_a_distance_of_equal_expectations_is_0_on_average_and_may_be_negative():
    draws = [spread_of(one[:3]).squared_distance(spread_of(one[3:])) for one in normal(1000, 5, 3, seed=5)]
    mean, error = mean_and_error(draws)
    assert abs(mean) < 4 * error
    assert min(draws) < 0


def test_kernels_of_gaussian_features_have_the_variance_of_a_wishart_matrix():
    """K = X X' / C with C unit Gaussians: Var K_ij = (1 + [i = j]) / C, E K = 1."""
    channels, images = 8, 5
    draws = []
    for seed in range(300):
        spread = spread_of(feature_kernel(normal(images, channels, seed=10 * seed + net)) for net in range(4))
        draws.append((spread.variance, spread.square))
    mean, error = mean_and_error(draws)
    wanted = np.array([(images + 1) / images / channels, 1 / images])
    assert (np.abs(mean - wanted) < 4 * error).all()


def test_nets_that_are_alike_have_no_variance_no_bias_and_one_loss():
    net, y = normal(IMAGES, CLASSES), torch.arange(IMAGES) % CLASSES
    here, there = Outputs([net] * NETS, "cross_entropy"), Outputs([net] * WIDE, "cross_entropy")
    assert here.spread.variance == there.spread.variance == 0
    assert here.spread.squared_distance(there.spread) == 0
    single = float(torch.nn.functional.cross_entropy(net, y))
    for found in here.scores(y, there):
        assert found.loss == pytest.approx(single, rel=1e-12)
        assert found.probability_loss == pytest.approx(single, rel=1e-12)
        assert found.output_distance == pytest.approx(0, abs=1e-28)
        assert found.accuracy == found.probability_accuracy == float((net.argmax(1) == y).double().mean())


def test_one_net_has_no_variance():
    one = spread_of([normal(3)])
    undefined = (
        one.variance,
        one.square,
        one.relative_variance(),
        one.squared_distance(spread_of(normal(2, 3))),
    )
    assert all(map(math.isnan, undefined))


def test_sizes_are_powers_of_two_and_all():
    assert [sizes(nets) for nets in (1, 2, 3, 4, 9)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4], [1, 2, 4, 8, 9]]


def softmax(values):
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def test_scores_are_those_of_a_loop_in_numpy():
    raw, wide = normal(NETS, IMAGES, CLASSES, seed=1), normal(WIDE, IMAGES, CLASSES, seed=2)
    y = torch.arange(IMAGES) % CLASSES
    found = Outputs([*raw], "cross_entropy").scores(y, Outputs([*wide], "cross_entropy"))
    raw, wide, y = raw.numpy(), wide.numpy(), y.numpy()
    for scores in found:
        by_group = []
        for group in range(NETS // scores.size):
            nets = raw[group * scores.size : (group + 1) * scores.size]
            mean, mixed = nets.mean(0), softmax(nets).mean(0)
            row = [-np.log(softmax(mean)[range(IMAGES), y]).mean(), (mean.argmax(1) == y).mean()]
            row += [-np.log(mixed[range(IMAGES), y]).mean(), (mixed.argmax(1) == y).mean()]
            for values, there in ((mean, wide), (mixed, softmax(wide))):
                sampling = there.var(0, ddof=1).mean() / WIDE
                row.append(((values - there.mean(0)) ** 2).mean() - sampling)
            by_group.append(row)
        assert scores.groups == len(by_group)
        np.testing.assert_allclose(scores[2:], np.mean(by_group, 0), rtol=1e-10)


def test_a_regression_has_its_squared_error_and_nothing_of_probabilities():
    raw, goals = normal(4, IMAGES, 1, seed=1).float(), normal(IMAGES, 1, seed=2).float()
    outputs = Outputs([*raw], "mse")
    one, two, four = outputs.scores(goals, outputs)
    assert four.loss == pytest.approx(float((raw.mean(0) - goals).square().mean()), rel=1e-6)
    assert one.loss > two.loss > four.loss  # the variance that averaging takes away
    assert outputs.probabilities is None
    assert all(map(math.isnan, (one.accuracy, one.probability_loss, one.probability_distance)))


def test_the_distance_of_k_nets_is_the_bias_and_a_kth_of_the_variance():
    """Over 400 draws of 4 nets of variance 1 at distance 2 from the reference: 4 + 1 / k."""
    y = torch.zeros(IMAGES, 1)
    draws = []
    for seed in range(400):
        here = Outputs([*(normal(4, IMAGES, 1, seed=seed) + 2)], "mse")
        wide = Outputs([*normal(3, IMAGES, 1, seed=seed + 5000)], "mse")
        draws.append([found.output_distance for found in here.scores(y, wide)])
    mean, error = mean_and_error(draws)
    assert (np.abs(mean - (4 + 1 / np.array([1, 2, 4]))) < 4 * error).all()


def test_kernels_of_random_relu_nets_vary_over_seeds_as_one_over_the_width():
    """Layers 1 and 2 at initialisation, widths 8 to 128, 120 seeds: exponents within 0.15 of -1."""
    widths, x = [8, 16, 32, 64, 128], normal(12, 2, 3, 3).float()
    variances = []
    for width in widths:
        spreads = SeedSpread(), SeedSpread()
        for seed in range(120):
            network = initialise(make_net(seed=seed, width=width, entries=(1, 1), image=(2, 3, 3)))
            for layer, spread in enumerate(spreads, start=1):
                spread.add(feature_kernel(network.prefix(layer + 1, x)))
        variances.append([spread.relative_variance() for spread in spreads])
    slopes = np.polyfit(np.log(widths), np.log(variances), 1)[0]
    assert (np.abs(slopes + 1) < 0.15).all()


@pytest.mark.parametrize(("parametrization", "slope"), [("sp", 0), ("mean_field", -1)])
def test_outputs_of_initial_nets_vary_at_every_width_in_sp_and_as_one_over_the_width_in_mean_field(
    parametrization, slope
):
    """Widths 8 to 128, 60 seeds: exponents within 0.15."""
    widths, x = [8, 32, 128], normal(12, 2, 3, 3).float()
    variances = []
    for width in widths:
        nets = (make_net(seed=seed, width=width, entries=(1, 1), image=(2, 3, 3)) for seed in range(60))
        made = (dataclasses.replace(net, parametrization=parametrization) for net in nets)
        variances.append(spread_of(initialise(net).logits(x) for net in made).variance)
    assert abs(np.polyfit(np.log(widths), np.log(variances), 1)[0] - slope) < 0.15
