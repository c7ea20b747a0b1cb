"""Adam as in Gu et al. 2020: its start, its step, and the exact fit that it can only approach."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from espalier.tasks.grafting.adam import AdamMap, drawn, initial_weight, rates
from espalier.tasks.grafting.fit import fit
from espalier.tasks.grafting.graft import graft
from espalier.tasks.grafting.nulls.shuffled_images import position_order
from espalier.tasks.grafting.tile_nets import Bottoms, TileNets, gather_positions
from espalier.tasks.networks.cuts import ADAM_BATCH, Arm
from espalier.tasks.networks.network import Network, initialise, linear
from espalier.tasks.spec import GraftOptions, GraftTile, Layer, Pair
from tests.tasks.conftest import make_data, make_snapshot
from tests.tasks.families import ARCHITECTURES, family_net, lively
from tests.tasks.grafting.test_graft import make_tile, networks_of

SHORT = GraftOptions(methods=("exact", "adam"), adam_epochs=2, adam_batches=3)
MAPS = [Layer("conv", 4, kernel=3, padding=1), Layer("conv", 4, stride=2), Layer("dense", 4)]


def by_method(rows):
    """Rows by method and then by (key, layer, bn)."""
    return {
        method: {(row["key"], row["layer"], row["bn"]): row for row in rows if row["method"] == method}
        for method in ("exact", "adam")
    }


@pytest.mark.parametrize("null", ["none", "shuffled_images"])
def test_adams_error_falls_with_the_schedule_and_never_below_the_exact_one(data, null):
    tile, found = make_tile(nulls=(null,)), []
    nets = [initialise(snapshot.net) for snapshot in tile.snapshots]
    for batches in (2, 10, 50, 250):
        options = replace(SHORT, adam_lr=1e-2, adam_epochs=3, adam_batches=batches)
        rows = by_method(graft(replace(tile, pairs=tile.pairs[:1], options=options), nets, data).grafts)
        exact = np.array([rows["exact"][place]["fvu_train"] for place in rows["exact"]])
        adam = np.array([rows["adam"][place]["fvu_train"] for place in rows["exact"]])
        assert len(adam) == 2
        assert (adam >= exact - 1e-6).all()
        found.append(adam - exact)
    assert (np.diff(found, axis=0) < 0).all(), found
    assert (found[-1] < found[0] / 8).all(), found


def test_the_error_on_the_fitting_images_is_that_of_a_forward_pass(data):
    tile = make_tile(options=SHORT)
    nets = networks_of(tile)
    with torch.no_grad():
        fits = fit(TileNets(tile, nets, Bottoms(tile, nets, data)), data.x_train, SHORT).adam
        for layer in (2, 3):
            fitted, description = fits["none-0-1", Arm(layer - 1, "z", layer)], nets[1].architecture.layers
            weight = nets[1].parameters[f"layers.{layer}.weight"]
            given = linear(
                description[layer - 1],
                nets[0].prefix(layer, data.x_train).double(),
                fitted.weight_DC.T.reshape(weight.shape),
                fitted.bias_C,
            )
            z = nets[1].layer(layer, nets[1].prefix(layer, data.x_train)).double()
            over = [axis for axis in range(z.dim()) if axis != 1]
            expected = (given - z).square().mean(over).sum() / z.var(over, unbiased=False).sum()
            assert fitted.fvu_train == pytest.approx(expected.item(), rel=1e-6)


def test_initial_weights_are_he_normal_and_biases_0():
    weight = initial_weight((300, 20, 3, 3), "a", 1)
    assert weight.mean().item() == pytest.approx(0, abs=3 * (2 / 180 / weight.numel()) ** 0.5)
    assert weight.var().item() == pytest.approx(2 / 180, rel=3 * (2 / weight.numel()) ** 0.5)
    standard = weight.flatten() / weight.std()
    assert standard.pow(4).mean().item() == pytest.approx(3, abs=0.1)
    assert not torch.equal(weight, initial_weight((300, 20, 3, 3), "a", 2))
    assert torch.equal(AdamMap(Layer("conv", 300, 3), weight).bias, torch.zeros(300))


@pytest.mark.parametrize("layer", MAPS, ids=["3x3", "strided", "dense"])
def test_steps_are_those_of_pytorchs_adam_on_the_same_batches(layer):
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(2, 8, 3, 5, 5, generator=generator)
    shape = (4, 75) if layer.kind == "dense" else (4, 3, layer.kernel, layer.kernel)
    theirs = [torch.randn(shape, generator=generator).requires_grad_(), torch.zeros(4).requires_grad_()]
    ours = AdamMap(layer, theirs[0].detach().clone())
    optimizer = torch.optim.Adam(theirs, lr=1e-3)
    for batch in h:
        z = torch.randn_like(linear(layer, batch, *theirs).detach())
        optimizer.zero_grad()
        (5 * F.mse_loss(linear(layer, batch, *theirs), z)).backward()
        optimizer.step()
        with torch.no_grad():
            ours.step(batch, z, 1e-3)
        torch.testing.assert_close([ours.weight, ours.bias], [value.detach() for value in theirs])


@pytest.mark.parametrize("null", ["none", "shuffled_images"])
def test_a_graft_of_one_step_is_pytorchs_step_from_the_named_weight_on_the_drawn_batch(data, null):
    options = replace(SHORT, adam_epochs=1, adam_batches=1, adam_lr=1e-2)
    tile = make_tile(nulls=(null,), options=options)
    nets = networks_of(tile)
    tile_nets = TileNets(tile, nets, Bottoms(tile, nets, data))
    with torch.no_grad():
        found = fit(tile_nets, data.x_train, options).adam[f"{null}-0-1", Arm(1, "z", 2)]
        (chosen,) = drawn(len(data.x_train), options)
        (batch,) = tile_nets.drawn_batches([chosen], len(data.x_train), "train")
        assert len(chosen) == ADAM_BATCH
        assert torch.equal(batch.plain_N, chosen)
        images = batch.plain_N if null == "none" else batch.permuted[null]
        h = nets[0].prefix(2, data.x_train[images])
        z = nets[1].layer(2, nets[1].prefix(2, data.x_train[chosen]))
        if null == "shuffled_images":
            z = gather_positions(z, position_order(chosen, z[0, 0].numel()))
    keys = [snapshot.key for snapshot in tile.snapshots]
    weight = initial_weight(nets[1].parameters["layers.2.weight"].shape, *keys, null, 1, "z", 2)
    values = [weight.requires_grad_(), torch.zeros(len(weight)).requires_grad_()]
    optimizer = torch.optim.Adam(values, lr=1e-2)
    (5 * F.mse_loss(linear(nets[1].architecture.layers[1], h, *values), z)).backward()
    optimizer.step()
    torch.testing.assert_close(found.weight_DC.T.float(), values[0].detach().flatten(1))
    torch.testing.assert_close(found.bias_C.float(), values[1].detach())


def test_every_epoch_is_so_many_batches_and_shows_all_images_before_one_again():
    options = replace(SHORT, adam_epochs=2, adam_batches=5)
    batches = list(drawn(100, options))
    assert [len(batch) for batch in batches] == [ADAM_BATCH] * 10
    first, second = torch.cat(batches[:5]), torch.cat(batches[5:])
    for start in (0, 100, 200):
        assert sorted(first[start : start + 100].tolist()) == list(range(100))
    assert not torch.equal(first, second)
    assert len(list(rates(options))) == 10
    assert max(rates(options)) == list(rates(options))[4] == options.adam_lr


def test_a_pairs_rows_do_not_depend_on_the_rest_of_its_tile(data):
    whole = make_tile(seeds=(0, 1, 2), nulls=("none", "shuffled_images", "self"), options=SHORT)
    nets = networks_of(whole)
    together = graft(whole, nets, data)
    for pair in (whole.pairs[1], whole.pairs[8], whole.pairs[-1]):
        alone = graft(GraftTile(whole.snapshots, (pair,), SHORT), nets, data)
        assert [row for row in together.grafts if row["key"] == pair.key] == alone.grafts
        assert [row for row in together.downstream if row["key"] == pair.key] == alone.downstream


def test_dead_and_constant_channels_give_finite_scores(data):
    tile = make_tile(nulls=("none", "self", "shuffled_images"), options=SHORT)
    nets = networks_of(tile)
    dead = dict(nets[0].parameters)
    dead["layers.1.bias"] = torch.full_like(dead["layers.1.bias"], -100.0)
    nets[0] = Network(nets[0].architecture, dead)
    for row in graft(tile, nets, data).grafts:
        assert all(np.isfinite(value) for value in row.values() if isinstance(value, float)), row


@pytest.mark.parametrize("name", ["conv-bn", "resnet20"])
def test_rows_of_adam_stand_beside_those_of_the_exact_graft(name):
    """The same cuts, arms and choices of BN statistics; sizes and spectrum are those of the same patches."""
    nets = [family_net(name, seed) for seed in (0, 1)]
    tile = GraftTile(tuple(make_snapshot(net) for net in nets), (Pair("a", 0, 1),), SHORT)
    data = make_data(train=80, test=40, image=ARCHITECTURES[name].input)
    made = graft(tile, [lively(net) for net in nets], data)
    rows = by_method(made.grafts)
    assert rows["adam"].keys() == rows["exact"].keys()
    assert len(rows["adam"]) == len(made.grafts) / 2
    for place, row in rows["adam"].items():
        exact = rows["exact"][place]
        for column in ("patch_dim", "effective_rank", "condition_number", "rows", "images_train"):
            assert row[column] == exact[column], column
        assert row["ridge"] is None
        assert row["products"] == "float32"
        assert row["fvu_test"] > exact["fvu_test"] - 0.2
    alone = graft(replace(tile, options=replace(SHORT, methods=("adam",))), [lively(n) for n in nets], data)
    assert alone.grafts == [row for row in made.grafts if row["method"] == "adam"]
    assert {row["method"] for row in made.downstream} == {"exact", "adam"}


def test_adam_leaves_the_exact_rows_as_they_are(data):
    tile = make_tile()
    nets = [initialise(snapshot.net) for snapshot in tile.snapshots]
    rows = graft(replace(tile, options=SHORT), nets, data).grafts
    assert [row for row in rows if row["method"] == "exact"] == graft(tile, nets, data).grafts
