"""HSIC_1 against its definition as sums over distinct samples, and the bias that it does not have."""

from itertools import permutations
from math import perm

import numpy as np
import pytest

from espalier.tasks.measures.debiased_hsic import (
    cka_of,
    hsic_of_centred,
    hsic_of_channels,
    hsic_of_features,
    hsic_with_itself,
    u_centred,
)
from tests.tasks.measures.planted_nets import noise


def by_definition(k, m):
    """Song 2012: unbiased estimates of E KL + E K E L - 2 E K L, over distinct samples."""
    n = len(k)
    both = sum(k[i, j] * m[i, j] for i, j in permutations(range(n), 2)) / perm(n, 2)
    apart = sum(k[i, j] * m[q, r] for i, j, q, r in permutations(range(n), 4)) / perm(n, 4)
    one = sum(k[i, j] * m[i, q] for i, j, q in permutations(range(n), 3)) / perm(n, 3)
    return both + apart - 2 * one


@pytest.mark.parametrize("n", [4, 7])
def test_all_three_ways_give_the_definition(n):
    features = [noise(n, 3, seed=1) + 5, noise(n, 2, seed=2) - 3]
    kernels = [x @ x.T for x in features]
    for a in range(2):
        for b in range(2):
            wanted = by_definition(kernels[a].numpy(), kernels[b].numpy())
            assert hsic_of_centred([u_centred(k) for k in kernels])[a, b].item() == pytest.approx(
                wanted, abs=1e-10
            )
            assert hsic_of_features(features)[a, b].item() == pytest.approx(wanted, abs=1e-10)
        own = by_definition(*2 * (kernels[a].numpy(),))
        assert hsic_with_itself(kernels[a]).item() == pytest.approx(own, abs=1e-10)
    single = [by_definition(*2 * (np.outer(x, x),)) for x in features[0].T.numpy()]
    assert hsic_of_channels(features[0]).tolist() == pytest.approx(single, abs=1e-10)


def test_rows_and_columns_of_a_u_centred_kernel_sum_to_zero():
    centred = u_centred(noise(6, 6) + noise(6, 6).T)
    assert centred.sum(0).abs().max() < 1e-12
    assert centred.diagonal().abs().max() == 0


def biased_cka(x, y):
    k, m = ((net - net.mean(0)) @ (net - net.mean(0)).T for net in (x, y))
    return ((k * m).sum() / (k.norm() * m.norm())).item()


@pytest.mark.parametrize(("d", "biased"), [(50, 0.200), (200, 0.500), (800, 0.801), (3200, 0.941)])
def test_independent_gaussians_have_biased_cka_d_over_n_plus_d_and_debiased_none(d, biased):
    n, draws = 200, 6 if d < 1000 else 2
    nets = [(noise(n, d, seed=seed), noise(n, d, seed=100 + seed)) for seed in range(draws)]
    found = np.mean([biased_cka(x, y) for x, y in nets])
    assert found == pytest.approx(d / (n + d), abs=0.003)
    assert found == pytest.approx(biased, abs=0.003)
    debiased = [
        cka_of(hsic_of_centred([u_centred(x @ x.T), u_centred(y @ y.T)]))[0, 1].item() for x, y in nets
    ]
    assert abs(np.mean(debiased)) < 0.006
