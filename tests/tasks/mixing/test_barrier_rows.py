"""Paths between nets against closed forms, and the ends against the nets themselves."""

from dataclasses import replace

import pytest
import torch

from espalier.orchestrator.planning.kinds.registry import know_tables
from espalier.tasks.mixing import barrier_rows
from espalier.tasks.mixing.barrier_rows import few_images, paths
from espalier.tasks.mixing.linear_path import MEASURES, Score, barrier, between, score
from espalier.tasks.networks.families.dense import dense
from espalier.tasks.networks.network import Network, initialise, permute_channels
from espalier.tasks.spec import Architecture, BarrierOptions, BarrierPair, Layer
from espalier.tasks.tables.rows import table
from espalier.tasks.training.evaluation import evaluate
from tests.tasks.conftest import make_data, make_net, make_snapshot
from tests.tasks.families import ARCHITECTURES, family_net, lively

know_tables()


def pair_of(nets, **options):
    snapshots = tuple(make_snapshot(net, 1) for net in nets)
    return BarrierPair("key", snapshots, BarrierOptions(**({"points": 5, "images": 80} | options)))


def data_of(name, train=120, test=60):
    return make_data(train=train, test=test, image=ARCHITECTURES[name].input)


def by_way(rows):
    return {(row["matching"], row["correction"]): row for row in rows}


def linear_net(weight, bias):
    architecture = Architecture((2, 1, 1), (Layer("dense", 1, activation="none"),))
    tensors = {"layers.1.weight": torch.tensor([weight]), "layers.1.bias": torch.tensor([bias])}
    return Network(architecture, tensors)


def test_the_loss_of_a_linear_regression_is_a_parabola_whose_barrier_lies_at_an_end():
    """|x (A + t D) - y|^2 is convex in t: nowhere above the line, and known at every t."""
    a, b = linear_net([1.0, -2.0], 0.5), linear_net([-0.5, 1.0], 0.0)
    data = make_data(train=40, test=20, image=(2, 1, 1))
    data = data._replace(y_train=data.x_train[:, :1, 0, 0], y_test=data.x_test[:, 1:, 0, 0])
    scores = [score(between(a, b, t), data, "mse") for t in (0.0, 0.25, 0.5, 0.75, 1.0)]
    x = torch.cat([data.x_test.flatten(1), torch.ones(20, 1)], 1).double()
    ends = [
        torch.cat([net.parameters["layers.1.weight"][0], net.parameters["layers.1.bias"]]).double()
        for net in (a, b)
    ]
    for t, found in zip((0.0, 0.25, 0.5, 0.75, 1.0), scores, strict=True):
        error = x @ (ends[0] + t * (ends[1] - ends[0])) - data.y_test[:, 0]
        assert found.loss_test == pytest.approx(error.square().mean().item(), rel=1e-5)
        assert (found.accuracy_test, found.inverse_temperature, found.tempered_loss_test) == (None,) * 3
    assert barrier("loss_test", scores)[2:] == (0.0, 0.0)


def test_two_minima_of_a_double_well_have_the_barrier_of_its_hill():
    """f(x) = v tanh(w x) with w, v = 1, 1 and -1, -1 is one function; in between v tanh(w x) is nearly 0."""
    architecture = dense([1], 1, (1, 1, 1), 1)

    def net(sign):
        ones = {"layers.1.weight": [[sign]], "layers.2.weight": [[sign]]}
        zeros = {"layers.1.bias": [0.0], "layers.2.bias": [0.0]}
        return Network(architecture, {name: torch.tensor(value) for name, value in (ones | zeros).items()})

    data = make_data(train=50, test=50, image=(1, 1, 1))
    wanted = data.x_test[:, :, 0, 0].tanh()
    data = data._replace(y_train=data.x_train[:, :, 0, 0].tanh(), y_test=wanted)
    scores = [score(between(net(1.0), net(-1.0), t), data, "mse") for t in (0.0, 0.25, 0.5, 0.75, 1.0)]
    found = barrier("loss_test", scores)
    assert found.source == pytest.approx(0.0, abs=1e-12)
    assert found.barrier == pytest.approx(wanted.square().mean().item(), rel=1e-6)
    assert found.peak == 0.5


def test_a_barrier_of_accuracy_counts_downwards_and_one_of_unequal_ends_from_their_line():
    scores = [Score(accuracy_test=value) for value in (0.9, 0.5, 0.7)]
    found = barrier("accuracy_test", scores)
    assert (found.source, found.target, found.peak) == (0.9, 0.7, 0.5)
    assert found.barrier == pytest.approx(0.3)
    assert barrier("loss_test", [Score(loss_test=1.0), Score(), Score(loss_test=2.0)]) == (
        1.0,
        2.0,
        None,
        None,
    )


@pytest.mark.parametrize("name", ["conv-bn", "vgg19", "resnet20", "dense"])
def test_a_net_and_its_permuted_copy_are_one_after_weight_matching(name):
    net = family_net(name)
    a = lively(net)
    b = permute_channels(a, 5)
    data = data_of(name, train=60, test=30)
    pair = pair_of([net, replace(net, seed=1)], matchings=("none", "weights"), images=40)
    found = paths(pair, [a, b], data)
    rows = by_way(found.barriers)
    for correction in ("none", "repair"):
        row = rows["weights", correction]
        assert row["weight_cosine"] == pytest.approx(1.0, abs=1e-12)
        assert row["warning"] == ""
        for measure in MEASURES:
            assert row[f"{measure}_barrier"] == pytest.approx(0.0, abs=1e-5), measure
    assert rows["none", "none"]["weight_cosine"] < 0.9
    plain = [row for row in found.curves if row["correction"] == "none"]
    losses = {
        way: {row["loss_test"] for row in plain if row["matching"] == way} for way in ("none", "weights")
    }
    assert len(losses["none"]) > 3
    assert len(losses["weights"]) == 1


def test_a_pair_of_a_net_with_itself_is_flat_by_every_way():
    net = family_net("conv-bn")
    a, data = lively(net), data_of("conv-bn")
    for row in paths(pair_of([net, net]), [a, a], data).barriers:
        assert all(row[f"{measure}_barrier"] == pytest.approx(0.0, abs=1e-5) for measure in MEASURES)
        assert row["cycle_share"] is row["cycle_chance"] is row["third_seed"] is None


def test_the_ends_are_the_nets_and_all_rows_fit_their_tables():
    nets = [family_net("conv-bn", seed) for seed in (0, 1, 2)]
    networks, data = [lively(net) for net in nets], data_of("conv-bn")
    found = paths(pair_of(nets), networks, data)
    assert table("barriers", found.barriers).num_rows == 6
    assert table("barrier_curves", found.curves).num_rows == 30
    few = few_images(data, 80)
    assert (len(few.y_train), len(few.y_test)) == (80, 60)
    for row in found.barriers:
        if row["correction"] == "none":
            for side, network in (("source", networks[0]), ("target", networks[1])):
                for split in ("train", "test"):
                    judged = evaluate(network, getattr(few, f"x_{split}"), getattr(few, f"y_{split}"))
                    assert row[f"loss_{split}_{side}"] == pytest.approx(judged.loss, rel=1e-4)
                    assert row[f"accuracy_{split}_{side}"] == pytest.approx(judged.accuracy, abs=0.02)
        assert (row["third_seed"], row["images_train"], row["points"]) == (2, 80, 5)
        assert row["matching"] == "none" or 0 <= row["cycle_share"] <= 1
        curve = [
            one for one in found.curves if all(one[key] == row[key] for key in ("matching", "correction"))
        ]
        assert [one["t"] for one in curve] == [0.0, 0.25, 0.5, 0.75, 1.0]
        assert row["loss_test_source"] == curve[0]["loss_test"]
        assert all(one["tempered_loss_train"] < one["loss_train"] + 0.02 for one in curve)
    rows = by_way(found.barriers)
    assert rows["weights", "none"]["weight_cosine"] > rows["none", "none"]["weight_cosine"]
    correlations = {way: row["channel_correlation"] for way, row in rows.items()}
    assert correlations["activations", "none"] == max(correlations.values())


def test_features_that_are_held_or_computed_anew_give_the_same_rows():
    nets = [family_net("dense", seed) for seed in (0, 1)]
    networks, data = [lively(net) for net in nets], data_of("dense")
    pair = pair_of(nets, matchings=("none",), corrections=("repair",), points=3)
    held, anew = (paths(pair, networks, data, way).curves for way in (True, False))
    for one, other in zip(held, anew, strict=True):
        assert one["loss_test"] == pytest.approx(other["loss_test"], rel=1e-5)


def test_nets_that_are_not_finite_or_explode_are_told():
    nets = [make_net(seed=seed) for seed in (0, 1)]
    data, networks = make_data(), [initialise(net) for net in nets]
    broken = dict(networks[1].parameters)
    broken["layers.2.weight"] = torch.full_like(broken["layers.2.weight"], float("nan"))
    found = paths(pair_of(nets), [networks[0], Network(networks[1].architecture, broken)], data)
    assert len(found.barriers) == 6
    assert table("barriers", found.barriers).column("loss_test_barrier").null_count == 6
    assert {row["warning"].split(";")[0] for row in found.barriers} == {
        "the target net has parameters that are not finite"
    }
    third = Network(networks[1].architecture, broken)
    pair = pair_of([*nets, make_net(seed=2)], points=3, corrections=("none",))
    for row in paths(pair, [*networks, third], data).barriers:
        assert row["warning"] == "the third net has parameters that are not finite"
        assert row["cycle_share"] is None
        assert row["loss_test_barrier"] is not None
    huge = {name: value * 1e20 for name, value in networks[1].parameters.items()}
    found = paths(pair_of(nets), [networks[0], Network(networks[1].architecture, huge)], data)
    assert all("a loss is not finite at" in row["warning"] for row in found.barriers)
    assert all(row["loss_test_barrier"] is None for row in found.barriers)


def test_a_matching_of_the_cycle_that_did_not_settle_is_told(monkeypatch):
    nets, asked = [family_net("dense", seed) for seed in (0, 1, 2)], []
    matched = barrier_rows.match_weights

    def settled_once(*nets_and_names):
        asked.append(nets_and_names)
        return matched(*nets_and_names)._replace(settled=len(asked) != 2)

    monkeypatch.setattr(barrier_rows, "match_weights", settled_once)
    pair = pair_of(nets, matchings=("weights",), corrections=("none",), points=3)
    (row,) = paths(pair, [lively(net) for net in nets], data_of("dense")).barriers
    assert row["warning"] == "weight matching stopped after 100 passes (on the way round the cycle)"
    assert row["cycle_share"] is not None


def test_a_net_without_hidden_layers_has_nothing_to_match():
    architecture = Architecture((2, 6, 6), (Layer("dense", 5, activation="none"),))
    nets = [replace(make_net(seed=seed), architecture=architecture) for seed in (0, 1, 2)]
    found = paths(pair_of(nets), [initialise(one) for one in nets], make_data())
    for row in found.barriers:
        assert row["channel_correlation"] is row["cycle_share"] is None
        assert row["loss_test_barrier"] is not None
