"""Which nets are taken together, under which keys, and what that costs."""

import pytest

from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.orchestrator.planning.kind import Have
from espalier.orchestrator.planning.kinds.ensembles import ENSEMBLES
from espalier.orchestrator.planning.kinds.similarities import SIMILARITIES
from espalier.orchestrator.planning.plan import make_plan
from espalier.orchestrator.planning.task import Limits
from espalier.tasks.data.images import facts
from espalier.tasks.spec import Measurement

DIGITS, ROOMY = facts("digits"), Limits(2**40, 1)


def planned(have=None, **parts):
    rest = {
        "network": {"layers": [1, 2]},
        "train": {"epochs": 2, "snapshots": [0, 2]},
        "graft": {"nulls": []},
    }
    axes = {"widths": [2, 3, 5], "seeds": 3, "measures": ["ensembles"]} | parts.pop("sweep", {})
    config = SweepConfig.parse({**rest, "sweep": axes, **parts})
    made = make_plan(config, DIGITS, have or Have(), ROOMY)
    return [task for task in made.tasks if task.job.kind == "ensembles"]


def nets_of(task):
    return [(snap.net.width, snap.epoch, snap.net.seed) for snap in task.job.payload.snapshots]


def keys(tasks):
    return {task.job.key for task in tasks}


def snapshot_of(tasks, *place):
    return next(
        snap.key
        for task in tasks
        for snap in task.job.payload.snapshots
        if (snap.net.width, snap.epoch, snap.net.seed) == place
    )


def test_without_being_asked_for_nothing_is_planned():
    assert planned(sweep={"measures": []}) == []


def test_each_width_and_epoch_has_its_nets_by_seed_and_the_widest_beside_them():
    tasks = planned()
    assert [nets_of(task) for task in tasks] == [
        [(width, epoch, seed) for width in together for seed in range(3)]
        for together in ((2, 5), (3, 5), (5,))
        for epoch in (0, 2)
    ]
    assert tasks[0].label == "ensembles of nets, 3 of width 2 beside 3 of width 5, epoch 0"
    assert tasks[4].label == "ensembles of nets, 3 of width 5, epoch 0"


def test_settings_are_not_mixed():
    crossed = planned(sweep={"cross": {"train.lr": [0.1, 0.2]}})
    assert len(crossed) == 2 * 6
    for task in crossed:
        assert len({snap.net.recipe.lr for snap in task.job.payload.snapshots}) == 1


def test_a_key_covers_all_nets_and_the_images_and_not_the_order_of_seeds():
    assert keys(planned()) == keys(planned(sweep={"seeds": [2, 0, 1]}))
    assert keys(planned()).isdisjoint(keys(planned(sweep={"seeds": 4})))
    assert keys(planned()).isdisjoint(keys(planned(similarity={"images": 500})))


def test_what_is_done_is_not_planned_again_and_both_tables_must_have_it():
    done = frozenset((key,) for key in keys(planned()))
    assert planned(Have(present=dict.fromkeys(ENSEMBLES.tables, done))) == []
    assert keys(planned(Have(present={"ensembles": done}))) == keys(planned())
    added = planned(Have(present=dict.fromkeys(ENSEMBLES.tables, done)), sweep={"widths": [2, 3, 4, 5]})
    assert [nets_of(task)[0][0] for task in added] == [4, 4]


def test_nets_that_diverged_are_left_out_and_the_widest_that_has_any_is_the_reference():
    tasks = planned()
    lost = snapshot_of(tasks, 2, 2, 1)
    after = planned(Have(hopeless=frozenset({lost})))
    assert nets_of(after[1]) == [(2, 2, 0), (2, 2, 2), (5, 2, 0), (5, 2, 1), (5, 2, 2)]
    assert keys(after) ^ keys(tasks) == {after[1].job.key, tasks[1].job.key}
    wide = frozenset(snapshot_of(tasks, 5, 2, seed) for seed in range(3))
    after = planned(Have(hopeless=wide))
    assert [sorted({width for width, _, _ in nets_of(task)}) for task in after] == [
        [2, 5], [2, 3], [3, 5], [3], [5]
    ]  # fmt: skip


def test_a_job_that_lost_a_net_is_not_made_of_the_others():
    task = planned()[0]
    assert ENSEMBLES.without(task, set(task.job.inputs[:1]), DIGITS) is None
    assert ENSEMBLES.without(task, {"of another job"}, DIGITS).job == task.job


def test_memory_grows_with_the_images_and_not_with_the_number_of_nets_but_their_weights():
    (few,) = planned(sweep={"widths": [16], "seeds": 2}, train={"epochs": 1, "snapshots": [1]})
    (many,) = planned(sweep={"widths": [16], "seeds": 20}, train={"epochs": 1, "snapshots": [1]})
    assert many.cost.flops == pytest.approx(10 * few.cost.flops)
    assert many.cost.bytes_in == 10 * few.cost.bytes_in
    assert many.cost.memory - few.cost.memory < 3 * many.cost.bytes_in
    some = Measurement("k", few.job.payload.snapshots, {"images": 100})
    assert ENSEMBLES.cost(some, DIGITS).memory < few.cost.memory


def test_the_images_are_no_idle_field_where_a_measure_of_nets_looks_at_them():
    asked = SweepConfig.parse({"sweep": {"measures": ["ensembles"]}})
    assert SIMILARITIES.idle(asked) == {"similarity.permutations"}
