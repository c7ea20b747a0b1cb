"""Grafts of every family: where they are defined, that they are exact, and whose BN statistics they use."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from espalier.tasks.grafting.fit import arm_output, fit
from espalier.tasks.grafting.graft import graft
from espalier.tasks.grafting.grafted_net import Joiner, tops
from espalier.tasks.grafting.layer_input import LayerInput, channel_rows
from espalier.tasks.grafting.tile_nets import Bottoms, TileNets
from espalier.tasks.networks.cuts import Arm, all_arms, arm_map, crossing, cuts, is_plain, reading
from espalier.tasks.spec import GraftOptions, GraftTile, Pair
from tests.tasks.conftest import make_data, make_snapshot
from tests.tasks.families import ARCHITECTURES, family_net, lively

IMAGES = {"vgg16-bn": 600, "vgg19": 900, "resnet18": 500}
RESIDUAL = ["resnet18", "resnet20"]


def data_of(name, train=None, test=60):
    return make_data(train=train or IMAGES.get(name, 400), test=test, image=ARCHITECTURES[name].input)


def tile_of(name, pairs, **options):
    """A tile of nets of seeds 0 and 1 and its `lively` networks; pairs are (source, target, null)."""
    nets = [family_net(name, seed) for seed in (0, 1)]
    plain = tuple(Pair(f"{null}-{a}-{b}", a, b, null) for a, b, null in pairs)
    options = GraftOptions(**{"products": "float64"} | options)
    return GraftTile(tuple(make_snapshot(net) for net in nets), plain, options), [lively(net) for net in nets]


def test_the_cuts_of_a_residual_net():
    net = ARCHITECTURES["resnet20"]
    assert crossing(net, 3) == [2, 1]
    assert crossing(net, 4) == [3]
    exact = {cut.layer: cut.arms for cut in cuts(net)}
    assert sorted(exact) == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    assert exact[4] == (Arm(3, "z", 4), Arm(3, "h", 3))
    assert exact[8] == (Arm(7, "z", 8), Arm(7, "shortcut", 9))
    assert exact[20] == (Arm(19, "z", 20),)
    both = [(cut.layer, cut.method) for cut in cuts(net, ("exact", "stitch"))]
    assert both[:4] == [(2, "exact"), (2, "stitch"), (3, "stitch"), (4, "exact")]
    assert next(cut for cut in cuts(net, ("stitch",)) if cut.layer == 3).arms == (
        Arm(2, "h", 2),
        Arm(1, "h", 1),
    )


@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) - set(RESIDUAL)))
def test_without_shortcuts_every_cut_is_plain_and_its_arm_is_the_layer(name):
    net = ARCHITECTURES[name]
    assert [cut.arms for cut in cuts(net)] == [
        (Arm(layer - 1, "z", layer),) for layer in range(2, net.depth + 1)
    ]


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("null", ["self", "permuted"])
def test_grafting_a_net_into_itself_or_its_permutation_changes_nothing(name, null):
    tile, networks = tile_of(name, [(0, 0, null)], methods=("exact", "stitch"), statistics=("target",))
    rows = graft(tile, networks, data_of(name))
    architecture = ARCHITECTURES[name]
    exact = [layer for layer in range(2, architecture.depth + 1) if is_plain(architecture, layer)]
    assert [row["layer"] for row in rows.grafts if row["method"] == "exact"] == exact
    assert [row["layer"] for row in rows.grafts if row["method"] == "stitch"] == list(
        range(2, architecture.depth + 1)
    )
    for row in rows.grafts:
        assert row["fvu_test"] < 1e-6, row
        assert row["accuracy_drop"] == 0
        assert row["fvu_train"] is None if row["method"] == "stitch" else row["fvu_train"] < 1e-6
    assert max(row["fvu_test"] for row in rows.downstream) < 1e-6


@pytest.mark.parametrize("name", ["conv-bn", "resnet20"])
def test_float32_products_keep_the_floor(name):
    tile, networks = tile_of(name, [(0, 0, "self")], products="float32", methods=("exact", "stitch"))
    rows = graft(tile, networks, data_of(name)).grafts
    assert max(row["fvu_test"] for row in rows) < 1e-6


def numpy_rows(layer, h):
    """What a map reads, (M, D), by numpy's sliding windows, apart from the code under test."""
    h = h.double().numpy()
    if layer.kind == "dense":
        return h.reshape(len(h), -1)
    edge = (layer.padding, layer.padding)
    windows = sliding_window_view(np.pad(h, ((0, 0), (0, 0), edge, edge)), (layer.kernel,) * 2, axis=(2, 3))
    windows = windows[:, :, :: layer.stride, :: layer.stride].transpose(0, 2, 3, 1, 4, 5)
    return windows.reshape(-1, windows.shape[3] * layer.kernel**2)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_arm_of_a_graft_equals_float64_lstsq_on_independent_patches(name):
    """Where the fitting images show every direction: elsewhere rounding decides what is fitted.

    The dense layers of these narrow VGGs, say, read 64 units that span some 40 directions.
    """
    tile, networks = tile_of(name, [(0, 1, "none")], methods=("exact", "stitch"))
    data = data_of(name)
    tile_nets = TileNets(tile, networks, Bottoms(tile, networks, data))
    with torch.no_grad():
        fits = fit(tile_nets, data.x_train, tile.options)
        (source, target), (held_source, _) = (
            [list(net.features(x)) for net in networks] for x in (data.x_train, data.x_test)
        )
    determined = 0
    for arm in all_arms(tile_nets.cuts):
        layer, fitted = arm_map(tile_nets.frame, arm), fits.fits["none-0-1", arm]
        u, u_held = (
            np.insert(numpy_rows(layer, side[arm.reads].h_in), 0, 1.0, axis=1)
            for side in (source, held_source)
        )
        z = channel_rows(arm_output(arm, target)).numpy()
        weight = np.linalg.lstsq(u, z, rcond=None)[0]
        error = ((u @ weight - z) ** 2).mean(0).sum() / z.var(0).sum()
        factor = next(f for (_, read), f in fits.factors.items() if read == reading(tile_nets.frame, arm))
        if len(factor.values_K) == factor.dim and factor.condition_number < 1e10:
            determined += 1
            assert fitted.fvu_train == pytest.approx(error, abs=1e-6), arm
            expected = u_held @ weight
            inputs = LayerInput(layer, held_source[arm.reads].h_in, "float64")
            found = channel_rows(inputs.predict(fitted.weight_DC, fitted.bias_C)).numpy()
            assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max(), arm
    assert determined > 0.6 * len(tile_nets.arms), [f.condition_number for f in fits.factors.values()]


def test_arms_of_one_reading_share_a_factorisation():
    tile, networks = tile_of("resnet20", [(0, 1, "none")], methods=("exact", "stitch"))
    tile_nets = TileNets(tile, networks, Bottoms(tile, networks, data_of("resnet20")))
    with torch.no_grad():
        fits = fit(tile_nets, data_of("resnet20", train=60).x_train, tile.options)
    assert len(fits.fits) == len(tile_nets.arms)
    assert len(fits.factors) == len({reading(tile_nets.frame, arm) for arm in all_arms(tile_nets.cuts)})


def test_the_joint_of_an_exact_graft_is_what_the_target_would_have_given():
    """A net grafted into itself at a block's boundary: layer, projection and identity alike."""
    tile, networks = tile_of("resnet20", [(1, 1, "self")])
    data = data_of("resnet20")
    tile_nets = TileNets(tile, networks, Bottoms(tile, networks, data))
    with torch.no_grad():
        fits = fit(tile_nets, data.x_train, tile.options)
        batch = next(tile_nets.batches(20, "test"))
        joiner = Joiner(tile_nets, fits, tile_nets.source_features(data.x_test, batch), batch)
        own = {entry.layer: entry for entry in networks[1].features(data.x_test[:20])}
        for source, pair, cut in tile_nets.grafts():
            joint = joiner.joint(source, pair, cut)
            torch.testing.assert_close(joint.z.float(), own[cut.layer].z, rtol=1e-4, atol=1e-4)
            assert joint.shortcuts.keys() == own[cut.layer].shortcuts.keys()
            for number, given in joint.shortcuts.items():
                torch.testing.assert_close(given, own[cut.layer].shortcuts[number], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "last"), [("conv-bn", 2), ("vgg16-bn", 13), ("resnet20", 19)])
def test_rows_say_whose_statistics_they_use(name, last):
    tile, networks = tile_of(name, [(0, 1, "none")], methods=("exact", "stitch"))
    rows = graft(tile, networks, data_of(name, train=80)).grafts
    found = {(row["layer"], row["method"]): set() for row in rows}
    for row in rows:
        found[row["layer"], row["method"]].add(row["bn"])
    for (layer, _), statistics in found.items():
        assert statistics == ({"target", "reestimated"} if layer <= last else {"none"}), layer
    assert len(rows) == len({(row["layer"], row["method"], row["bn"]) for row in rows})


def test_statistics_change_what_follows_and_not_the_fit():
    tile, networks = tile_of("conv-bn", [(0, 1, "none")])
    rows = {row["bn"]: row for row in graft(tile, networks, data_of("conv-bn")).grafts if row["layer"] == 2}
    one, other = rows["target"], rows["reestimated"]
    for name in ("fvu_train", "fvu_test", "fvu_channel_mean", "patch_dim", "target_accuracy_test"):
        assert one[name] == other[name], name
    assert one["loss_test"] != other["loss_test"]


def test_without_bn_the_choice_of_statistics_changes_no_row():
    data = data_of("dense")
    rows = [
        graft(*tile_of("dense", [(0, 1, "none")], statistics=chosen), data).grafts
        for chosen in (("target",), ("target", "reestimated"))
    ]
    assert rows[0] == rows[1]
    assert {row["bn"] for row in rows[0]} == {"none"}


def tops_of(name, networks, layer):
    """The cut of a self-graft at a layer and the target with re-estimated statistics."""
    tile, _ = tile_of(name, [(1, 1, "self")])
    data = data_of(name)
    tile_nets = TileNets(tile, networks, Bottoms(tile, networks, data))
    with torch.no_grad():
        found = tops(tile_nets, fit(tile_nets, data.x_train, tile.options), data.x_train)
    cut = next(cut for cut in tile_nets.cuts if cut.layer == layer)
    return found["self-1-1", cut, "reestimated"].network


@pytest.mark.parametrize(("name", "layer"), [("conv-bn", 2), ("vgg16-bn", 5), ("resnet20", 8)])
def test_re_estimating_again_changes_nothing(name, layer):
    """Grafted into itself, a net whose statistics were re-estimated gets the same ones."""
    networks = tile_of(name, [])[1]
    once = tops_of(name, networks, layer)
    assert not torch.allclose(
        once.parameters[f"layers.{layer}.bn.running_mean"],
        networks[1].parameters[f"layers.{layer}.bn.running_mean"],
    )
    twice = tops_of(name, [networks[0], once], layer)
    for tensor, value in once.parameters.items():
        torch.testing.assert_close(twice.parameters[tensor], value, rtol=1e-4, atol=1e-5, msg=tensor)


def test_re_estimated_statistics_are_the_moments_over_all_training_images():
    networks = tile_of("conv-bn", [])[1]
    data = data_of("conv-bn")
    top = tops_of("conv-bn", networks, 2)
    with torch.no_grad():
        z_MC = channel_rows(networks[1].layer(2, networks[1].prefix(2, data.x_train)))
    found = {part: top.parameters[f"layers.2.bn.running_{part}"].double() for part in ("mean", "var")}
    torch.testing.assert_close(found["mean"], z_MC.mean(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found["var"], z_MC.var(0), rtol=1e-5, atol=1e-5)
    below = networks[1].parameters["layers.1.bn.running_mean"]
    assert torch.equal(top.parameters["layers.1.bn.running_mean"], below)


def test_shuffled_images_leave_nothing_to_find_at_a_block():
    tile, networks = tile_of("resnet20", [(0, 1, "shuffled_images")], methods=("exact", "stitch"))
    rows = graft(tile, networks, data_of("resnet20", train=1200, test=300)).grafts
    early = [row for row in rows if row["layer"] <= 6]
    assert len(early) == 2 * (3 + 5)
    assert all(row["fvu_test"] > 0.9 for row in early if row["method"] == "exact")


def test_a_pairs_rows_do_not_depend_on_the_rest_of_its_tile():
    pairs = [(0, 1, "none"), (1, 0, "none"), (1, 1, "self")]
    tile, networks = tile_of("resnet20", pairs)
    data = data_of("resnet20", train=80)
    together = graft(tile, networks, data).grafts
    for pair in tile.pairs:
        alone = graft(replace(tile, pairs=(pair,)), networks, data).grafts
        assert [row for row in together if row["key"] == pair.key] == alone
