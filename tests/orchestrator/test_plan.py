"""A plan is exactly what is missing: nothing twice, nothing forgotten, whatever the tiles."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config import ConfigError, SweepConfig
from orchestrator.plan import Have, Limits, blob_name, make_plan, state_name, without
from tasks.images import facts
from tasks.spec import NULLS

DIGITS = facts("digits")
ROOMY = Limits(memory=2**40, slots=1)
EPOCHS = (0, 2, 5)


def config(widths=(2, 3), seeds=3, snapshots=EPOCHS, nulls=NULLS, epochs=5, **sections):
    return SweepConfig.parse(
        {
            "network": {"layers": [1, "pool", 1]},
            "sweep": {"widths": list(widths), "seeds": seeds},
            "train": {"epochs": epochs, "snapshots": list(snapshots), "schedule": "constant"},
            "graft": {"nulls": list(nulls)},
            **sections,
        }
    )


def plan(sweep=None, have=None, limits=ROOMY, **where):
    return make_plan(sweep or config(), DIGITS, have or Have(), limits, where)


def segments(made):
    """The training segments in order."""
    return [task.job.payload for task in made.tasks if task.job.kind == "train"]


def tiles(made):
    return [task for task in made.tasks if task.job.kind == "graft"]


def pairs(made):
    """(source, target, null) of every pair by key; fails on a pair that is planned twice."""
    found = {}
    for task in tiles(made):
        tile = task.job.payload
        for pair in tile.pairs:
            assert pair.key not in found
            found[pair.key] = (tile.snapshots[pair.source], tile.snapshots[pair.target], pair.null)
    return found


def snapshots(made):
    """Snapshots by (width, seed, epoch)."""
    return {
        (seg.snapshot.net.width, seg.snapshot.net.seed, seg.snapshot.epoch): seg.snapshot
        for seg in segments(made)
    }


def finished(made, blobs=True):
    """What a folder holds when everything in `made` was done."""
    trained = [seg.snapshot for seg in segments(made)]
    return Have(
        snapshots=frozenset(snap.key for snap in trained),
        curves=frozenset((snap.net_key, epoch) for snap in trained for epoch in range(1, snap.epoch + 1)),
        grafts=frozenset(pairs(made)),
        blobs=frozenset(blob_name(snap.key) for snap in trained) if blobs else frozenset(),
    )


def test_a_plan_is_a_function_of_what_it_is_given():
    assert plan(dataset="digits") == plan(dataset="digits")


def test_where_goes_into_every_job():
    assert all(task.job.where == {"dataset": "digits"} for task in plan(dataset="digits").tasks)


def test_all_ordered_pairs_and_nulls_are_planned_once():
    made = plan()
    counted = Counter((target.net.width, target.epoch, null) for _, target, null in pairs(made).values())
    for width in (2, 3):
        for epoch in EPOCHS:
            assert counted[width, epoch, "none"] == 6  # 3 seeds: 01 02 10 12 20 21
            assert counted[width, epoch, "shuffled_images"] == 6
            assert counted[width, epoch, "untrained"] == (0 if epoch == 0 else 6)
            assert counted[width, epoch, "self"] == 3
            assert counted[width, epoch, "permuted"] == 3
    assert made.total == {"train": 2 * 3 * 3, "graft": 2 * (18 + 24 + 24)}
    assert made.done == {"train": 0, "graft": 0}
    assert sum(task.size for task in tiles(made)) == made.total["graft"]


def test_every_pair_is_what_its_null_says():
    for source, target, null in pairs(plan()).values():
        assert source.net.width == target.net.width
        assert (source.net.seed == target.net.seed) == (null in ("self", "permuted"))
        assert source.epoch == (0 if null == "untrained" else target.epoch)


def test_real_grafts_need_no_null():
    found = pairs(plan(config(nulls=())))
    assert len(found) == 2 * 3 * 6
    assert {null for *_, null in found.values()} == {"none"}


def test_without_an_untrained_snapshot_there_is_no_untrained_null():
    assert "untrained" not in {null for *_, null in pairs(plan(config(snapshots=(2, 5)))).values()}


def test_a_tile_reads_the_snapshots_that_it_names_and_tasks_produce_them():
    made = plan()
    produced = {name for task in made.tasks for name in task.produces}
    for task in tiles(made):
        assert task.job.inputs == tuple(blob_name(snap.key) for snap in task.job.payload.snapshots)
        assert set(task.job.inputs) <= produced
        used = {index for pair in task.job.payload.pairs for index in (pair.source, pair.target)}
        assert used == set(range(len(task.job.payload.snapshots)))


def test_every_job_has_a_key_of_its_own():
    keys = [task.job.key for task in plan(limits=Limits(2**40, 16)).tasks]
    assert len(set(keys)) == len(keys)


def test_when_nothing_is_missing_nothing_is_planned():
    for blobs in (True, False):
        again = plan(have=finished(plan(), blobs))
        assert again.tasks == ()
        assert again.done == again.total


@pytest.mark.parametrize(
    "grown",
    [
        {"seeds": 4},
        {"widths": (2, 3, 4)},
        {"snapshots": (0, 2, 4, 5)},
        {"snapshots": (0, 2, 5, 9), "epochs": 9},
    ],
    ids=str,
)
def test_more_of_an_axis_leaves_exactly_the_difference(grown):
    before, whole = plan(), plan(config(**grown))
    rest = plan(config(**grown), have=finished(before))
    assert pairs(rest).keys() == pairs(whole).keys() - pairs(before).keys()
    assert snapshots(rest).keys() == snapshots(whole).keys() - snapshots(before).keys()
    assert pairs(before).keys() < pairs(whole).keys()


def test_less_of_an_axis_needs_nothing():
    assert plan(config(seeds=2, widths=(3,), snapshots=(0, 5)), have=finished(plan())).tasks == ()


WHOLE = plan()


@settings(max_examples=40, deadline=None)
@given(data=st.data(), memory=st.sampled_from([720_000_000, 2**30, 2**40]), slots=st.integers(1, 40))
def test_planned_and_done_pairs_are_together_all_and_share_none(data, memory, slots):
    done = data.draw(st.sets(st.sampled_from(sorted(pairs(WHOLE)))))
    rest = plan(have=replace(finished(WHOLE), grafts=frozenset(done)), limits=Limits(memory, slots))
    assert pairs(rest).keys() | done == pairs(WHOLE).keys()
    assert not pairs(rest).keys() & done
    assert rest.done["graft"] == len(done)
    assert segments(rest) == []


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_missing_pair_can_always_get_its_nets(data):
    everything = finished(WHOLE)
    kept = data.draw(st.sets(st.sampled_from(sorted(everything.blobs))))
    done = data.draw(st.sets(st.sampled_from(sorted(everything.grafts))))
    rest = plan(have=replace(everything, blobs=frozenset(kept), grafts=frozenset(done)))
    produced = {name for task in rest.tasks for name in task.produces}
    read = {name for task in rest.tasks for name in task.job.inputs}
    assert read <= kept | produced
    # Nothing is trained that no missing pair needs (or that leads to a later one that does).
    needed = read & {blob_name(seg.snapshot.key) for seg in segments(rest)}
    assert {blob_name(seg.snapshot.key) for seg in segments(rest)} == needed - kept


def test_tiles_keep_to_the_memory_and_never_change_the_pairs():
    one = {"layers": [2, "pool", 4]}
    sweep = config(widths=(16,), seeds=6, snapshots=(0, 5), network=one)
    roomy = plan(sweep)
    largest = max(task.cost.memory for task in tiles(roomy))
    least = max(task.cost.memory for task in tiles(plan(sweep, limits=Limits(2**40, 10**6))))
    assert least < largest
    counts = []
    for memory in range(largest, least - 1, (least - largest) // 5):
        made = plan(sweep, limits=Limits(memory, 1))
        assert pairs(made) == pairs(roomy)
        assert all(task.cost.memory <= memory for task in tiles(made))
        counts.append(len(tiles(made)))
    assert counts == sorted(counts)
    assert counts[0] == 2  # one tile for each epoch
    assert counts[-1] > 2


def test_there_are_tiles_for_every_slot():
    for slots in (1, 7, 30, 54):
        assert len(tiles(plan(limits=Limits(2**40, slots)))) >= slots
    # 2 widths x 3 epochs x 3 sources x 3 targets: no tile is smaller than one ordered pair of seeds
    assert len(tiles(plan(limits=Limits(2**40, 10**6)))) == 54


def test_a_job_that_cannot_fit_is_refused_with_what_it_needs():
    need = min(task.cost.memory for task in plan(limits=Limits(2**40, 10**6)).tasks)
    with pytest.raises(ConfigError) as caught:
        plan(limits=Limits(need // 2, 1))
    text = str(caught.value)
    assert text.startswith("run.memory_gib: ")
    assert f"needs {need / 2**30:.1f} GiB" in text
    assert f"has {need / 2 / 2**30:.1f} GiB" in text
    assert "use fewer slots" in text


def test_a_lost_checkpoint_is_trained_again_only_if_a_missing_pair_needs_it():
    everything = finished(WHOLE)
    gone = snapshots(WHOLE)[2, 1, 5]
    kept = replace(everything, blobs=everything.blobs - {blob_name(gone.key)})
    assert plan(have=kept).tasks == ()
    wanting = next(
        key for key, (source, _, null) in pairs(WHOLE).items() if source == gone and null == "none"
    )
    other = next(key for key, (source, target, _) in pairs(WHOLE).items() if gone not in (source, target))
    without_one = plan(have=replace(kept, grafts=kept.grafts - {wanting}))
    assert [seg.snapshot for seg in segments(without_one)] == [gone]
    assert without_one.done["train"] == without_one.total["train"] - 1
    assert segments(plan(have=replace(kept, grafts=kept.grafts - {other}))) == []


def test_training_is_cut_at_every_missing_snapshot_and_hands_its_state_on():
    made = plan(config(widths=(2,), seeds=2))
    ladder = [
        task for task in made.tasks if task.job.kind == "train" and task.job.payload.snapshot.net.seed == 1
    ]
    assert [(task.job.payload.start, task.job.payload.snapshot.epoch) for task in ladder] == [
        (None, 0), (0, 2), (2, 5),
    ]  # fmt: skip
    assert [task.job.payload.keep_state for task in ladder] == [True, True, False]
    for earlier, later in pairwise(ladder):
        assert later.job.inputs == (state_name(earlier.job.key),)
        assert later.job.inputs[0] in earlier.produces


@pytest.mark.parametrize(
    ("states", "start"), [([0, 2], 2), ([0], 0), ([2], 2), ([], None), ([5], None)], ids=str
)
def test_training_goes_on_from_the_last_state_before_what_is_missing(states, start):
    ladder = {epoch: snapshots(WHOLE)[2, 0, epoch] for epoch in EPOCHS}
    everything = finished(WHOLE)
    have = replace(
        everything,
        snapshots=everything.snapshots - {ladder[5].key},
        blobs=everything.blobs | {state_name(ladder[epoch].key) for epoch in states},
    )
    (segment,) = segments(plan(have=have))
    assert (segment.snapshot, segment.start, segment.keep_state) == (ladder[5], start, False)


def test_a_snapshot_without_its_last_curve_row_is_not_done():
    everything, snap = finished(WHOLE), snapshots(WHOLE)[3, 1, 5]
    cut = replace(everything, curves=everything.curves - {(snap.net_key, 5)})
    assert [seg.snapshot for seg in segments(plan(have=cut))] == [snap]


def test_what_cannot_be_had_is_left_out_with_its_pairs_and_nothing_else():
    lost = snapshots(WHOLE)[2, 1, 2]
    later = snapshots(WHOLE)[2, 1, 5]
    rest = plan(have=Have(hopeless=frozenset({lost.key})))
    assert rest.hopeless == tuple(sorted([lost.key, later.key]))
    assert snapshots(rest).keys() == snapshots(WHOLE).keys() - {(2, 1, 2), (2, 1, 5)}
    barred = {key for key, (source, target, _) in pairs(WHOLE).items() if {lost, later} & {source, target}}
    assert barred
    assert pairs(rest).keys() == pairs(WHOLE).keys() - barred


def test_a_tile_without_lost_nets_keeps_exactly_the_other_pairs():
    for task in tiles(WHOLE):
        tile = task.job.payload
        for snap in tile.snapshots:
            rest = without(task, {blob_name(snap.key)}, DIGITS)
            kept = {
                pair.key
                for pair in tile.pairs
                if snap not in (tile.snapshots[pair.source], tile.snapshots[pair.target])
            }
            assert rest is not None
            assert {pair.key for pair in rest.job.payload.pairs} == kept
            assert blob_name(snap.key) not in rest.job.inputs
            assert rest.size == len(kept)
            assert rest.cost.flops < task.cost.flops


def test_a_tile_that_lost_nothing_stays_and_one_that_lost_all_goes():
    task = tiles(WHOLE)[0]
    assert without(task, {"another.safetensors"}, DIGITS) == task
    assert without(task, set(task.job.inputs), DIGITS) is None
    trainer = next(task for task in WHOLE.tasks if task.job.kind == "train")
    assert without(trainer, set(trainer.job.inputs), DIGITS) is None


@pytest.mark.parametrize(("share", "limit", "held"), [(0.04, 12, 0), (0.96, 12, 12)])
def test_a_validation_share_that_leaves_a_part_empty_is_refused(share, limit, held):
    sweep = config(graft={"ridges": [0, 1], "validation": share}, data={"limit_train": limit})
    with pytest.raises(ConfigError, match=rf"^graft\.validation: {share} of {limit} .* holds back {held}"):
        plan(sweep)
