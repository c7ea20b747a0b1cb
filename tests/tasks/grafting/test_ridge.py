"""The ridge path: every ridge as if it were alone, the choice as an independent forward pass finds it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from espalier.tasks.grafting.fit import arm_output, fit
from espalier.tasks.grafting.graft import graft
from espalier.tasks.grafting.solve import split
from espalier.tasks.grafting.tile_nets import Bottoms, TileNets
from espalier.tasks.networks.cuts import arm_map, cuts
from espalier.tasks.networks.network import initialise
from espalier.tasks.spec import GraftOptions, GraftTile, Pair
from espalier.tasks.tables.rows import table
from espalier.tasks.tables.schemas import SCHEMAS
from tests.tasks.conftest import make_data, make_snapshot
from tests.tasks.families import ARCHITECTURES, family_net, lively
from tests.tasks.grafting.test_graft import make_tile
from tests.tasks.networks.test_cuts import numpy_rows

RIDGES = (0.0, 1e-3, 0.1, 1.0, 30.0)
PATH = GraftOptions(ridges=RIDGES, validation=0.3)
# Few images and many patch dimensions, so that neither no ridge nor the largest is best everywhere.
FEW = make_data(train=20, test=40)


def path_tile(nulls=("none", "shuffled_images", "permuted"), **options):
    return make_tile(nulls=nulls, options=replace(PATH, **options), width=4)


def plain_nets(tile):
    return [initialise(snapshot.net) for snapshot in tile.snapshots]


def subset_of(data, options=PATH):
    """The same data with the fitting images alone as training images."""
    fitting, _ = split(len(data.x_train), options)
    return data._replace(x_train=data.x_train[fitting], y_train=data.y_train[fitting])


def test_the_path_has_the_errors_of_separate_solves_and_its_rows_are_those_of_the_chosen_one():
    tile = path_tile()
    nets = plain_nets(tile)
    made = graft(tile, nets, FEW)
    alone = {
        ridge: graft(replace(tile, options=GraftOptions(ridge=ridge)), nets, subset_of(FEW))
        for ridge in RIDGES
    }
    rows = {ridge: {(row["key"], row["layer"]): row for row in one.grafts} for ridge, one in alone.items()}
    for trial in made.ridges:
        separate = rows[trial["ridge"]][trial["key"], trial["layer"]]["fvu_train"]
        assert trial["fvu_train"] == pytest.approx(separate, rel=1e-9, abs=1e-12)
    chosen = {(t["key"], t["layer"]): t["ridge"] for t in made.ridges if t["chosen"]}
    assert len(chosen) == len(made.grafts)
    assert len(set(chosen.values())) > 2, "the choice differs between maps, so that the test says something"
    for row in made.grafts:
        assert_alike(row, rows[chosen[row["key"], row["layer"]]][row["key"], row["layer"]])
        assert row["images_train"] == 14
    downstream = {(row["key"], row["graft_layer"], row["layer"]): row for row in made.downstream}
    for ridge, one in alone.items():
        for row in one.downstream:
            if chosen[row["key"], row["graft_layer"]] == ridge:
                assert_alike(downstream[row["key"], row["graft_layer"], row["layer"]], row)


def assert_alike(row, other):
    """Equal up to the last bits: the solutions of several ridges come of one product."""
    assert row.keys() == other.keys()
    for name, value in row.items():
        wanted = other[name]
        assert value == (pytest.approx(wanted, rel=1e-6, abs=1e-9) if isinstance(wanted, float) else wanted)


def numpy_errors(nets, arm, data, ridges):
    """FVU on the held-back images of each ridge, by lstsq in float64 and a forward pass."""
    fitting, held = split(len(data.x_train), PATH)
    layer = arm_map(nets[1].architecture, arm)

    def rows(images):
        source, target = (list(net.features(data.x_train[images])) for net in nets)
        z = arm_output(arm, target).double().numpy()
        z = z.reshape(*z.shape[:2], -1).transpose(0, 2, 1).reshape(-1, z.shape[1])
        return numpy_rows(layer, source[arm.reads].h_in), z

    (u, z), (u_held, z_held) = rows(fitting), rows(held)
    u_mean, z_mean = u.mean(0), z.mean(0)
    values, vectors = np.linalg.eigh((u - u_mean).T @ (u - u_mean))
    errors = []
    for ridge in ridges:
        shifted = values + ridge * values.sum() / len(values)
        inverse = np.where(values > 1e-12 * values[-1], 1 / np.maximum(shifted, 1e-300), 0.0)
        weight = (vectors * inverse) @ vectors.T @ (u - u_mean).T @ (z - z_mean)
        error = ((u_held - u_mean) @ weight + z_mean - z_held) ** 2
        errors.append(error.mean(0).sum() / z_held.var(0).sum())
    return errors


@pytest.mark.parametrize(
    ("name", "images"), [("conv-bn", 12), ("resnet20", 14), ("dense", 24)], ids=["conv", "resnet", "dense"]
)
def test_the_choice_has_the_least_error_of_a_forward_pass_over_the_held_back_images(name, images):
    specs = [family_net(name, seed) for seed in (0, 1)]
    options = replace(PATH, methods=("exact", "stitch"), products="float64")
    tile = GraftTile(tuple(make_snapshot(net) for net in specs), (Pair("a", 0, 1),), options)
    nets = [lively(net) for net in specs]
    data = make_data(train=images, test=8, image=ARCHITECTURES[name].input)
    with torch.no_grad():
        fits = fit(TileNets(tile, nets, Bottoms(tile, nets, data)), data.x_train, options)
        arms = {arm for cut in cuts(ARCHITECTURES[name], options.methods) for arm in cut.arms}
        assert fits.trials.keys() == {("a", arm) for arm in arms}
        chosen = set()
        for arm in arms:
            expected = numpy_errors(nets, arm, data, RIDGES)
            trials = fits.trials["a", arm]
            # Without a ridge few images leave the map ill conditioned: rounding moves its error.
            assert [trial.fvu_validation for trial in trials[1:]] == pytest.approx(expected[1:], rel=1e-5)
            assert [trial.chosen for trial in trials] == [error == min(expected) for error in expected]
            assert fits.fits["a", arm].ridge == RIDGES[int(np.argmin(expected))]
            chosen.add(fits.fits["a", arm].ridge)
    assert len(chosen) > 1


def test_test_images_have_no_part_in_the_choice():
    tile = path_tile()
    nets = plain_nets(tile)
    other = make_data(train=20, test=40, seed=9)
    moved = FEW._replace(x_test=3 * other.x_test - 1, y_test=other.y_test)
    one, two = graft(tile, nets, FEW), graft(tile, nets, moved)
    assert one.ridges == two.ridges
    assert [row["ridge"] for row in one.grafts] == [row["ridge"] for row in two.grafts]
    assert [row["fvu_test"] for row in one.grafts] != [row["fvu_test"] for row in two.grafts]


def test_what_was_held_back_changes_the_choice_and_not_the_errors_on_fitting_images():
    tile = path_tile(nulls=("none",))
    nets = plain_nets(tile)
    _, held = split(len(FEW.x_train), PATH)
    x_train = FEW.x_train.clone()
    x_train[held] = torch.randn(x_train[held].shape, generator=torch.Generator().manual_seed(1))
    one, two = graft(tile, nets, FEW).ridges, graft(tile, nets, FEW._replace(x_train=x_train)).ridges
    assert [row["fvu_train"] for row in one] == [row["fvu_train"] for row in two]
    assert [row["fvu_validation"] for row in one] != [row["fvu_validation"] for row in two]


def test_the_path_is_a_table_of_its_own_and_adam_has_no_rows_there():
    tile = path_tile(nulls=("none",), methods=("exact", "stitch", "adam"), adam_epochs=1, adam_batches=2)
    made = graft(tile, plain_nets(tile), FEW)
    rows = table("ridges", made.ridges)
    assert rows.schema == SCHEMAS["ridges"]
    maps, layers = 2 * 2, 2  # ordered pairs, and the methods exact and stitch
    assert rows.num_rows == maps * layers * len(RIDGES)
    assert {row["method"] for row in made.ridges} == {"exact", "stitch"}
    assert {row["images_validation"] for row in made.ridges} == {6}
    assert {(row["method"], row["images_train"]) for row in made.grafts} == {
        ("exact", 14), ("stitch", 14), ("adam", 14),
    }  # fmt: skip
    exact = {(r["key"], r["layer"]): r for r in made.ridges if r["chosen"] and r["method"] == "exact"}
    for row in made.grafts:
        if row["method"] == "exact":
            tried = exact[row["key"], row["layer"]]
            assert (tried["ridge"], tried["fvu_train"]) == (row["ridge"], row["fvu_train"])
    without = graft(replace(tile, options=GraftOptions()), plain_nets(tile), FEW)
    assert without.ridges == []


def test_a_pairs_path_does_not_depend_on_the_rest_of_its_tile():
    whole = path_tile()
    nets = plain_nets(whole)
    together = graft(whole, nets, FEW).ridges
    for pair in (whole.pairs[0], whole.pairs[3], whole.pairs[-1]):
        alone = graft(replace(whole, pairs=(pair,)), nets, FEW).ridges
        assert [row for row in together if row["key"] == pair.key] == alone


@pytest.mark.parametrize(("images", "share", "held"), [(10, 0.2, 2), (7, 0.5, 4), (1000, 0.001, 1)])
def test_a_split_parts_the_images_in_a_fixed_random_way(images, share, held):
    options = GraftOptions(ridges=(0.0,), validation=share)
    fitting, validation = split(images, options)
    assert len(validation) == held == options.validation_images(images)
    assert sorted([*fitting.tolist(), *validation.tolist()]) == list(range(images))
    assert fitting.tolist() == sorted(fitting.tolist())
    assert torch.equal(split(images, options)[1], validation)
    if images == 1000:
        assert validation.tolist() != [0]


def test_without_ridges_all_images_are_fitted_on():
    fitting, validation = split(9, GraftOptions(validation=0.5))
    assert fitting.tolist() == list(range(9))
    assert len(validation) == 0


@pytest.mark.parametrize(("images", "share"), [(3, 0.1), (1, 0.5), (2, 0.9)])
def test_a_split_that_leaves_a_part_empty_is_refused(images, share):
    with pytest.raises(ValueError, match=rf"validation = {share} of {images} images .* both parts need some"):
        split(images, GraftOptions(ridges=(0.0,), validation=share))


def test_a_constant_source_takes_the_first_ridge():
    tile = path_tile(nulls=("none",))
    nets = plain_nets(tile)
    dead = nets[0].parameters | {"layers.1.bias": torch.full((4,), -100.0)}
    made = graft(tile, [replace(nets[0], parameters=dead), nets[1]], FEW)
    rows = [row for row in made.ridges if row["source_seed"] == 0 and row["layer"] == 2]
    assert [row["chosen"] for row in rows] == [True, False, False, False, False]
    assert all(np.isfinite(row["fvu_validation"]) for row in rows)
