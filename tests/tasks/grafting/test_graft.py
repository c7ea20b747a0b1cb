"""Grafts against known answers: lstsq on patches written apart, the identities, and what sharing promises."""

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from espalier.tasks.grafting import fit as fit_module
from espalier.tasks.grafting.fit import fit
from espalier.tasks.grafting.fvu import fraction_unexplained
from espalier.tasks.grafting.graft import graft
from espalier.tasks.grafting.gram import PatchMoments, factorise
from espalier.tasks.grafting.layer_input import LayerInput, channel_rows
from espalier.tasks.grafting.nulls.shuffled_images import position_order
from espalier.tasks.grafting.tile_nets import Bottoms, TileNets, gather_positions, scatter_positions
from espalier.tasks.kernels.compiled import kernels
from espalier.tasks.networks.cuts import Arm
from espalier.tasks.networks.layout import laid
from espalier.tasks.networks.network import Network, initialise, permute_channels
from espalier.tasks.spec import WIDE, AtOnce, GraftOptions, GraftTile, Layer, Pair
from espalier.tasks.tables.marks import CONSTANT_TARGET
from espalier.tasks.tables.rows import table
from tests.tasks.conftest import make_data, make_net, make_snapshot


def make_tile(seeds=(0, 1), nulls=("none",), options=None, **net):
    """All ordered pairs of some seeds, and the nulls asked for."""
    snapshots = tuple(make_snapshot(make_net(seed=seed, **net)) for seed in seeds)
    pairs = [
        Pair(f"{null}-{source}-{target}", source, target, null)
        for null in nulls
        for source in range(len(seeds))
        for target in range(len(seeds))
        if (source == target) == (null in ("self", "permuted"))
    ]
    return GraftTile(snapshots, tuple(pairs), options or GraftOptions())


def networks_of(tile):
    """The tile's initial nets, their biases raised so that every patch direction occurs in few images."""
    return [alive(initialise(snapshot.net)) for snapshot in tile.snapshots]


def alive(network):
    raised = {
        name: value + 2.0 if name.endswith("bias") else value for name, value in network.parameters.items()
    }
    return Network(network.architecture, raised)


def numpy_patches(h, kernel, padding):
    """Patches (N, positions, C * k * k) by numpy's sliding windows, apart from the code under test."""
    padded = np.pad(h.astype(np.float64), ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(padded, (kernel, kernel), axis=(2, 3))
    n, _, height, width = windows.shape[:4]
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(n, height * width, -1)


def lstsq_graft(source, target, layer, x_train, x_test):
    """Held-out predictions, FVU on fitting and held-out images, by float64 lstsq with an intercept."""
    description = target.architecture.layers[layer - 1]

    def rows(x):
        h = source.prefix(layer, x)
        z = target.layer(layer, target.prefix(layer, x))
        if description.kind == "dense":
            return h.flatten(1).numpy().astype(np.float64), z.numpy().astype(np.float64)
        u = numpy_patches(h.numpy(), description.kernel, description.padding)
        z = z.numpy().astype(np.float64).reshape(*z.shape[:2], -1).transpose(0, 2, 1)
        return u.reshape(-1, u.shape[-1]), z.reshape(-1, z.shape[-1])

    def fvu(u, z, weight):
        error = ((np.c_[u, np.ones(len(u))] @ weight - z) ** 2).mean(0).sum()
        return error / z.var(0).sum()

    u, z = rows(x_train)
    weight = np.linalg.lstsq(np.c_[u, np.ones(len(u))], z, rcond=None)[0]
    u_test, z_test = rows(x_test)
    return np.c_[u_test, np.ones(len(u_test))] @ weight, fvu(u, z, weight), fvu(u_test, z_test, weight)


# float64 products leave only the conditioning (1e5 here) of rounding; float32 products of a conv keep about
# half of float32's 7 digits in the prediction, and so the square of that in the FVU.
@pytest.mark.parametrize(("products", "tolerance"), [("float64", 1e-6), ("float32", 1e-3)])
@pytest.mark.parametrize("layer", [2, 3])
def test_exact_graft_equals_float64_lstsq_on_independent_patches(layer, products, tolerance):
    tile = make_tile(options=GraftOptions(products=products), width=WIDE)
    data = make_data(train=600)
    # Features as the fit's, to the bit: 600 rows of layer 3 amplify the last ones.
    laid_out = (laid(x, "channels_last") for x in (data.x_train, data.x_test))
    data = data._replace(**dict(zip(("x_train", "x_test"), laid_out, strict=True)))
    nets = networks_of(tile)
    row = next(r for r in graft(tile, nets, data).grafts if (r["key"], r["layer"]) == ("none-0-1", layer))
    with torch.no_grad():
        fitted = fit(TileNets(tile, nets, Bottoms(tile, nets, data)), data.x_train, tile.options).fits[
            "none-0-1", Arm(layer - 1, "z", layer)
        ]
        inputs = LayerInput(
            nets[1].architecture.layers[layer - 1], nets[0].prefix(layer, data.x_test), products
        )
        predicted = channel_rows(inputs.predict(fitted.weight_DC, fitted.bias_C))
        expected, fvu_train, fvu_test = lstsq_graft(nets[0], nets[1], layer, data.x_train, data.x_test)
    assert np.abs(predicted.numpy() - expected).max() <= tolerance * np.abs(expected).max()
    assert row["fvu_train"] == pytest.approx(fvu_train, abs=1e-5)
    assert row["fvu_test"] == pytest.approx(fvu_test, abs=1e-5)


def test_grafting_a_net_into_itself_or_its_permutation_changes_nothing():
    data = make_data(train=600)
    rows = graft(make_tile(nulls=("self", "permuted")), networks_of(make_tile()), data)
    assert len(rows.grafts) == 2 * 2 * 2
    for row in rows.grafts:
        assert row["fvu_test"] < 1e-6
        assert row["fvu_train"] < 1e-6
        assert row["accuracy_drop"] == 0
    assert max(row["fvu_test"] for row in rows.downstream) < 1e-6


def test_permuting_channels_leaves_the_function_and_moves_the_features(data):
    network = initialise(make_net(entries=(1, 2, "pool", 2)))
    permuted = permute_channels(network, 7)
    torch.testing.assert_close(
        permuted.logits(data.x_test), network.logits(data.x_test), rtol=1e-5, atol=1e-5
    )
    before, after = (net.prefix(2, data.x_test) for net in (network, permuted))
    assert not torch.allclose(before, after)
    torch.testing.assert_close(before.sum(1), after.sum(1))


def test_shuffled_images_leave_nothing_to_find():
    data = make_data(train=1500, test=500)
    rows = graft(make_tile(nulls=("shuffled_images",)), networks_of(make_tile()), data).grafts
    assert len(rows) == 2 * 2
    assert all(row["fvu_test"] > 0.9 for row in rows)


def test_downstream_fvu_at_the_graft_layer_is_the_grafts_own(data):
    rows = graft(
        make_tile(entries=(1, "pool", 2, 2)), networks_of(make_tile(entries=(1, "pool", 2, 2))), data
    )
    own = {
        (row["key"], row["graft_layer"]): row["fvu_test"]
        for row in rows.downstream
        if row["layer"] == row["graft_layer"]
    }
    assert own == {(row["key"], row["layer"]): row["fvu_test"] for row in rows.grafts}
    later = [(row["graft_layer"], row["layer"]) for row in rows.downstream if row["key"] == "none-0-1"]
    assert sorted(later) == [(2, 2), (2, 3), (2, 4), (3, 3), (3, 4), (4, 4)]


def test_one_factorisation_of_a_source_serves_all_its_targets_and_its_shuffled_images(data, monkeypatch):
    calls = []
    monkeypatch.setattr(fit_module, "factorise", lambda moments: calls.append(moments) or factorise(moments))
    tile = make_tile(seeds=(0, 1, 2), nulls=("none", "self", "shuffled_images"))
    graft(tile, networks_of(tile), data)
    sources, layers = 3, 2
    assert len(calls) == sources * layers


def test_a_pairs_rows_do_not_depend_on_the_rest_of_its_tile(data):
    whole = make_tile(seeds=(0, 1, 2), nulls=("none", "shuffled_images", "self"))
    nets = networks_of(whole)
    together = {(row["key"], row["layer"]): row for row in graft(whole, nets, data).grafts}
    for pair in whole.pairs[:3] + whole.pairs[-2:]:
        alone = graft(GraftTile(whole.snapshots, (pair,), whole.options), nets, data).grafts
        assert [together[pair.key, row["layer"]] for row in alone] == alone


def test_wide_pairs_by_compiled_kernels_stand_alone_and_are_pytorchs_but_for_rounding(data):
    """Two convs of 32 channels, and shuffled images, which kernels take as far as positions allow."""
    net = {"width": WIDE, "entries": (1, "pool", 1, 2)}
    options = GraftOptions(ridges=(1e-4, 1e-2))
    whole = make_tile(seeds=(0, 1, 2), nulls=("none", "shuffled_images", "self"), options=options, **net)
    nets = networks_of(whole)
    made = graft(whole, nets, data)
    together = {(row["key"], row["layer"]): row for row in made.grafts}
    below = {(row["key"], row["graft_layer"], row["layer"]): row for row in made.downstream}
    for pair in (whole.pairs[1], whole.pairs[6], whole.pairs[-1]):
        alone = graft(GraftTile(whole.snapshots, (pair,), options), nets, data)
        assert [together[pair.key, row["layer"]] for row in alone.grafts] == alone.grafts
        named = [below[pair.key, row["graft_layer"], row["layer"]] for row in alone.downstream]
        assert named == alone.downstream
    with kernels("off"):
        plain = graft(whole, nets, data)
    for mine, theirs in ((made.grafts, plain.grafts), (made.downstream, plain.downstream)):
        found, expected = ([row["fvu_test"] for row in rows] for rows in (mine, theirs))
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert [r["ridge"] for r in made.grafts] == [r["ridge"] for r in plain.grafts]


def test_ridge_equals_the_solution_of_the_augmented_least_squares(data):
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(50, 6, generator=generator, dtype=torch.float64) + 2.0
    z = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    moments = PatchMoments(6)
    moments.add(LayerInput(Layer("dense", 3), u[:20], "float64"))
    moments.add(LayerInput(Layer("dense", 3), u[20:], "float64"))
    ridge = 0.3
    u_centred, z_centred = (u - u.mean(0)).numpy(), (z - z.mean(0)).numpy()
    penalty = np.sqrt(ridge * np.trace(u_centred.T @ u_centred) / 6) * np.eye(6)
    expected = np.linalg.lstsq(np.r_[u_centred, penalty], np.r_[z_centred, np.zeros((6, 3))], rcond=None)[0]
    found = factorise(moments).solve(torch.from_numpy(u_centred.T @ z_centred), ridge)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10)


def test_spectrum_of_a_known_gram():
    moments = PatchMoments(4)
    signs = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]], dtype=torch.float64)
    rows = torch.cat([signs, torch.zeros(4, 1), torch.full((4, 1), 5.0)], 1)
    moments.add(LayerInput(Layer("dense", 1), rows, "float64"))
    factor = factorise(moments)
    assert factor.effective_rank == pytest.approx(2.0)
    assert factor.condition_number == pytest.approx(1.0)


def test_dead_and_constant_channels_give_finite_scores_and_say_so(data):
    tile = make_tile(nulls=("none", "self", "shuffled_images"))
    nets = networks_of(tile)
    dead = dict(nets[0].parameters)
    dead["layers.1.bias"] = torch.full_like(dead["layers.1.bias"], -100.0)
    nets[0] = Network(nets[0].architecture, dead)
    rows = graft(tile, nets, data).grafts
    for row in rows:
        assert all(np.isfinite(value) for value in row.values() if isinstance(value, float)), row
    from_dead = [row for row in rows if row["source_seed"] == 0 and row["null"] == "none"]
    assert {row["warning"] for row in from_dead} == {"the source layer is constant"}
    assert all(row["fvu_train"] == pytest.approx(1.0) for row in from_dead)


def constant_target(network, layer, channels=None, value=0.37):
    """The net with some channels of one layer's map constant, by default all."""
    still = {name: tensor.clone() for name, tensor in network.parameters.items()}
    chosen = slice(None) if channels is None else channels
    still[f"layers.{layer}.weight"][chosen] = 0.0
    still[f"layers.{layer}.bias"][chosen] = value
    return Network(network.architecture, still)


@pytest.mark.parametrize("value", [0.0, 0.37, 1e4])
@pytest.mark.parametrize(
    "options", [GraftOptions(methods=("exact", "stitch")), GraftOptions(ridges=(0.0, 1e-3))]
)
def test_of_a_target_whose_channels_are_all_constant_no_error_is_said(data, options, value):
    tile = make_tile(nulls=("none", "self", "permuted", "shuffled_images"), options=options)
    nets = networks_of(tile)
    nets[1] = constant_target(nets[1], 2, value=value)
    made = graft(tile, nets, data)
    rows = [row for row in made.grafts if row["target_seed"] == 1 and row["layer"] == 2]
    assert {row["fvu_test"] for row in rows} == {row["fvu_channel_mean"] for row in rows} == {None}
    assert {row["fvu_train"] for row in rows if row["method"] == "exact"} == {None}
    assert all(row["warning"].endswith(CONSTANT_TARGET) for row in rows)
    assert {row["dead_channels"] for row in rows} == {nets[1].architecture.layers[1].out}
    below = [row for row in made.downstream if row["target_seed"] == 1 and row["layer"] == 2]
    assert {row["fvu_test"] for row in below} == {None}
    tried = [row for row in made.ridges if row["target_seed"] == 1 and row["layer"] == 2]
    assert {row["fvu_validation"] for row in tried} <= {None}
    others = [row for row in made.grafts if row not in rows]
    assert all(row["fvu_test"] is not None for row in others if row["target_seed"] == 0)
    for name in ("grafts", "downstream", "ridges"):
        assert table(name, getattr(made, name)).num_rows == len(getattr(made, name))


def test_one_constant_channel_among_others_changes_no_error_and_is_counted(data):
    """Its variance is 0, whatever its size, rather than the rounding of its mean's square."""
    tile = make_tile()
    nets = networks_of(tile)
    found = {}
    for value in (0.0, 0.37, 1e4):
        rows = graft(tile, [nets[0], constant_target(nets[1], 2, [0], value)], data).grafts
        found[value] = next(row for row in rows if (row["target_seed"], row["layer"]) == (1, 2))
        assert found[value]["dead_channels"] == 1
        assert found[value]["warning"] == ""
        for name in ("fvu_test", "fvu_train", "fvu_channel_mean"):
            assert found[value][name] == pytest.approx(found[0.0][name], rel=1e-6), (value, name)


def test_fewer_images_than_patch_dimensions_is_warned_of():
    small = make_data(train=12, test=12)
    rows = graft(make_tile(), networks_of(make_tile()), small).grafts
    assert all(row["warning"].startswith("few images: 12 < 2 x") for row in rows)
    assert all(np.isfinite(row["fvu_test"]) for row in rows)


def test_directions_that_no_fitting_image_shows_are_warned_of(data):
    tile = make_tile(nulls=("self",))
    nets = networks_of(tile)
    dead = {name: value.clone() for name, value in nets[0].parameters.items()}
    dead["layers.1.bias"][0] = -100.0
    rows = graft(tile, [Network(nets[0].architecture, dead), nets[1]], data).grafts
    row = next(row for row in rows if (row["source_seed"], row["layer"]) == (0, 2))
    assert row["warning"] == "9 of 27 patch directions (almost) do not occur in the fitting images"


@pytest.mark.parametrize("layer", [2, 3])
def test_permuted_positions_come_back_to_their_places(layer):
    z = torch.randn(70, 3, layer, 5)
    order = position_order(torch.arange(70), layer * 5)
    assert torch.equal(scatter_positions(gather_positions(z, order), order), z)
    assert not torch.equal(gather_positions(z, order), z)


def test_fvu_is_one_for_the_mean_and_zero_for_the_truth():
    z = torch.randn(200, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 10
    assert fraction_unexplained((z - z.mean(0)).square().mean(0), z.var(0, unbiased=False)) == pytest.approx(
        1.0
    )
    assert fraction_unexplained(torch.zeros(4), z.var(0)) == 0.0
    assert fraction_unexplained(torch.zeros(4), torch.zeros(4)) is None


@pytest.mark.parametrize("at_once", [(1, 1), (1, 0), (0, 1), (2, 2)], ids=str)
def test_how_a_tile_is_parted_changes_no_bit_and_factorises_nothing_twice(data, monkeypatch, at_once):
    net = {"entries": (1, "pool", 2, 2)}
    tile = make_tile(seeds=(0, 1, 2), nulls=("none", "shuffled_images", "permuted"), **net)
    nets = networks_of(tile)
    whole = graft(tile, nets, data)
    calls = []
    monkeypatch.setattr(fit_module, "factorise", lambda moments: calls.append(moments) or factorise(moments))
    parted = graft(tile, nets, data, AtOnce(*at_once))
    assert sorted(map(repr, parted.grafts)) == sorted(map(repr, whole.grafts))
    assert sorted(map(repr, parted.downstream)) == sorted(map(repr, whole.downstream))
    assert len(calls) == 3 * 3 * 2  # sources, layers, as they are and permuted


def test_a_graft_across_widths_equals_float64_lstsq_both_ways():
    nets = [make_net(seed=0, width=3), make_net(seed=1, width=8)]
    pairs = (Pair("up", 0, 1), Pair("down", 1, 0))
    tile = GraftTile(tuple(make_snapshot(net) for net in nets), pairs, GraftOptions())
    networks, data = networks_of(tile), make_data(train=600)
    rows = {(row["key"], row["layer"]): row for row in graft(tile, networks, data).grafts}
    assert {row["pairing"] for row in rows.values()} == {"cross_width"}
    for key, source, target in (("up", 0, 1), ("down", 1, 0)):
        for layer in (2, 3):
            with torch.no_grad():
                _, fvu_train, fvu_test = lstsq_graft(
                    networks[source], networks[target], layer, data.x_train, data.x_test
                )
            row = rows[key, layer]
            assert row["fvu_train"] == pytest.approx(fvu_train, abs=1e-6)
            assert row["fvu_test"] == pytest.approx(fvu_test, abs=1e-6)
            assert row["patch_dim"] == networks[source].parameters[f"layers.{layer}.weight"][0].numel()


def test_a_wider_source_that_holds_the_target_recovers_it_exactly():
    """The target's channels are some of the source's, so nothing of it is unexplained."""
    narrow, wide = make_net(seed=0, width=3), make_net(seed=1, width=5)
    target, source = alive(initialise(narrow)), alive(initialise(wide))
    kept = dict(source.parameters)
    for name in ("layers.1.weight", "layers.1.bias"):
        kept[name] = torch.cat([target.parameters[name], source.parameters[name][3:]])
    tile = GraftTile((make_snapshot(narrow), make_snapshot(wide)), (Pair("p", 1, 0),), GraftOptions())
    rows = graft(tile, [target, Network(source.architecture, kept)], make_data(train=600)).grafts
    row = next(row for row in rows if row["layer"] == 2)
    assert row["fvu_test"] < 1e-9
    assert row["accuracy_drop"] == 0


def numpy_pool(h, pool):
    """Max-pool by blocks, in numpy."""
    n, c, height, width = h.shape
    kept = h[:, :, : height // pool * pool, : width // pool * pool]
    return kept.reshape(n, c, height // pool, pool, width // pool, pool).max((3, 5))


def skipped_lstsq(source, target, layer, skip, pool, data):
    """FVU on fitting and held-out images of a skip graft, by float64 lstsq on numpy's patches."""
    description = target.architecture.layers[layer - 1]

    def rows(x):
        h = numpy_pool(source.prefix(layer - skip, x).numpy(), pool)
        z = target.layer(layer, target.prefix(layer, x)).numpy().astype(np.float64)
        if description.kind == "dense":
            return np.c_[h.reshape(len(h), -1), np.ones(len(h))], z
        u = numpy_patches(h, description.kernel, description.padding)
        u = u.reshape(-1, u.shape[-1])
        return np.c_[u, np.ones(len(u))], z.reshape(*z.shape[:2], -1).transpose(0, 2, 1).reshape(
            -1, z.shape[1]
        )

    with torch.no_grad():
        (u, z), (u_test, z_test) = rows(data.x_train), rows(data.x_test)
    weight = np.linalg.lstsq(u, z, rcond=None)[0]
    return [((a @ weight - b) ** 2).mean(0).sum() / b.var(0).sum() for a, b in ((u, z), (u_test, z_test))]


def test_skip_grafts_equal_float64_lstsq_on_the_pooled_map():
    """Convs of 1, 2 (pooled), 1 (pooled) and the classifier on 8x8: what is left out keeps its pools."""
    net = {"entries": (1, 2, "pool", 1, "pool"), "image": (2, 8, 8)}
    tile = make_tile(options=GraftOptions(skips=(1, 2, 3)), width=2, **net)
    networks, data = networks_of(tile), make_data(train=500, image=(2, 8, 8))
    rows = graft(tile, networks, data).grafts
    assert {row["pairing"] for row in rows} == {"skip"}
    found = {(row["skip"], row["layer"]): row for row in rows if row["key"] == "none-0-1"}
    pools = {(1, 3): 2, (1, 4): 2, (2, 4): 4}
    assert found.keys() == pools.keys()
    for (skip, layer), pool in pools.items():
        fvu_train, fvu_test = skipped_lstsq(*networks, layer, skip, pool, data)
        assert found[skip, layer]["fvu_train"] == pytest.approx(fvu_train, abs=1e-6)
        assert found[skip, layer]["fvu_test"] == pytest.approx(fvu_test, abs=1e-6)


def test_what_is_not_a_number_is_never_a_perfect_fit():
    assert np.isnan(fraction_unexplained(torch.tensor([torch.nan]), torch.ones(1)))
    assert fraction_unexplained(torch.tensor([-1e-12]), torch.ones(1)) == 0.0
