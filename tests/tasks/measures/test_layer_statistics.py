"""Statistics of channels and of their spectrum, against planted ones."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kurtosis

from espalier.tasks.measures.layer_statistics import layer_statistics
from tests.tasks.measures.planted_nets import layer_of, noise, turned


def test_channels_have_the_moments_of_scipy():
    h = (noise(30, 4, 3, 2, seed=1).exp() + torch.arange(4)[:, None, None]).float()
    found = layer_statistics(layer_of(h), 0)
    rows = h.double().permute(1, 0, 2, 3).flatten(1).numpy()
    assert np.allclose(found.mean_C, rows.mean(1))
    assert np.allclose(found.variance_C, rows.var(1))
    assert np.allclose(found.kurtosis_C, kurtosis(rows, axis=1, fisher=False))


def test_a_gaussian_has_kurtosis_three_and_a_sign_one():
    h = torch.cat([noise(40_000, 1), noise(40_000, 1).sign()], 1)
    found = layer_statistics(layer_of(h, batch=40_000), 0)
    assert found.kurtosis_C.tolist() == pytest.approx([3, 1], abs=0.1)


@pytest.mark.parametrize("decay", [1.0, 2.0])
def test_a_planted_spectrum_has_its_decay_ratio_and_rank(decay):
    channels = 40
    values = torch.arange(1, channels + 1).double() ** -decay
    whitened = torch.linalg.qr(noise(400, channels, seed=2) - noise(400, channels, seed=2).mean(0)).Q
    h = whitened * values.sqrt() * 20 @ turned(channels).T
    found = layer_statistics(layer_of(h, batch=400), 0)
    assert (found.decay_first, found.decay_last) == (4, 20)
    assert found.decay == pytest.approx(decay, abs=1e-4)
    share = values / values.sum()
    assert found.participation_ratio == pytest.approx(1 / share.square().sum().item(), rel=1e-5)
    assert found.effective_rank == pytest.approx(math.exp(-(share * share.log()).sum().item()), rel=1e-4)


def test_equal_channels_fill_all_dimensions():
    h = torch.linalg.qr(noise(50, 8) - noise(50, 8).mean(0)).Q
    found = layer_statistics(layer_of(h), 0)
    assert (found.participation_ratio, found.effective_rank) == pytest.approx((8, 8))
    assert math.isnan(found.decay)  # ranks 4 to 4 are too few
    assert found.dead_share == 0


def test_dead_channels_are_counted_and_a_constant_layer_has_no_dimension():
    h = noise(20, 4, 2, 2)
    h[:, 1], h[:, 3] = 0, 5
    found = layer_statistics(layer_of(h), 0)
    assert found.dead_share == 0.5
    assert torch.equal(found.kurtosis_C.isnan(), torch.tensor([False, True, False, True]))
    constant = layer_statistics(layer_of(torch.ones(20, 4)), 0)
    assert constant.dead_share == 1
    assert (constant.participation_ratio, constant.effective_rank) == (0, 0)
    assert math.isnan(constant.decay)


def test_features_that_are_not_finite_have_no_statistics():
    h = noise(20, 4)
    h[3, 2] = torch.inf
    found = layer_statistics(layer_of(h), 0)
    assert math.isnan(found.participation_ratio)
    assert math.isnan(found.dead_share)
