"""Train jobs of several nets: each snapshot once, within the memory, with work for every slot."""

from dataclasses import replace

import pytest

from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.orchestrator.planning.identity import probe_key
from espalier.orchestrator.planning.kind import Choice
from espalier.orchestrator.planning.kinds.train_cost import train_cost
from espalier.orchestrator.planning.kinds.train_groups import Rung, train_tasks
from espalier.orchestrator.planning.kinds.training import TRAINING
from espalier.orchestrator.planning.nets import nets
from espalier.orchestrator.planning.plan import halves, make_plan, without
from espalier.orchestrator.planning.task import Limits
from espalier.orchestrator.running.probing import alike
from espalier.tasks.data.images import facts
from espalier.tasks.kernels.tiling import work_bytes
from espalier.tasks.spec import ALONE, COMPILED, TrainMode, blob_name, mode_of, segments_of, state_name
from tests.orchestrator.folder import Folder

DIGITS = facts("digits")
ROOMY = Limits(memory=2**40, slots=1)
EIGHT = Choice(TrainMode(grouped=True, layout="channels_last"), 8)


def config(widths=(4,), seeds=8, snapshots=(0, 2, 5), **train):
    return SweepConfig.parse(
        {
            "network": {"layers": [1, "pool", 1]},
            "sweep": {"widths": list(widths), "seeds": seeds},
            "train": {"epochs": 5, "snapshots": list(snapshots), "schedule": "constant"} | train,
            "graft": {"nulls": []},
        }
    )


def plan(sweep=None, choice=EIGHT, limits=ROOMY, have=None):
    sweep = sweep or config()
    choices = {probe_key(net, "cpu"): choice for net in nets(sweep, DIGITS)}
    return make_plan(sweep, DIGITS, (have or Folder()).have, limits, {"dataset": "digits"}, choices)


def jobs(made):
    return [task for task in made.tasks if task.job.kind == "train"]


def places(task):
    return [
        (seg.snapshot.net.width, seg.snapshot.net.seed, seg.snapshot.epoch)
        for seg in segments_of(task.job.payload)
    ]


def test_a_group_goes_from_snapshot_to_snapshot_with_all_its_nets():
    first, second, third = jobs(plan())
    assert [places(task) for task in (first, second, third)] == [
        [(4, seed, epoch) for seed in range(8)] for epoch in (0, 2, 5)
    ]
    keys = [segment.snapshot.key for segment in segments_of(first.job.payload)]
    assert second.job.inputs == tuple(state_name(key) for key in keys)
    assert first.job.gives == len(first.produces)
    assert first.produces == tuple(name for key in keys for name in (blob_name(key), state_name(key)))
    assert third.size == 8
    assert TRAINING.mode(third) == "grouped channels_last x8"
    assert first.label == "train width 4 seeds 0 1 2 3 4 5 6 7 to epoch 0"
    assert sum(task.cost.flops for task in jobs(plan())) == sum(
        task.cost.flops for task in jobs(plan(choice=Choice()))
    )


@pytest.mark.parametrize("slots", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_every_snapshot_is_trained_once_and_every_slot_has_work(slots, size):
    sweep = config(widths=(2, 4), seeds=6)
    made = jobs(plan(sweep, replace(EIGHT, nets=size), Limits(2**40, slots)))
    found = [place for task in made for place in places(task)]
    assert sorted(found) == [(w, s, e) for w in (2, 4) for s in range(6) for e in (0, 2, 5)]
    assert max(task.size for task in made) <= size
    assert len([task for task in made if places(task)[0][2] == 5]) >= min(slots, 12)


def test_equal_nets_are_halved_over_two_slots_whatever_their_time_rounds_to():
    """Of 0.1 three times the sum is more than three times 0.1."""
    for epochs in range(1, 40):
        sweep = config(seeds=8, snapshots=(epochs,), epochs=epochs)
        assert {task.size for task in jobs(plan(sweep, limits=Limits(2**40, 2)))} == {4}, epochs


def test_groups_keep_to_the_memory():
    chains = [[Rung(segments_of(task.job.payload)[0], None)] for task in jobs(plan(choice=Choice()))[::3]]
    choices = {probe_key(chain[0].segment.snapshot.net, "cpu"): EIGHT for chain in chains}

    def made(memory):
        return train_tasks(chains, choices, DIGITS, Limits(memory, 1), {})

    costs = {size: train_cost([chain[0].segment for chain in chains[:size]], DIGITS) for size in (8, 4, 2)}
    for size, cost in costs.items():
        assert [task.size for task in made(cost.memory)] == [size] * (8 // size)
        assert all(task.cost.memory <= cost.memory for task in made(cost.memory))
    assert {task.size for task in made(costs[8].memory - 1)} == {4}
    alone = train_cost([chains[0][0].segment], DIGITS, EIGHT.mode)
    assert alone.memory == costs[2].memory  # a copy beside it
    assert alone.flops == costs[2].flops / 2
    assert {mode_of(task.job.where).grouped for task in made(alone.memory)} == {True}
    assert {mode_of(task.job.where) for task in made(alone.memory - 1)} == {TrainMode(layout="channels_last")}


def test_compiled_kernels_give_way_where_their_planes_do_not_fit():
    chains = [
        [Rung(segments_of(task.job.payload)[0], None)]
        for task in jobs(plan(config((32,)), choice=Choice()))[:1]
    ]
    (net,) = {chain[0].segment.snapshot.net for chain in chains}
    segment = chains[0][0].segment
    plain, compiled = (train_cost([segment], DIGITS, mode) for mode in (ALONE, COMPILED))
    assert compiled.memory == plain.memory + work_bytes(net.architecture) > plain.memory
    choices = {probe_key(net, "cpu"): Choice(COMPILED)}
    modes = []
    for memory in (compiled.memory, compiled.memory - 1):
        (task,) = train_tasks(chains, choices, DIGITS, Limits(memory, 1), {})
        modes.append(mode_of(task.job.where))
    assert modes == [COMPILED, TrainMode(layout="channels_last")]
    (task,) = train_tasks(chains, choices, DIGITS, ROOMY, {})
    (plainer,) = halves(task, DIGITS)  # tried where it found too little memory after all
    assert mode_of(plainer.job.where) == TrainMode(layout="channels_last")
    assert halves(plainer, DIGITS) == ()


def test_without_a_choice_and_in_a_loop_each_net_has_its_jobs():
    for choice in (Choice(), Choice(TrainMode(layout="channels_last"), 4)):
        made = jobs(plan(choice=choice))
        assert {task.size for task in made} == {1}
        assert {mode_of(task.job.where) for task in made} == {choice.mode}
    assert "train_mode" not in jobs(plan(choice=Choice()))[0].job.where


def test_nets_that_stand_at_other_epochs_are_in_groups_of_their_own():
    made = jobs(plan())
    last = segments_of(made[-1].job.payload)
    done = [segment.snapshot for segment in last[:3]]
    before = [segment.snapshot for segment in segments_of(made[1].job.payload)[3:]]
    start = [segment.snapshot for segment in segments_of(made[0].job.payload)]
    rows = [*done, *before, *start, *(segment.snapshot for segment in segments_of(made[1].job.payload)[:3])]
    have = Folder(
        snapshots=frozenset(snap.key for snap in rows),
        curves=frozenset((snap.net_key, epoch) for snap in rows for epoch in range(1, snap.epoch + 1)),
        blobs=frozenset(blob_name(snap.key) for snap in rows) | {state_name(snap.key) for snap in before},
    )
    (rest,) = jobs(plan(have=have))
    assert places(rest) == [(4, seed, 5) for seed in range(3, 8)]
    assert rest.job.inputs == tuple(state_name(snap.key) for snap in before)


def test_a_group_without_lost_states_keeps_the_others_and_their_states():
    task = jobs(plan())[1]
    lost = {task.job.inputs[1], task.job.inputs[6]}
    rest = without(task, lost, DIGITS)
    assert rest is not None
    assert [place[1] for place in places(rest)] == [0, 2, 3, 4, 5, 7]
    assert rest.job.inputs == tuple(name for name in task.job.inputs if name not in lost)
    assert without(task, set(task.job.inputs), DIGITS) is None


def test_halves_are_the_group_in_two_down_to_single_nets():
    task = jobs(plan(config(seeds=5)))[1]
    one, two = halves(task, DIGITS)
    assert places(one) + places(two) == places(task)
    assert one.job.inputs + two.job.inputs == task.job.inputs
    assert one.job.where == task.job.where
    assert [half.size for half in halves(two, DIGITS)] == [1, 1]
    single = halves(two, DIGITS)[0]
    (looped,) = halves(single, DIGITS)  # a net left alone has a copy beside it, which a loop does without
    assert (looped.job.key, looped.job.inputs) == (single.job.key, single.job.inputs)
    assert looped.cost.memory < single.cost.memory
    assert not mode_of(looped.job.where).grouped
    assert halves(looped, DIGITS) == ()
    assert single.job.key == segments_of(single.job.payload)[0].snapshot.key


def test_a_probe_is_asked_for_once_for_all_seeds_and_rates():
    every = nets(config(widths=(4, 8)), DIGITS) + nets(config(widths=(4,), lr=0.2), DIGITS)
    some = alike(every, 5, DIGITS, "cpu")
    assert sorted((one.net.width, one.nets) for one in some.values()) == [(4, 16), (8, 8)]
    assert len(alike(nets(config(batch_size=32), DIGITS) + every, 5, DIGITS, "cpu")) == 3
    short, long = (
        min(one.seconds for one in alike(every, epochs, DIGITS, "cpu").values()) for epochs in (1, 9)
    )
    assert long > 5 * short


@pytest.mark.parametrize(("field", "values"), [("base_width", [2, 8]), ("richness", [0.5, 1.0])])
def test_nets_that_step_by_other_factors_are_in_groups_of_their_own(field, values):
    kind = "mup" if field == "base_width" else "mean_field"
    sweep = SweepConfig.parse(
        config(seeds=2).model_dump()
        | {
            "network": {"layers": [1, "pool", 1], "parametrization": kind},
            "sweep": {"widths": [4], "seeds": 2, "cross": {f"network.{field}": values}},
        }
    )
    for task in jobs(plan(sweep)):
        assert len({getattr(segment.snapshot.net, field) for segment in segments_of(task.job.payload)}) == 1
        assert task.size == 2
