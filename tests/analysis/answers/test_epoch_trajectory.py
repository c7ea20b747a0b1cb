"""Nets at one epoch against the distance along training: planted maps."""

import numpy as np
import pytest

from espalier import trajectory
from tests.analysis.compared_rows import compared_rows, effects, epoch_rows, frame_of

NET = effects(0.01)
EPOCHS = [0, 1, 20]


def along(first, last, pair):
    """A distance of 0.2 between nets of one epoch, and 0.1 more for each step along training."""
    return 0.2 + 0.1 * abs(EPOCHS.index(first) - EPOCHS.index(last)) + NET[pair[0]] + NET[pair[1]]


def test_nets_of_one_trajectory_are_nearest_at_the_same_epoch():
    found = trajectory(frame_of(epoch_rows(along, "energy", layers=(1, 2))))
    assert len(found) == 2 * 9
    nearest = found[found["nearest"]]
    assert (nearest["epoch"] == nearest["other"]).all()
    steps = found["epoch"].map(EPOCHS.index) - found["other"].map(EPOCHS.index)
    assert found["farther"].to_numpy() == pytest.approx(0.1 * np.abs(steps), abs=1e-9)
    assert (found["farther_low"] > 0).sum() == 2 * 6
    assert set(found["nets"]) == {4}


def test_a_least_value_off_the_diagonal_is_told_with_its_interval():
    def early(first, last, pair):
        return along(first, last, pair) - 0.3 * ((first, last) == (0, 1))

    found = trajectory(frame_of(epoch_rows(early, "energy"))).set_index(["epoch", "other"])
    assert found.loc[(0, 1), "nearest"]
    assert found.loc[(0, 1), "farther_high"] < 0
    assert not found.loc[(0, 0), "nearest"]


def test_of_a_similarity_less_alike_is_farther_and_single_intervals_are_shorter():
    rng = np.random.default_rng(2)
    rows = frame_of(epoch_rows(lambda *at: 1 - along(*at) + rng.normal(0, 0.01), "cka"))
    together, each = (trajectory(rows, "cka", interval=name) for name in ("together", "each"))
    off = each["epoch"] != each["other"]
    assert (each["farther"][off] > 0.05).all()
    lengths = [(one["farther_high"] - one["farther_low"])[off] for one in (each, together)]
    assert (lengths[0] < lengths[1]).all()


def test_measures_that_are_not_compared_across_epochs_are_refused_with_the_cure():
    with pytest.raises(ValueError, match=r"has 'energy' .* has no measure.*map_measures"):
        trajectory(frame_of(compared_rows(lambda *at: 0.5)))
