"""What a null leaves of a value."""

import math

import pytest
import torch

from espalier.tasks.measures.best_layer import BestLayer
from espalier.tasks.measures.calibration import calibrate


def test_a_value_in_units_of_what_is_left_above_the_threshold():
    null = torch.arange(99.0) / 100  # 0 to 0.98
    found = calibrate(torch.tensor(0.975), null, best=1.0)
    # the ordered values are 0 .. 0.97, 0.975, 0.98; the threshold is the 95th of 100
    assert found.p_value.item() == pytest.approx(2 / 100)
    assert found.calibrated.item() == pytest.approx((0.975 - 0.94) / (1 - 0.94), abs=1e-6)
    assert found.null_mean.item() == pytest.approx(0.49)
    assert found.null_sd.item() == pytest.approx(null.double().std().item())


def test_a_small_distance_is_far_from_a_null_of_large_ones():
    found = calibrate(torch.tensor(0.5), 1 + torch.arange(19.0) / 19, best=0.0, larger=False)
    assert found.p_value.item() == pytest.approx(1 / 20)
    assert found.calibrated.item() == pytest.approx(0.5)
    assert found.null_mean.item() > 1


def test_a_value_inside_its_null_is_zero_and_one_that_no_permutation_changes_has_p_one():
    null = torch.linspace(0, 1, 99)
    assert calibrate(torch.tensor(0.5), null, 1.0).calibrated.item() == 0
    assert calibrate(torch.tensor(0.3), torch.full((99,), 0.3), 1.0).p_value.item() == 1


def test_a_value_that_is_missing_stays_missing():
    assert all(math.isnan(column) for column in calibrate(torch.tensor(math.nan), torch.rand(9), 1.0))


def test_a_null_that_is_not_finite_says_nothing_of_its_value_alone():
    null = torch.rand(9, 3, generator=torch.Generator().manual_seed(0))
    null[4, 1], null[5, 2] = math.nan, math.inf
    columns = calibrate(torch.full((3,), 0.5), null, 1.0)
    assert all(column[0].isfinite() and column[1:].isnan().all() for column in columns)


def test_the_largest_of_many_layers_is_compared_with_the_largest_of_each_permutation():
    generator = torch.Generator().manual_seed(0)
    layers, count = 20, 199
    values = torch.randn(300, layers, generator=generator)
    nulls = torch.randn(300, layers, count, generator=generator)
    alone = torch.tensor(
        [calibrate(v.amax(), n[0], 10.0).p_value for v, n in zip(values, nulls, strict=True)]
    )
    together = torch.tensor(
        [over_layers(v, n).calibrated(10.0).p_value for v, n in zip(values, nulls, strict=True)]
    )
    assert (alone <= 0.05).double().mean() > 0.4
    assert (together <= 0.05).double().mean() == pytest.approx(0.05, abs=0.03)


def over_layers(values, nulls, larger=True):
    found = BestLayer(larger)
    for layer, (value, null_n) in enumerate(zip(values.tolist(), nulls, strict=True), start=1):
        found.add(layer, value, null_n)
    return found


def test_the_smallest_of_many_distances_is_the_best_and_only_permutations_of_all_layers_count():
    nulls = [torch.tensor([0.9, 0.2, 0.1]), torch.tensor([0.5, 0.7])]
    found = over_layers(torch.tensor([0.4, 0.3]), nulls, larger=False)
    columns = found.calibrated(0.0)
    assert found.layer == 2
    assert columns.null_mean.item() == pytest.approx((0.5 + 0.2) / 2)
    assert columns.p_value.item() == pytest.approx(2 / 3)
    assert over_layers(torch.tensor([0.7, 0.7]), nulls).layer == 1
