"""Ill-conditioned fits are those of float64 least squares on the rows, and errors below rounding say so."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from espalier.tasks.data.sources.cosine import read
from espalier.tasks.data.tensors import Data
from espalier.tasks.grafting import fit, row_fit, row_rule
from espalier.tasks.grafting.graft import graft
from espalier.tasks.grafting.gram import PatchMoments, factorise
from espalier.tasks.grafting.layer_input import LayerInput
from espalier.tasks.networks.families.dense import dense
from espalier.tasks.networks.network import Network, initialise
from espalier.tasks.spec import AtOnce, GraftOptions, GraftTile, Layer, Pair
from espalier.tasks.tables.marks import BELOW_FLOOR
from tests.tasks.conftest import make_data, make_net, make_snapshot
from tests.tasks.grafting.test_graft import alive, numpy_patches

COSINE = Data(*map(torch.from_numpy, read()))
PLAIN = Pair("none", 0, 1, "none")


def smooth(width, seed):
    """A dense net of tanh on one number: a few directions carry nearly everything."""
    net = replace(make_net(seed=seed, loss="mse"), width=width, order=(width, seed))
    return replace(net, architecture=dense([1, 1, 1], width, (1, 1, 1), 1))


def tile_of(nets, *pairs, **options):
    return GraftTile(tuple(map(make_snapshot, nets)), pairs or (PLAIN,), GraftOptions(**options))


def cosine_rows(width, *pairs, **options):
    nets = [smooth(width, seed) for seed in (0, 1)]
    return nets, graft(tile_of(nets, *pairs, **options), list(map(initialise, nets)), COSINE).grafts


def rows_of(source, target, layer, x):
    """The rows that a fit reads, and what it is to give."""
    description = target.architecture.layers[layer - 1]
    h, z = source.prefix(layer, x), target.layer(layer, target.prefix(layer, x))
    if description.kind == "dense":
        return h.flatten(1).double().numpy(), z.double().numpy()
    u = numpy_patches(h.numpy(), description.kernel, description.padding)
    return u.reshape(-1, u.shape[-1]), z.double().flatten(2).transpose(1, 2).flatten(0, 1).numpy()


def lstsq(source, target, layer, data, rcond=None):
    """FVU on fitting and on held-out rows of numpy's least squares of the centred rows."""
    (u, z), (u_test, z_test) = (rows_of(source, target, layer, x) for x in (data.x_train, data.x_test))
    weight = np.linalg.lstsq(u - u.mean(0), z - z.mean(0), rcond=rcond)[0]

    def fvu(some_u, some_z):
        missed = (some_u - u.mean(0)) @ weight + z.mean(0) - some_z
        return (missed**2).sum() / ((some_z - some_z.mean(0)) ** 2).sum()

    return fvu(u, z), fvu(u_test, z_test)


@pytest.mark.parametrize("width", [4, 16, 64])
def test_on_cosine_exact_fits_are_those_of_float64_least_squares(width):
    """To a factor of 1.3: directions that are rounding of the float32 features are left out here."""
    nets, rows = cosine_rows(width)
    for row in rows:
        expected = lstsq(*map(initialise, nets), row["layer"], COSINE)
        for name, theirs in zip(("fvu_train", "fvu_test"), expected, strict=True):
            assert theirs / 1.3 <= row[name] <= 1.3 * theirs, (row["layer"], name)


def test_with_about_as_many_directions_as_points_rounding_is_not_fitted():
    """All of numpy's directions leave next to nothing in sample, and rounding is what they fit."""
    some = Data(COSINE.x_train[:300], COSINE.y_train[:300], COSINE.x_test, COSINE.y_test)
    nets = [smooth(280, seed) for seed in (0, 1)]
    networks = list(map(initialise, nets))
    for row in graft(tile_of(nets), networks, some).grafts:
        u, _ = rows_of(*networks, row["layer"], some.x_train)
        noise = 2.0**-25 * np.sqrt((u**2).mean()) * (np.sqrt(len(u)) + np.sqrt(u.shape[1]))
        largest = np.linalg.norm(u - u.mean(0), 2)
        expected = lstsq(*networks, row["layer"], some, rcond=noise / largest)
        assert row["fvu_train"] == pytest.approx(expected[0], rel=1e-2, abs=0)
        assert row["fvu_test"] == pytest.approx(expected[1], rel=1e-2, abs=0)
        assert row["fvu_test"] <= 1.3 * lstsq(*networks, row["layer"], some)[1]


@pytest.mark.parametrize("shape", [(400, 30), (60, 60), (40, 90)], ids=str)
def test_a_wide_spread_of_singular_values_costs_no_digits(shape):
    """Ten decades of eigenvalues more than the sums of products can tell."""
    generator = np.random.default_rng(0)
    rank = min(shape) - 1
    left = np.linalg.qr(np.c_[np.ones(shape[0]), generator.normal(size=(shape[0], rank))])[0][:, 1:]
    right = np.linalg.qr(generator.normal(size=(shape[1], rank)))[0]
    u = torch.from_numpy(left * np.geomspace(1, 3e-8, rank) @ right.T)
    z = torch.from_numpy(
        left @ generator.normal(size=(rank, 3)) + 1e-6 * generator.normal(size=(shape[0], 3))
    )
    z -= z.mean(0)
    factor = row_fit.factorise_rows(u, shape[1])
    weight = factor.from_rows(z, 0.0)
    expected = np.linalg.lstsq(u.numpy(), z.numpy(), rcond=1e-10)[0]
    assert len(factor.values_K) == rank
    np.testing.assert_allclose(weight.numpy(), expected, atol=1e-6 * np.abs(expected).max())
    moments = PatchMoments(shape[1])
    moments.add(LayerInput(Layer("dense", 3), u, "float64"))
    by_sums = factorise(moments).solve(u.T @ z, 0.0)
    left_over = [((u @ w - z) ** 2).sum().item() for w in (weight, by_sums, torch.from_numpy(expected))]
    assert left_over[0] == pytest.approx(left_over[2], rel=1e-3, abs=1e-15)
    assert left_over[1] > 1e-3 * (z**2).sum() > left_over[0]


def nearly_alike(network, apart=3e-6):
    """The net with pairs of channels of its first layer that differ by little."""
    parameters = {name: value.clone() for name, value in network.parameters.items()}
    weight = parameters["layers.1.weight"]
    weight[1::2] = weight[::2] + apart * weight[1::2]
    return Network(network.architecture, parameters)


@pytest.mark.parametrize("kind", ["conv", "dense"])
def test_channels_that_are_nearly_alike_are_told_apart(kind):
    data = make_data(train=150)
    nets = [make_net(seed=seed, width=4, entries=(1, "pool", 2)) for seed in (0, 1)]
    if kind == "dense":
        nets = [replace(net, architecture=dense([2, 1], 12, (2, 6, 6), 5)) for net in nets]
    source, target = nearly_alike(alive(initialise(nets[0]))), alive(initialise(nets[1]))
    row = next(row for row in graft(tile_of(nets), [source, target], data).grafts if row["layer"] == 2)
    expected = lstsq(source, target, 2, data)
    assert row["condition_number"] > 1e10
    assert row["fvu_train"] == pytest.approx(expected[0], rel=1e-4, abs=0)
    assert row["fvu_test"] == pytest.approx(expected[1], rel=1e-2, abs=0)


def test_a_ridge_shrinks_as_in_the_augmented_least_squares():
    nets, rows = cosine_rows(16, ridge=1e-13)
    for row in rows:
        u, z = rows_of(*map(initialise, nets), row["layer"], COSINE.x_train)
        u, z = u - u.mean(0), z - z.mean(0)
        shift = np.sqrt(1e-13 * (u**2).sum() / u.shape[1])
        rows_too = np.r_[u, shift * np.eye(u.shape[1])], np.r_[z, np.zeros((u.shape[1], z.shape[1]))]
        weight = np.linalg.lstsq(*rows_too, rcond=None)[0]
        expected = ((u @ weight - z) ** 2).sum() / (z**2).sum()
        assert row["fvu_train"] == pytest.approx(expected, rel=0.05, abs=0)


def test_rows_are_read_where_the_condition_asks_for_it_and_they_are_few(monkeypatch):
    asked = []
    monkeypatch.setattr(
        fit, "factorise_rows", lambda *given: asked.append(given[0]) or row_fit.factorise_rows(*given)
    )
    data = make_data(train=150)
    nets = [make_net(seed=seed) for seed in (0, 1)]
    graft(tile_of(nets), [alive(initialise(net)) for net in nets], data)
    assert not asked  # well conditioned
    cosine_rows(16, ridge=1e-6)
    assert not asked  # the ridge is well above rounding
    monkeypatch.setattr(row_rule, "MOST", 1000 * 16 - 1)
    cosine_rows(16)
    assert not asked  # too many
    monkeypatch.setattr(row_rule, "MOST", 1000 * 16)
    cosine_rows(16)
    assert [tuple(rows.shape) for rows in asked] == [(1000, 16)] * 3


def test_where_rows_are_too_many_an_error_below_the_floor_is_warned_of(monkeypatch):
    monkeypatch.setattr(row_rule, "MOST", 0)
    _, rows = cosine_rows(64)
    assert all(BELOW_FLOOR in row["warning"] for row in rows)


def test_floors_are_what_rounding_leaves():
    """At width 200 no exact graft of cosine tells more than the last bits of float32; at width 4 all do."""
    _, rows = cosine_rows(200)
    assert all(BELOW_FLOOR in row["warning"] for row in rows)
    _, rows = cosine_rows(4)
    assert not any(BELOW_FLOOR in row["warning"] for row in rows)


def test_a_net_in_itself_is_the_floor_and_not_warned_of():
    _, rows = cosine_rows(16, Pair("self", 0, 0, "self"))
    assert all(row["fvu_test"] < 1e-12 for row in rows)
    assert not any(BELOW_FLOOR in row["warning"] for row in rows)


def test_a_pairs_rows_do_not_depend_on_its_company_nor_on_parts():
    nets = [smooth(16, seed) for seed in (0, 1, 2)]
    networks = list(map(initialise, nets))
    kinds = ("none", "shuffled_images", "permuted")
    pairs = [
        Pair(f"{null}-{a}-{b}", a, b, null)
        for null in kinds
        for a in range(3)
        for b in range(3)
        if (a == b) == (null == "permuted")
    ]
    together = graft(tile_of(nets, *pairs), networks, COSINE)
    parted = graft(tile_of(nets, *pairs), networks, COSINE, AtOnce(1, 1))
    assert sorted(map(repr, parted.grafts)) == sorted(map(repr, together.grafts))
    for pair in (pairs[0], pairs[-1], next(p for p in pairs if p.null == "shuffled_images")):
        alone = graft(tile_of(nets, pair), networks, COSINE).grafts
        assert list(map(repr, alone)) == [repr(row) for row in together.grafts if row["key"] == pair.key]
