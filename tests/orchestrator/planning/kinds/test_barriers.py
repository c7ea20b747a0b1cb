"""Paths between nets: planned once, resumed, costed, and kept to the memory."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from espalier.orchestrator.config.sweep_config import ConfigError
from espalier.orchestrator.planning.kind import Have
from espalier.orchestrator.planning.kinds.barrier_cost import barrier_cost
from espalier.orchestrator.planning.kinds.barriers import barrier_key, barrier_task, within
from espalier.orchestrator.planning.plan import halves, make_plan, without
from espalier.orchestrator.planning.task import Limits
from espalier.tasks.mixing.barrier_rows import paths
from espalier.tasks.networks.network import initialise
from espalier.tasks.spec import BarrierOptions, BarrierPair
from tests.orchestrator.planning.flop_counting import counted
from tests.orchestrator.planning.test_cost import facts_of
from tests.orchestrator.planning.test_plan import DIGITS, ROOMY, config, plan
from tests.tasks.conftest import make_data, make_net, make_snapshot
from tests.tasks.families import ARCHITECTURES, family_net

FEW = {"pairs": 2, "epochs": [0, 5], "points": 3, "images": 20}


def jobs(made):
    return [task for task in made.tasks if task.job.kind == "barrier"]


def test_paths_join_neighbouring_seeds_and_the_first_other_net_closes_the_cycle():
    made = plan(config(seeds=5, barriers=FEW))
    found = Counter(
        (pair.snapshots[1].net.width, *(snap.net.seed for snap in pair.snapshots), pair.snapshots[2].epoch)
        for pair in (task.job.payload for task in jobs(made))
    )
    assert found == {(w, *seeds, e): 1 for w in (2, 3) for seeds in ((0, 1, 2), (2, 3, 0)) for e in (0, 5)}
    assert made.total["barrier"] == 8
    assert not jobs(plan(config(seeds=5)))


def test_paths_that_are_there_make_no_work_and_half_of_them_half():
    sweep = config(seeds=5, barriers=FEW)
    keys = [(task.job.key,) for task in jobs(plan(sweep))]
    there = {"barriers": {*keys}, "barrier_curves": {*keys[1:]}}
    again = make_plan(sweep, DIGITS, Have(there), ROOMY, {})
    assert [(task.job.key,) for task in jobs(again)] == keys[:1]  # one table alone is not all
    assert again.done["barrier"] == 7


def test_more_seeds_add_paths_and_change_none():
    few, more = ({task.job.key for task in jobs(plan(config(seeds=n, barriers=FEW)))} for n in (4, 7))
    assert few == more
    pairs = FEW | {"pairs": 3}
    assert few < {task.job.key for task in jobs(plan(config(seeds=7, barriers=pairs)))}


def test_a_path_goes_round_a_third_net_that_diverged_and_two_seeds_have_none():
    one = {"pairs": 1}
    (first, *_) = jobs(plan(config(widths=(2,), seeds=4, barriers=one)))
    lost = first.job.payload.snapshots[2].key
    made = make_plan(
        config(widths=(2,), seeds=4, barriers=one), DIGITS, Have(hopeless=frozenset({lost})), ROOMY, {}
    )
    (task,) = jobs(made)
    assert [snap.net.seed for snap in task.job.payload.snapshots] == [0, 1, 3]
    (task,) = jobs(plan(config(widths=(2,), seeds=2, barriers=one)))
    assert len(task.job.payload.snapshots) == 2
    (task,) = jobs(plan(config(widths=(2,), seeds=3, barriers=one | {"matchings": ["none"]})))
    assert len(task.job.payload.snapshots) == 2


def test_the_order_of_a_list_changes_no_key_and_what_shapes_a_path_does():
    def keys(**more):
        return {task.job.key for task in jobs(plan(config(barriers={"pairs": 1} | more)))}

    assert keys() == keys(matchings=["activations", "none", "weights"], corrections=["repair", "none"])
    every = [keys(), keys(points=5), keys(images=7), keys(matchings=["none"]), keys(corrections=["none"])]
    assert len(frozenset.union(*map(frozenset, every))) == sum(map(len, every))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"pairs": 2}, r"barriers\.pairs: 2 need 4 seeds, found 3"),
        ({"pairs": 1, "epochs": [1]}, r"barriers\.epochs: found \[1\]"),
    ],
)
def test_paths_that_cannot_be_made_are_refused(asked, told):
    with pytest.raises(ConfigError, match=told):
        plan(config(barriers=asked))


def made_pair(architecture=None, nets=3, **options):
    snapshots = [make_snapshot(make_net(seed=seed, width=4)) for seed in range(nets)]
    if architecture:
        snapshots = [make_snapshot(family_net(architecture, seed)) for seed in range(nets)]
    chosen = BarrierOptions(**{"points": 3, "images": 10**6} | options)
    return BarrierPair(barrier_key(snapshots, chosen), tuple(snapshots), chosen)


def test_a_job_recomputes_features_where_a_slot_cannot_hold_them():
    facts = replace(DIGITS, channels=2, height=6, width=6, train=100_000)
    whole = barrier_task(made_pair(), facts, {})
    assert within(whole, facts, ROOMY) is whole
    parted = within(whole, facts, Limits(whole.cost.memory - 1, 1))
    assert parted.job.where == {"recompute": True}
    assert parted.job.key == whole.job.key
    assert parted.cost.memory < whole.cost.memory
    assert parted.cost.flops > whole.cost.flops
    assert halves(whole, facts) == (parted,)
    assert halves(parted, facts) == ()


def test_a_job_that_lost_a_net_is_not_done():
    task = barrier_task(made_pair(), DIGITS, {})
    for name in task.job.inputs:
        assert without(task, {name}, DIGITS) is None


@pytest.mark.parametrize(
    ("name", "held", "more"),
    [
        ("conv-bn", True, {}),
        ("conv-bn", False, {}),
        ("dense", True, {}),
        ("resnet20", False, {"matchings": ("activations",), "corrections": ("repair",)}),
    ],
)
@torch.no_grad()
def test_operations_per_image_are_within_a_fiftieth_of_pytorchs_count(name, held, more):
    pair = made_pair(name, nets=2 if more else 3, **more)
    networks = [initialise(snapshot.net) for snapshot in pair.snapshots]
    found, told = [], []
    for images in (10, 30):  # PyTorch's counter does not see assignments
        data = make_data(train=images, test=images, image=ARCHITECTURES[name].input)
        found.append(counted(lambda data=data: paths(pair, networks, data, held)))
        told.append(barrier_cost(pair, facts_of(data), {"recompute": not held}).flops)
    ratio = (told[1] - told[0]) / (found[1] - found[0])
    assert 0.98 < ratio < 1.02, f"model / counted = {ratio:.3f}"
