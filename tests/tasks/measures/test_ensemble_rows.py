"""Rows of nets of one width together: as a loop in NumPy has them, and what is missing says why."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from espalier.tasks.data.tensors import Data
from espalier.tasks.measures.ensemble_rows import ensembles
from espalier.tasks.networks.network import Network, initialise
from espalier.tasks.spec import Measurement
from espalier.tasks.tables.ensemble_columns import ENSEMBLES, KERNEL_SPREAD
from tests.tasks.conftest import make_data, make_net, make_snapshot

IMAGES = 40


def rows_of(widths, data=None, images=IMAGES, broken=None, **net):
    """The rows of untrained nets: `widths` says how many there are of each, the narrower first."""
    specs = [
        make_net(seed=seed, width=width, **net) for width, count in widths.items() for seed in range(count)
    ]
    networks = [initialise(spec) for spec in specs]
    if broken is not None:
        wrong = {
            name: torch.full_like(value, torch.nan) for name, value in networks[broken].parameters.items()
        }
        networks[broken] = Network(networks[broken].architecture, wrong)
    asked = Measurement("k", tuple(map(make_snapshot, specs)), {"images": images})
    found = ensembles(asked, networks, data or make_data())
    for spec in (KERNEL_SPREAD, ENSEMBLES):
        assert all(set(row) == set(spec.schema.names) for row in found[spec.name])
        assert pa.Table.from_pylist(found[spec.name], schema=spec.schema).num_rows == len(found[spec.name])
    return found["kernel_spread"], found["ensembles"], networks


def numpy_spread(values):
    mean, variance = values.mean(0), values.var(0, ddof=1).mean()
    return mean, variance, (mean**2).mean() - variance / len(values)


def numpy_bias(here, wide):
    (mean, variance, _), (there, wide_variance, _) = numpy_spread(here), numpy_spread(wide)
    return ((mean - there) ** 2).mean() - variance / len(here) - wide_variance / len(wide)


def test_kernels_and_outputs_are_those_of_numpy_in_float64():
    data = make_data(test=IMAGES)
    kernels, scores, networks = rows_of({2: 3, 4: 2}, data)

    def kernels_of(nets, layer):
        flat = [
            (net.logits(data.x_test) if layer == 3 else net.prefix(layer + 1, data.x_test)).flatten(1).numpy()
            for net in nets
        ]
        return np.array([h.astype(float) @ h.T.astype(float) / h.shape[1] for h in flat])

    for row in kernels:
        here, wide = kernels_of(networks[:3], row["layer"]), kernels_of(networks[3:], row["layer"])
        _, variance, square = numpy_spread(here)
        assert row["kernel_square"] == pytest.approx(square, rel=1e-9)
        assert row["kernel_variance"] == pytest.approx(variance / square, rel=1e-9)
        assert row["kernel_bias"] == pytest.approx(numpy_bias(here, wide) / numpy_spread(wide)[2], rel=1e-8)
    places = [(row["layer_name"], row["channels"], row["positions"]) for row in kernels]
    assert places == [("conv1", 2, 9), ("conv2", 4, 9), ("dense1", 5, 1)]

    logits = np.array([net.logits(data.x_test).numpy() for net in networks], float)
    soft = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    for row in scores:
        assert row["output_variance"] == pytest.approx(numpy_spread(logits[:3])[1])
        assert row["output_square"] == pytest.approx(numpy_spread(logits[:3])[2])
        assert row["output_bias"] == pytest.approx(numpy_bias(logits[:3], logits[3:]))
        assert row["probability_variance"] == pytest.approx(numpy_spread(soft[:3])[1])
        assert row["probability_bias"] == pytest.approx(numpy_bias(soft[:3], soft[3:]))
        assert (row["nets"], row["widest"], row["widest_nets"]) == (3, 4, 2)
        assert (row["width"], row["images"], row["warning"]) == (2, IMAGES, "")
    assert [(row["size"], row["groups"]) for row in scores] == [(1, 3), (2, 1), (3, 1)]
    assert scores[2]["output_distance"] == pytest.approx(
        scores[2]["output_bias"] + scores[2]["output_variance"] / 3
    )


def test_the_widest_nets_have_a_variance_and_no_distance_from_themselves():
    kernels, scores, _ = rows_of({3: 3})
    for row in kernels:
        assert row["kernel_bias"] is None
        assert row["kernel_variance"] > 0
        assert (row["widest"], row["widest_nets"], row["warning"]) == (3, 3, "")
    for row in scores:
        assert row["output_bias"] is row["output_distance"] is row["probability_bias"] is None
        assert row["output_variance"] > 0


def test_a_single_net_has_its_loss_and_says_why_it_has_no_variance():
    kernels, (row,), _ = rows_of({2: 1, 3: 2})
    assert {row["kernel_variance"] for row in kernels} == {row["kernel_bias"] for row in kernels} == {None}
    assert row["warning"] == kernels[0]["warning"] == "a single net has no variance over seeds"
    assert row["output_variance"] is row["output_bias"] is None
    assert row["loss"] == row["probability_loss"] > 0
    assert row["output_distance"] > 0


def test_of_a_single_widest_net_no_distance_is_known():
    kernels, scores, _ = rows_of({2: 2, 3: 1})
    assert all(row["kernel_bias"] is None and row["kernel_variance"] > 0 for row in kernels)
    assert all(row["output_distance"] is None for row in scores)
    assert kernels[0]["warning"] == "of a single widest net the sampling error is not known"


def test_a_net_that_is_not_finite_is_named():
    kernels, scores, _ = rows_of({2: 3, 3: 2}, broken=1)
    assert {row["warning"] for row in [*kernels, *scores]} == {"features of width 2 seed 1 are not finite"}
    assert all(row["kernel_variance"] is None for row in kernels)
    for name in ("loss", "accuracy", "probability_loss", "probability_accuracy"):
        assert all(row[name] is None for row in scores), name


def test_fewer_than_four_images_are_refused():
    with pytest.raises(ValueError, match="found 3 held-out images, but ensembles need 4 or more"):
        rows_of({2: 2}, make_data(test=3))


def test_a_regression_has_no_probabilities():
    data = make_data()
    goals = Data(data.x_train, torch.rand(len(data.x_train), 1), data.x_test, torch.rand(len(data.x_test), 1))
    _, scores, networks = rows_of({2: 2, 3: 2}, goals, images=100, classes=1, loss="mse")
    single = [float((net.logits(goals.x_test) - goals.y_test).square().mean()) for net in networks[:2]]
    assert scores[0]["loss"] == pytest.approx(np.mean(single))
    for row in scores:
        assert row["accuracy"] is row["probability_loss"] is row["probability_variance"] is None
        assert row["output_bias"] is not None


def test_no_row_depends_on_the_order_of_a_widths_nets_but_by_rounding_or_grouping():
    specs = [make_net(seed=seed, width=2) for seed in range(3)]
    rows = []
    for some in (specs, specs[::-1]):
        asked = Measurement("k", tuple(map(make_snapshot, some)), {"images": IMAGES})
        rows.append(ensembles(asked, [initialise(spec) for spec in some], make_data()))
    for one, other in zip(*(found["kernel_spread"] for found in rows), strict=True):
        assert one["kernel_variance"] == pytest.approx(other["kernel_variance"], rel=1e-9)
