"""Measures from `X^T Y` against direct definitions, their invariances, and their permuted values."""

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.spatial import procrustes
from sklearn.cross_decomposition import CCA

from espalier.tasks.measures.channel_gram import ChannelGram
from espalier.tasks.measures.compare_layers import compare
from tests.tasks.measures.planted_nets import layer_of, mixed, noise, turned


def pair(unequal=0):
    x = (noise(12, 4, 3, 2, seed=1) + 1).float().double()
    y = mixed(x, noise(4, 4 + unequal, seed=3)) + 2 * noise(12, 4 + unequal, 3, 2, seed=2)
    return x, y.float().double()


def flat(net):
    return net.permute(0, 2, 3, 1).flatten(0, 2).numpy()


def centred(net):
    return flat(net) - flat(net).mean(0)


def procrustes_angle(x, y):
    nuclear = np.linalg.norm(centred(x).T @ centred(y), "nuc")
    return np.arccos(nuclear / np.linalg.norm(centred(x)) / np.linalg.norm(centred(y)))


def canonical(x, y):
    return np.linalg.svd(np.linalg.qr(centred(x))[0].T @ np.linalg.qr(centred(y))[0])


def cca_by_qr(x, y):
    return canonical(x, y)[1].mean()


def pwcca_by_qr(x, y):
    u, rho, vh = canonical(x, y)
    weights = [
        np.abs((np.linalg.qr(centred(net))[0] @ vectors).T @ centred(net)).sum(1)[: len(rho)]
        for net, vectors in ((x, u), (y, vh.T))
    ]
    return np.mean([(w * rho).sum() / w.sum() for w in weights])


def match_by_trying(x, y):
    both = np.corrcoef(flat(x).T, flat(y).T)[: x.shape[1], x.shape[1] :]
    return max(both[range(len(both)), list(p)].mean() for p in permutations(range(both.shape[1]), len(both)))


def semi_match_by_definition(x, y):
    a, b = flat(x), flat(y)
    away = ((a[:, :, None] - b[:, None]) ** 2).mean(0) / np.concatenate([a, b], 1).__pow__(2).mean()
    return (away.min(1).mean() + away.min(0).mean()) / 2


DEFINITIONS = {
    "procrustes": procrustes_angle,
    "cca_mean": cca_by_qr,
    "pwcca": pwcca_by_qr,
    "match": match_by_trying,
    "semi_match": semi_match_by_definition,
}


@pytest.mark.parametrize("unequal", [0, 2])
def test_values_and_permuted_values_are_those_of_the_definitions(unequal):
    x, y = pair(unequal)
    layer = layer_of(x, y, permutations=20)
    orders = layer.orders.orders_nN()
    for name, found in compare(layer, list(DEFINITIONS)).items():
        wanted = DEFINITIONS[name](x, y)
        assert found.value_SS[0, 1].item() == pytest.approx(wanted, abs=1e-9), name
        assert len(found.nulls[0, 1]) == 20
        for k in (0, 19):
            wanted = DEFINITIONS[name](x, y[orders[k]])
            assert found.nulls[0, 1][k].item() == pytest.approx(wanted, abs=1e-4), name


def test_libraries_agree_on_procrustes_and_canonical_correlations():
    x, y = pair()
    found = compare(layer_of(x, y), ["procrustes", "cca_mean"])
    disparity = procrustes(flat(x), flat(y))[2]
    assert found["procrustes"].value_SS[0, 1].cos().square().item() == pytest.approx(1 - disparity, abs=1e-9)
    a, b = CCA(4, tol=1e-12, max_iter=10_000).fit_transform(flat(x), flat(y))
    wanted = np.mean([np.corrcoef(a[:, k], b[:, k])[0, 1] for k in range(4)])
    assert found["cca_mean"].value_SS[0, 1].item() == pytest.approx(wanted, abs=1e-6)


def test_each_measure_ignores_what_it_should_and_sees_what_it_should():
    x, _ = pair()
    order = [2, 0, 3, 1]
    layer = layer_of(
        x, x[:, order], 2 * mixed(x, turned(4)) + 1, mixed(x, noise(4, 4, seed=8), shift=3), permutations=19
    )
    found = {name: one.value_SS[0].tolist() for name, one in compare(layer, list(DEFINITIONS)).items()}
    permuted, rotated, affine = 1, 2, 3
    for name in ("cca_mean", "pwcca"):
        assert found[name][1:] == pytest.approx([1, 1, 1], abs=1e-6)
    assert found["procrustes"][permuted] == pytest.approx(0, abs=1e-6)
    assert found["procrustes"][rotated] == pytest.approx(0, abs=1e-3)  # arccos of 1 less rounding
    assert found["procrustes"][affine] > 0.1
    assert found["match"][permuted] == pytest.approx(1, abs=1e-12)
    assert found["match"][rotated] < 0.95
    assert found["semi_match"][permuted] == 0
    assert found["semi_match"][rotated] > 0.1


def test_what_nets_have_in_common_is_found_and_calibrated():
    x, y = pair()
    layer = layer_of(x, y, mixed(noise(12, 4, 3, 2, seed=77), noise(4, 4)), permutations=199)
    for name, found in compare(layer, list(DEFINITIONS)).items():
        columns = found.calibrated()
        assert columns.p_value[0, 1] <= 0.05, name
        assert columns.p_value[1, 0] == columns.p_value[0, 1]
        assert columns.calibrated[0, 1] > 0.1, name
        assert columns.p_value[0, 2] > 0.05, name
        assert columns.calibrated[0, 2] == 0, name


def train_gram(*nets):
    gram = ChannelGram([net.shape[1] for net in nets], "float64")
    gram.add(nets)
    return gram


def alignment_by_definition(train, test):
    means = [flat(net).mean(0) for net in train]
    x, y = (flat(net) - mean for net, mean in zip(train, means, strict=True))
    u, _, vh = np.linalg.svd(x.T @ y, full_matrices=False)
    x, y = (flat(net) - mean for net, mean in zip(test, means, strict=True))
    size = (np.square(x).sum() + np.square(y).sum()) / 2
    return np.square(x @ u @ vh - y).sum() / size


@pytest.mark.parametrize("unequal", [0, 2])
def test_alignment_is_the_held_out_error_of_the_map_fitted_on_training_images(unequal):
    nets = pair(unequal)
    train, test = [net[:7] for net in nets], [net[7:] for net in nets]
    layer = layer_of(*test, permutations=4)
    found = compare(layer, ["alignment"], train_gram(*train))["alignment"]
    assert found.value_SS[0, 1].item() == pytest.approx(alignment_by_definition(train, test), abs=1e-9)
    order = layer.orders.orders_nN()[2]
    wanted = alignment_by_definition(train, (test[0], test[1][order]))
    assert found.nulls[0, 1][2].item() == pytest.approx(wanted, abs=1e-4)


def test_alignment_of_a_rotated_net_is_zero_and_of_an_unrelated_one_about_two():
    x = noise(300, 5, seed=1)
    y, z = x @ turned(5) + 4, noise(300, 5, seed=2)
    layer = layer_of(x[150:], y[150:], z[150:], batch=150)
    found = compare(layer, ["alignment"], train_gram(x[:150], y[:150], z[:150]))["alignment"]
    assert found.value_SS[0, 1].item() == pytest.approx(0, abs=1e-6)
    assert found.value_SS[0, 2].item() == pytest.approx(2, abs=0.2)


def test_a_direction_without_variance_is_no_canonical_variable():
    x, y = pair()
    doubled = torch.cat([x, x[:, :1], torch.zeros_like(x[:, :1])], 1)
    found = compare(layer_of(x, y, doubled), ["cca_mean"])["cca_mean"].value_SS
    assert found[1, 2].item() == pytest.approx(found[0, 1].item(), abs=1e-6)
