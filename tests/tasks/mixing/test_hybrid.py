"""Hybrids against known answers: the parents at both ends, lstsq layer by layer, and what must not matter."""

from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest
import torch

from espalier.tasks.data.tensors import load
from espalier.tasks.mixing.classifier import refit
from espalier.tasks.mixing.hybrid import hybrids, make
from espalier.tasks.mixing.mixture import channels_of_a
from espalier.tasks.networks.families.dense import dense
from espalier.tasks.networks.families.vgg import vgg
from espalier.tasks.networks.network import Network, permute_channels, streams
from espalier.tasks.spec import WIDE, GraftOptions, HybridTile, Pair, Schedule, TrainSegment
from espalier.tasks.tables.marks import CONSTANT_TARGET
from espalier.tasks.tables.rows import table
from espalier.tasks.training.evaluation import evaluate
from espalier.tasks.training.train import initial_state, train
from tests.tasks.conftest import make_data, make_net, make_snapshot
from tests.tasks.families import ARCHITECTURES, CLASSES, family_net, lively
from tests.tasks.grafting.test_graft import numpy_patches

A_AND_B = (Pair("a-b", 0, 1),)


def tile_of(nets, shares=(0.0, 0.5, 1.0), pairs=A_AND_B, **options):
    snapshots = tuple(make_snapshot(net, 1) for net in nets)
    return HybridTile(snapshots, pairs, shares, GraftOptions(**{"products": "float64"} | options))


def data_of(name, train=300, test=200):
    return make_data(train=train, test=test, image=ARCHITECTURES[name].input)


def trained(net, data, epochs):
    segment = TrainSegment(make_snapshot(net, epochs), None, False)
    return train(segment, initial_state(net), data).network


def lively_pair(name):
    nets = [family_net(name, seed) for seed in (0, 1)]
    return nets, [lively(net) for net in nets]


@lru_cache
def digits_pair():
    """Two nets trained on digits: their specs, their networks, and the images."""
    net = make_net(width=16, entries=(1, 1, "pool", 2), image=(1, 8, 8), classes=10, batch_size=64)
    net = replace(net, recipe=replace(net.recipe, schedule=Schedule("cosine", 1.0, epochs=6)))
    nets = [replace(net, seed=seed, order=(seed,)) for seed in (0, 1)]
    data = load("digits")
    return nets, [trained(net, data, 6) for net in nets], data


FAMILIES = ARCHITECTURES | {"vgg16-bn": vgg("vgg16", 2, (2, 32, 32), CLASSES, batch_norm=True, dropout=0.0)}
"""VGG of width 1, with one channel in its first layers, learns too little to lose."""

TRAINED = [("conv-bn", 2), ("dense", 4), ("vgg16-bn", 4), ("resnet20", 2), ("resnet18", 2)]


@pytest.mark.parametrize(("name", "epochs"), TRAINED)
def test_all_channels_of_one_net_give_its_features_and_its_accuracy(name, epochs):
    data = data_of(name, train=200 if name == "vgg16-bn" else 300, test=500)
    nets = [replace(family_net(name, seed, lr=0.03), architecture=FAMILIES[name]) for seed in (0, 1)]
    networks = [trained(net, data, epochs) for net in nets]
    rows = hybrids(tile_of(nets, (0.0, 1.0)), networks, data)
    for row, parent in zip(rows, reversed(networks), strict=True):
        assert row["fvu_largest"] < error_allowed(row)
        # The classifier's minimum can only do better on the images that it is fitted on.
        assert row["loss_train"] < evaluate(parent, data.x_train, data.y_train)[0]
        accuracy = evaluate(parent, data.x_test, data.y_test)[1]
        assert row["accuracy_test"] >= accuracy - 0.01


def error_allowed(row):
    """Rounding; where a warning says that the fitting images miss some directions, what those carry."""
    return 1e-4 if row["warning"] else 1e-8


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_net_mixed_with_itself_is_that_net_at_every_share(name):
    nets, networks = lively_pair(name)
    data = data_of(name, train=150, test=50)
    (row,) = hybrids(tile_of(nets, (0.5,), (Pair("b-b", 1, 1),)), networks, data)
    assert row["fvu_largest"] < error_allowed(row)


def test_products_in_float32_keep_half_of_its_digits():
    net = make_net(width=WIDE)
    tile = tile_of([net, replace(net, seed=1)], (0.0, 1.0), products="float32")
    for row in hybrids(tile, [lively(snapshot.net) for snapshot in tile.snapshots], make_data(train=600)):
        assert row["fvu_largest"] < 1e-6


def test_hybrids_of_trained_nets_are_as_accurate_as_their_parents():
    nets, networks, data = digits_pair()
    rows = hybrids(tile_of(nets, ridge=1e-6), networks, data)
    assert table("hybrids", rows).num_rows == 3
    assert rows[0]["target_accuracy_test"] == evaluate(networks[1], data.x_test, data.y_test)[1]
    assert rows[0]["source_accuracy_test"] == evaluate(networks[0], data.x_test, data.y_test)[1]
    assert rows[0]["accuracy_test"] >= rows[0]["target_accuracy_test"] - 0.01
    assert rows[1]["accuracy_test"] > 0.95
    assert rows[2]["accuracy_test"] >= rows[2]["source_accuracy_test"] - 0.01
    assert 1e-3 < rows[1]["fvu_last"] < 0.2


def test_an_end_is_its_parent_with_the_classifier_fitted_anew():
    nets, networks, data = digits_pair()
    tile = tile_of(nets, (1.0,), ridge=1e-6)
    hybrid = make(tile, A_AND_B[0], networks, data)[0]
    h, h_test = (networks[0].prefix(4, x).flatten(1) for x in (data.x_train, data.x_test))
    again = refit(h, data.y_train, 10, nets[0].recipe, 0.0)
    wanted = h_test.double() @ again.weight_CD.T + again.bias_C
    found = hybrid.network.logits(data.x_test).double()
    assert (found - wanted).abs().max() < 0.01 * wanted.abs().max()


def test_a_net_and_its_permutation_give_both_ends_exactly_and_the_accuracy_between():
    """In between some channels are there twice and others not at all."""
    nets, networks, data = digits_pair()
    networks = [permute_channels(networks[1], 5), networks[1]]
    rows = hybrids(tile_of(nets, ridge=1e-6), networks, data)
    assert max(rows[0]["fvu_largest"], rows[2]["fvu_largest"]) < 1e-6
    for row in rows:
        assert row["accuracy_test"] >= row["target_accuracy_test"] - 0.01


def lstsq_error(u, z, own):
    """Largest difference between `own` and the float64 least-squares fit of `z` to `u` with an intercept."""
    u = np.c_[u, np.ones(len(u))]
    wanted = u @ np.linalg.lstsq(u, z, rcond=None)[0]
    return np.abs(own - wanted).max() / np.abs(wanted).max()


def rows_of(z):
    z = z.numpy().astype(np.float64)
    return z.reshape(*z.shape[:2], -1).transpose(0, 2, 1).reshape(-1, z.shape[1])


@pytest.mark.parametrize("name", ["conv-bn", "dense", "resnet20"])
def test_every_layer_is_the_float64_lstsq_of_the_hybrids_own_features(name):
    nets, (a, b) = lively_pair(name)
    data = data_of(name, train=200, test=10)
    hybrid = make(tile_of(nets, (0.5,)), A_AND_B[0], [a, b], data)[0]
    with torch.no_grad():
        entries = zip(*(net.features(data.x_train) for net in (hybrid.network, a, b)), strict=True)
        for own, of_a, of_b in list(entries)[:-1]:
            layer = a.architecture.layers[own.layer - 1]
            z = torch.where(hybrid.of_a[own.layer].reshape(1, -1, *[1] * (own.z.dim() - 2)), of_a.z, of_b.z)
            if layer.kind == "dense":
                u = own.h_in.flatten(1).numpy().astype(np.float64)
            else:
                size = own.h_in.shape[-1]
                u = numpy_patches(own.h_in.numpy(), 3, 1).reshape(len(z), size, size, -1)
                u = u[:, :: layer.stride, :: layer.stride].reshape(-1, u.shape[-1])
            assert lstsq_error(u, rows_of(z), rows_of(own.z)) < 1e-5
            if layer.stride > 1:
                into = own.layer + 1
                z = torch.where(hybrid.of_a[into][:, None, None], of_a.shortcuts[into], of_b.shortcuts[into])
                u = rows_of(own.h_in[:, :, ::2, ::2])
                assert lstsq_error(u, rows_of(z), rows_of(own.shortcuts[into])) < 1e-5


def test_choices_of_channels_are_nested_and_of_the_right_size():
    architecture = ARCHITECTURES["conv-bn"]
    shares = [number / 10 for number in range(11)]
    masks = [channels_of_a(architecture, share, "a", "b") for share in shares]
    for layer in (1, 2):
        out = architecture.layers[layer - 1].out
        assert [int(entry[layer].sum()) for entry in masks] == [round(share * out) for share in shares]
        for less, more in pairwise(masks):
            assert not (less[layer] & ~more[layer]).any()


def test_another_pair_has_another_choice_and_layers_of_one_stream_the_same():
    architecture = ARCHITECTURES["resnet18"]
    chosen = channels_of_a(architecture, 0.5, "a", "b")
    tied = streams(architecture)
    for first in chosen:
        for second in chosen:
            if tied[first] == tied[second]:
                assert torch.equal(chosen[first], chosen[second])
    other = channels_of_a(architecture, 0.5, "b", "a")
    assert any(not torch.equal(other[layer], mask) for layer, mask in chosen.items())
    apart = [mask for layer, mask in chosen.items() if architecture.layers[layer - 1].out == 16]
    assert any(not torch.equal(apart[0], mask) for mask in apart)


def test_bn_of_a_channel_is_that_of_the_net_it_came_from():
    nets, networks = lively_pair("resnet20")
    hybrid = make(tile_of(nets, (0.5,)), A_AND_B[0], networks, data_of("resnet20", train=40))[0]
    norms = [name for name in networks[0].parameters if ".bn." in name]
    assert any(".shortcut.bn." in name for name in norms)
    for name in norms:
        of_a = hybrid.of_a[int(name.split(".")[1])]
        for parent, channels in zip(networks, (of_a, ~of_a), strict=True):
            found = hybrid.network.parameters[name][channels]
            assert torch.equal(found, parent.parameters[name][channels])


def test_rows_do_not_depend_on_other_pairs_and_shares():
    nets, networks = lively_pair("conv-bn")
    data = data_of("conv-bn", train=100, test=30)
    pairs = (*A_AND_B, Pair("b-a", 1, 0), Pair("b-b", 1, 1))
    together = hybrids(tile_of(nets, (0.0, 0.3, 0.7), pairs), networks, data)
    assert len(together) == 9
    alone = hybrids(tile_of(nets, (0.3,), pairs[1:2]), networks, data)
    assert alone == [row for row in together if (row["key"], row["share"]) == ("b-a", 0.3)]
    assert hybrids(tile_of(nets, (0.0, 0.3, 0.7), pairs), networks, data, at_once=2) == together


@pytest.mark.parametrize("layers", [(1,), (1, 2)])
def test_dead_channels_give_finite_rows_and_a_warning(layers):
    net = make_net()
    nets = [net, replace(net, seed=1)]
    networks = [lively(entry) for entry in nets]
    described = net.architecture.layers
    dead = {f"layers.{layer}.bias": torch.full((described[layer - 1].out,), -100.0) for layer in layers}
    networks[0] = Network(networks[0].architecture, {**networks[0].parameters, **dead})
    for row in hybrids(tile_of(nets), networks, make_data()):
        assert all(np.isfinite(value) for value in row.values() if isinstance(value, float)), row
        assert bool(row["warning"]) == (row["share"] > 0)
    assert "conv2: the source layer is constant" in row["warning"]


def test_a_mixture_without_variance_has_no_error_and_says_so():
    net = make_net()
    nets = [net, replace(net, seed=1)]
    networks = []
    for entry in nets:
        parameters = dict(lively(entry).parameters)
        parameters["layers.2.weight"] = torch.zeros_like(parameters["layers.2.weight"])
        networks.append(Network(entry.architecture, parameters))
    for row in hybrids(tile_of(nets, (0.0, 1.0)), networks, make_data()):
        assert row["fvu_last"] is None
        assert row["fvu_largest"] is not None  # that of layer 1
        assert f"conv2: {CONSTANT_TARGET}" in row["warning"]


def test_hybrids_of_a_regression():
    net = make_net(lr=0.003, batch_size=50)
    recipe = replace(net.recipe, loss="mse", regularizer="none", reg_weight=0.0)
    net = replace(net, architecture=dense([1, 1], 30, (1, 1, 1), 1), recipe=recipe)
    nets, data = [net, replace(net, seed=1)], load("cosine")
    networks = [trained(entry, data, 2) for entry in nets]
    rows = hybrids(tile_of(nets, ridge=1e-8), networks, data)
    assert table("hybrids", rows).column("accuracy_test").null_count == 3
    for row, parent in ((rows[0], networks[1]), (rows[2], networks[0])):
        assert row["fvu_largest"] < 1e-6
        assert row["loss_train"] <= evaluate(parent, data.x_train, data.y_train, "mse")[0]
    assert 0 < rows[1]["fvu_last"] < 1
