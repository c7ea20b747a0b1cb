"""Seconds that are predicted before any job has ended, beside what was measured on a core of an Intel Xeon.

The measured seconds are of CPU time, with 165 GFLOP/s of float32 matrix products.
"""

from dataclasses import replace
from itertools import permutations

import pyarrow as pa
import pytest

from espalier.cluster.pool import Job
from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.orchestrator.planning.identity import net_key, snapshot
from espalier.orchestrator.planning.kinds.tile_cost import graft_cost
from espalier.orchestrator.planning.kinds.train_cost import train_cost
from espalier.orchestrator.planning.net_cost import narrowness
from espalier.orchestrator.planning.nets import nets, used
from espalier.orchestrator.planning.rates import JOB_SECONDS, rates
from espalier.orchestrator.planning.task import Task
from espalier.tasks.data.images import facts
from espalier.tasks.spec import GraftOptions, GraftTile, Pair, TrainSegment
from espalier.tasks.tables.rows import table

NOTHING: pa.Table = table("jobs", [])


def snapshots(width, dataset="digits", epoch=30, **network):
    values = {"data": {"dataset": dataset}, "sweep": {"widths": [width], "seeds": 8}, "network": network}
    config = SweepConfig.parse(values | {"train": {"epochs": epoch, "snapshots": [epoch]}})
    return [snapshot(net, net_key(net), epoch) for net in nets(config, used(config, facts(dataset)))]


def predicted(kind, cost):
    return rates(NOTHING, 165e9).seconds(Task(Job("job", kind, None), cost, "job")) - JOB_SECONDS


@pytest.mark.parametrize(
    ("width", "images", "seconds"),
    [
        (4, 300, 0.68), (4, 1000, 1.59), (8, 300, 1.34), (8, 1000, 2.39),
        (16, 300, 1.87), (16, 1000, 4.09), (32, 300, 2.03), (32, 1000, 4.19),
    ],
)  # fmt: skip
def test_all_grafts_of_eight_nets_are_met_within_a_factor_of_two(width, images, seconds):
    pairs = tuple(Pair(f"{a}-{b}", a, b) for a, b in permutations(range(8), 2))
    tile = GraftTile(tuple(snapshots(width)), pairs, GraftOptions())
    cost = graft_cost(tile, replace(facts("digits"), train=images, test=images))
    assert seconds / 2 < predicted("graft", cost) < 2 * seconds


@pytest.mark.parametrize(("width", "seconds"), [(4, 3.8), (8, 5.1), (16, 8.8), (32, 21.0)])
def test_training_six_nets_for_thirty_epochs_is_met_within_a_factor_of_two(width, seconds):
    segments = [TrainSegment(snap, None, keep_state=False) for snap in snapshots(width)[:6]]
    assert seconds / 2 < predicted("train", train_cost(segments, facts("digits"))) < 2 * seconds


def test_wide_nets_approach_the_rate_of_products():
    assert narrowness(snapshots(2)[0].net.architecture) > 50
    assert 1 < narrowness(snapshots(512)[0].net.architecture) < 1.01
