"""Measures and their calibration equal what public libraries give (the extra `similarity` installs them)."""

import numpy as np
import pytest
import torch

from espalier.tasks.measures.best_layer import BestLayer
from espalier.tasks.measures.channel_samples import BANDWIDTHS, Statistic, deals
from espalier.tasks.measures.compare_layers import compare
from espalier.tasks.measures.sliced_distance import projections
from tests.tasks.measures.planted_nets import layer_of, mixed, noise

SAME = 1e-6
EXTRA = "pip install 'espalier[similarity]'"


@pytest.fixture(scope="module")
def nets():
    x = noise(14, 5, 2, 2, seed=1).float().double()
    return x, (mixed(x, noise(5, 6, seed=3)) + 3 * noise(14, 6, 2, 2, seed=2)).float().double()


@pytest.fixture(scope="module")
def layer(nets):
    return layer_of(*nets, permutations=39)


def test_rsatoolbox_has_the_same_rank_correlation(nets, layer):
    rsatoolbox = pytest.importorskip("rsatoolbox", reason=EXTRA)
    rdms = [
        rsatoolbox.rdm.calc_rdm(rsatoolbox.data.Dataset(net.flatten(1).numpy()), method="euclidean")
        for net in nets
    ]
    found = compare(layer, ["rsa"])["rsa"].value_SS[0, 1].item()
    assert found == pytest.approx(rsatoolbox.rdm.compare_spearman(*rdms).item(), abs=SAME)


def channel_points(nets):
    """Channels as points, at distances in units of the layer's root mean square."""
    rows = [net.permute(1, 0, 2, 3).flatten(1).numpy() for net in nets]
    scale = np.sqrt(np.square(np.concatenate(rows)).mean())
    return [net / (scale * np.sqrt(net.shape[1])) for net in rows]


def hyppo_energy(ksample, x, y, distance):
    """Its biased statistic is `sqrt(E) / sqrt(s)` with s = 2 n^2 m^2 / (n + m)^4, E the V-statistic."""

    def of(both):
        return np.abs(both - both.T) if both.shape[1] == 1 else distance(both)

    share = 2 * len(x) ** 2 * len(y) ** 2 / (len(x) + len(y)) ** 4
    return ksample.Energy(compute_distance=of, bias=True).statistic(x, y) ** 2 * share


def euclidean(both):
    return np.linalg.norm(both[:, None] - both, axis=2)


def test_hyppo_has_the_same_energy_distance_and_mmd(nets, layer):
    ksample = pytest.importorskip("hyppo.ksample", reason=EXTRA)
    x, y = channel_points(nets)
    both = np.concatenate([x, y])
    median = np.median(euclidean(both)[np.triu_indices(len(both), 1)])
    wanted = {
        "energy": hyppo_energy(ksample, x, y, euclidean),
        "mmd": sum(
            hyppo_energy(
                ksample, x, y, lambda z, h=h: 1 - np.exp(-(euclidean(z) ** 2) / (2 * (h * median) ** 2))
            )
            for h in BANDWIDTHS
        ),
    }
    away = layer.gram.pair(0, 1).square_distances()
    kernel = sum(torch.exp(-away / (2 * (h * median) ** 2)) for h in BANDWIDTHS)
    for name, matrix in (("energy", away.sqrt()), ("mmd", -kernel)):
        with_self = Statistic(matrix, without_self=False).values(deals(5, 6, 0)).item()
        assert with_self == pytest.approx(wanted[name], abs=SAME), name
        # the row's value leaves each channel's pair with itself out
        without = Statistic(matrix - torch.diag(matrix.diagonal()), without_self=True).values(deals(5, 6, 0))
        assert compare(layer, [name])[name].value_SS[0, 1].item() == pytest.approx(without.item(), abs=SAME)


def test_pot_has_the_same_distances_along_each_direction(layer):
    ot = pytest.importorskip("ot", reason=EXTRA)
    x, y = (part.numpy() for part in projections(layer.gram.pair(0, 1)).split([5, 6]))
    wanted = np.sqrt(np.mean(ot.wasserstein_1d(x, y, p=2)))
    found = compare(layer, ["sliced_w2"])["sliced_w2"].value_SS[0, 1].item()
    assert found == pytest.approx(wanted, abs=SAME)


def debiased_cka(x, y):
    """By U-centred kernels, one pair at a time."""
    kernels = []
    for net in (x, y):
        k = net @ net.T
        k = k - torch.diag(k.diagonal())
        n, rows = len(k), k.sum(0)
        k = k - (rows[:, None] + rows) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
        kernels.append(k - torch.diag(k.diagonal()))
    return (kernels[0] * kernels[1]).sum() / (kernels[0].norm() * kernels[1].norm())


def one_by_one(orders_nN):
    remaining = iter(orders_nN)
    return lambda *_: next(remaining)


def test_calibrated_similarity_has_the_same_p_value_and_calibrated_value(nets, layer):
    public = pytest.importorskip("calibrated_similarity", reason=EXTRA)
    x, y = (net.flatten(1) for net in nets)
    orders = one_by_one(layer.orders.orders_nN())
    score, p_value, _ = public.calibrate(x, y, debiased_cka, K=39, perm_fn=orders)
    columns = compare(layer, ["cka"])["cka"].calibrated()
    assert columns.p_value[0, 1].item() == pytest.approx(p_value.item(), abs=SAME)
    assert columns.calibrated[0, 1].item() == pytest.approx(score.item(), abs=SAME)


def test_calibrated_similarity_has_the_same_calibrated_maximum_over_layers(nets):
    public = pytest.importorskip("calibrated_similarity", reason=EXTRA)
    others = [noise(14, 4, 2, 2, seed=seed).float().double() for seed in (5, 6)]
    layers = [layer_of(*pair, permutations=39) for pair in (nets, others)]
    found = [compare(one, ["cka"])["cka"] for one in layers]
    best = BestLayer(larger=True)
    for number, one in enumerate(found, start=1):
        best.add(number, one.value_SS[0, 1].item(), one.nulls[0, 1])
    columns = best.calibrated(1.0)
    flat = [[net.flatten(1) for net in pair] for pair in (nets, others)]

    def best_of_layers(matrix):
        return matrix.diagonal().max()

    score, p_value, _ = public.calibrate_layers(
        [pair[0] for pair in flat],
        [pair[1] for pair in flat],
        debiased_cka,
        agg=best_of_layers,
        K=39,
        perm_fn=one_by_one(layers[0].orders.orders_nN()),
    )
    assert columns.p_value.item() == pytest.approx(p_value.item(), abs=SAME)
    assert columns.calibrated.item() == pytest.approx(score.item(), abs=SAME)
