"""The map of nets at two epochs: planted values, both orders averaged, gains with intervals over nets."""

import numpy as np
import pytest

from espalier.analysis.limits.epoch_map import epoch_map
from tests.analysis.compared_rows import compared_rows, effects, epoch_rows, frame_of

NET = effects(0.01)
EPOCHS = (0, 1, 20)


def planted(first, last, pair):
    """Nets of like epochs are alike, but those of epoch 0 are most like those of epoch 1."""
    near = 1 - 0.1 * abs(EPOCHS.index(first) - EPOCHS.index(last))
    return near + 0.3 * ((first, last) == (0, 1)) + NET[pair[0]] - 0.02 * pair[1]


def test_both_orders_of_a_pair_are_averaged():
    found = epoch_map(frame_of(epoch_rows(planted)), "cka", 0.9)
    assert (found.width, list(found.epochs), found.distance) == (32, [0, 1, 20], False)
    mean = found.mean_LEE[1]
    assert mean == pytest.approx(mean.T)
    every = [planted(0, 20, (a, b)) for a in range(4) for b in range(4) if a != b]
    assert mean[0, 2] == pytest.approx(np.mean(every))
    assert mean[1, 1] == pytest.approx(
        np.mean([planted(1, 1, (a, b)) for a in range(4) for b in range(a + 1, 4)])
    )


def test_the_best_of_a_row_is_the_largest_similarity_and_its_gain_is_of_the_same_pairs():
    found = epoch_map(frame_of(epoch_rows(planted)), "cka", 0.9)
    assert [(one.epoch, one.best, one.on_diagonal) for one in found.best] == [
        (0, 1, False),
        (1, 0, False),
        (20, 20, True),
    ]
    mean = found.mean_LEE[1]
    assert found.best[0].gain == pytest.approx(mean[0, 1] - mean[0, 0])
    assert found.best[0].low > 0.1


def test_of_a_distance_the_least_value_is_the_best():
    rows = frame_of(epoch_rows(lambda *at: 2 - planted(*at), "energy"))
    found = epoch_map(rows, "energy", 0.9)
    assert [one.best for one in found.best] == [1, 0, 20]
    assert found.best[1].gain == pytest.approx(found.mean_LEE[1][1, 1] - found.mean_LEE[1][1, 0])


def test_a_best_value_by_chance_has_an_interval_with_0_in_it():
    rng = np.random.default_rng(5)
    found = epoch_map(
        frame_of(epoch_rows(lambda *at: 0.5 + rng.normal(0, 0.1), layers=(1, 2, 3))), "cka", 0.9
    )
    off = [one for one in found.best if not one.on_diagonal]
    assert len(off) > 3
    assert all(one.low < 0 < one.high for one in off)


def test_where_epochs_are_the_same_there_is_no_map():
    same = frame_of(compared_rows(lambda *at: 0.5))
    assert epoch_map(same, "cka", 0.9) is None
    assert epoch_map(frame_of(epoch_rows(planted)), "energy", 0.9) is None


def test_a_row_that_lacks_a_cell_has_no_best():
    rows = [row for row in epoch_rows(planted) if (row["source_epoch"], row["target_epoch"]) != (0, 20)]
    found = epoch_map(frame_of(rows), "cka", 0.9)
    assert [one.epoch for one in found.best] == [1]
    assert np.isnan(found.mean_LEE[1][0, 2])
