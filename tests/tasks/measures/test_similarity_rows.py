"""Rows of comparisons: what a permuted copy must give, and that no row depends on who shares its job."""

import dataclasses

import pytest
import torch

from espalier.orchestrator.planning.kinds.registry import know_tables
from espalier.tasks.measures.known_measures import MEASURES
from espalier.tasks.measures.similarity_rows import features, similarities
from espalier.tasks.measures.streamed_layers import chosen, layers_of
from espalier.tasks.networks.network import Network, initialise, permute_channels
from espalier.tasks.spec import Comparison, SimilarityTile
from espalier.tasks.tables.rows import table
from espalier.tasks.tables.similarity_columns import FEATURES, SIMILARITY
from tests.tasks.conftest import make_data, make_net, make_snapshot
from tests.tasks.families import ARCHITECTURES, family_net

IMAGES = 48

know_tables()


def nets_of(count, **net):
    specs = [make_net(seed=seed, **net) for seed in range(count)]
    return tuple(make_snapshot(spec) for spec in specs), [initialise(spec) for spec in specs]


def tile_of(snapshots, pairs, measures=MEASURES, images=IMAGES):
    keys = {pair: {name: f"{name}-{pair[0]}-{pair[1]}" for name in measures} for pair in pairs}
    made = tuple(Comparison(*pair, named) for pair, named in keys.items())
    return SimilarityTile(snapshots, made, images, permutations=19)


def by_place(rows):
    return {(row["measure"], row["layer"], row["key"]): row for row in rows}


def test_a_permuted_copy_is_the_same_net_to_every_measure_of_channels_and_of_images():
    snapshots, (network, _) = nets_of(2, width=4)
    data = make_data()
    copy = permute_channels(network, "copy")
    rows = by_place(similarities(tile_of(snapshots, [(0, 1)]), [network, copy], data))
    same = {
        "cka": 1,
        "cka_channels": 1,
        "rsa": 1,
        "match": 1,
        "cca_mean": 1,
        "pwcca": 1,
        "procrustes": 0,
        "semi_match": 0,
        "sliced_w2": 0,
        "mmd_inputs": 0,
    }
    for name, value in same.items():
        for layer in (1, 2, 3):
            row = rows[name, layer, f"{name}-0-1"]
            if row["warning"]:
                continue
            # float32 features; an angle is the square root of its cosine's rounding
            wanted = row["self_value"] if name == "match" else value
            assert row["value"] == pytest.approx(wanted, abs=3e-3 if name == "procrustes" else 1e-4), row
    assert rows["cka", 3, "cka-0-1"]["layer_name"] == "dense1"
    assert table("similarity", list(rows.values())).num_rows == 3 * len(MEASURES)


def test_no_row_depends_on_which_nets_share_its_job():
    snapshots, networks = nets_of(4, width=3)
    data = make_data()
    whole = by_place(similarities(tile_of(snapshots, [(0, 1), (0, 3), (2, 3)]), networks, data))
    alone = by_place(
        similarities(tile_of((snapshots[0], snapshots[3]), [(0, 1)]), [networks[0], networks[3]], data)
    )
    for (name, layer, _), row in alone.items():
        there = whole[name, layer, f"{name}-0-3"]
        for column in ("value", "self_value", "null_mean", "p_value", "calibrated", "scale_ratio"):
            if row[column] is None or there[column] is None:
                assert row[column] is there[column]
                continue
            assert row[column] == pytest.approx(there[column], rel=1e-4, abs=1e-6), (name, layer, column)


def test_one_layer_of_each_pair_is_the_best_and_says_how_likely_that_is_by_chance():
    snapshots, networks = nets_of(3, width=3)
    rows = similarities(tile_of(snapshots, [(0, 1), (1, 2)]), networks, make_data())
    for key in {row["key"] for row in rows}:
        own = [row for row in rows if row["key"] == key and row["value"] is not None]
        best = [row for row in own if row["best_p_value"] is not None]
        if own[0]["null"] == "labels":
            assert not best
            continue
        (row,) = best
        choose = min if row["kind"] == "distance" else max
        assert row["value"] == choose(one["value"] for one in own)
        # as extreme a best of all layers is no rarer than as extreme a value of this one
        assert row["best_p_value"] >= row["p_value"]
        assert row["best_calibrated"] <= row["calibrated"] + 1e-6


def test_each_pair_has_the_measures_that_it_was_asked_for_and_no_other():
    snapshots, networks = nets_of(3, width=2)
    pairs = (Comparison(0, 1, {"cka": "a"}), Comparison(1, 2, {"cka": "b", "energy": "c"}))
    rows = similarities(SimilarityTile(snapshots, pairs, IMAGES, 19), networks, make_data())
    assert sorted((row["key"], row["measure"]) for row in rows if row["layer"] == 2) == [
        ("a", "cka"),
        ("b", "cka"),
        ("c", "energy"),
    ]


def test_a_net_that_is_not_finite_is_told_in_its_pairs_and_harms_no_other():
    snapshots, networks = nets_of(3, width=3)
    broken = {name: torch.full_like(value, torch.nan) for name, value in networks[1].parameters.items()}
    networks[1] = Network(networks[1].architecture, broken)
    rows = similarities(tile_of(snapshots, [(0, 1), (0, 2)], ("cka", "energy")), networks, make_data())
    for row in rows:
        with_broken = row["target_seed"] == 1
        assert bool(row["warning"]) == with_broken
        assert (row["value"] is None) == with_broken
    table("similarity", rows)


def test_images_of_one_class_are_compared_as_any_others():
    snapshots, networks = nets_of(2, width=3)
    data = make_data()
    one_class = data._replace(y_test=torch.zeros_like(data.y_test), y_train=torch.zeros_like(data.y_train))
    rows = similarities(tile_of(snapshots, [(0, 1)], ("cka", "alignment", "energy")), networks, one_class)
    assert {row["images"] for row in rows} == {IMAGES}
    assert all(row["value"] is not None for row in rows)


def test_fewer_than_four_images_are_refused():
    snapshots, networks = nets_of(2)
    with pytest.raises(ValueError, match="4"):
        similarities(tile_of(snapshots, [(0, 1)], ("cka",)), networks, make_data(test=3))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_layers_come_one_by_one_as_whole_passes_give_them(name):
    networks = [initialise(dataclasses.replace(family_net(name), seed=seed)) for seed in (0, 1)]
    x = make_data(train=4, test=6, image=networks[0].architecture.input).x_test
    for layer, batches in layers_of(networks, x):
        for number, network in enumerate(networks):
            found = torch.cat([some[number] for some in batches])
            depth = network.architecture.depth
            wanted = network.logits(x) if layer == depth else network.prefix(layer + 1, x)
            torch.testing.assert_close(found, wanted)


def test_maps_have_their_channels_last_so_that_convs_and_rows_are_read_as_they_lie():
    _, networks = nets_of(2)
    x = make_data(test=6, image=networks[0].architecture.input).x_test
    maps = [h for _, batches in layers_of(networks, x) for some in batches for h in some if h.dim() == 4]
    assert maps
    assert all(h.is_contiguous(memory_format=torch.channels_last) for h in maps)


def test_the_images_are_a_stratified_choice_of_the_classes():
    y = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    assert torch.bincount(y[chosen(y, 50)]).tolist() == [30, 15, 5]
    assert chosen(y, 200).tolist() == list(range(100))
    assert chosen(torch.rand(9, 1), 4).tolist() == [0, 1, 2, 3]


def test_features_have_a_row_for_each_channel_with_the_moments_of_numpy():
    net = make_net(width=3)
    network, data = initialise(net), make_data()
    rows = features(make_snapshot(net), "k", network, data, images=60)
    assert table(FEATURES.name, rows).num_rows == sum(layer.out for layer in net.architecture.layers)
    h = network.prefix(2, data.x_test).double().transpose(0, 1).flatten(1).numpy()
    first = [row for row in rows if row["layer"] == 1]
    assert [row["mean"] for row in first] == pytest.approx(list(h.mean(1)), rel=1e-5)
    assert [row["variance"] for row in first] == pytest.approx(list(h.var(1)), rel=1e-4)
    assert {row["key"] for row in rows} == {"k"}


def test_the_tables_have_a_place_for_every_column():
    assert {"value", "null_mean", "null_sd", "p_value", "calibrated"} <= set(SIMILARITY.schema.names)
