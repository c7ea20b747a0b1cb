"""A plan is exactly what is missing: nothing twice, nothing forgotten, whatever the tiles."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.planning.kinds import graft_tiles
from espalier.orchestrator.planning.kinds import tile_cost as costs
from espalier.orchestrator.planning.kinds.tile_cost import graft_cost
from espalier.orchestrator.planning.plan import make_plan, without
from espalier.orchestrator.planning.task import Limits
from espalier.orchestrator.planning.tile_load import loads
from espalier.tasks.data.images import facts
from espalier.tasks.grafting.nulls.known_nulls import DEFAULT_NULLS
from espalier.tasks.spec import AtOnce, blob_name, state_name
from tests.orchestrator.folder import Folder

BY_SUMS = 1e-6
"""A ridge with which no fit holds its rows, so that grafts are not what needs most memory."""

DIGITS = facts("digits")
ROOMY = Limits(memory=2**40, slots=1)
EPOCHS = (0, 2, 5)


def config(widths=(2, 3), seeds=3, snapshots=EPOCHS, nulls=DEFAULT_NULLS, epochs=5, **sections):
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
    return make_plan(sweep or config(), DIGITS, (have or Folder()).have, limits, where)


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
    return Folder(
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


def test_nulls_are_made_at_the_epochs_that_are_named_and_one_more_epoch_adds_them():
    def planned(**graft):
        sweep = config(graft={"nulls": ["self", "untrained", "pooled", "wider_subset"], **graft})
        made = plan(sweep)
        pools = [pool for task in made.tasks if task.job.kind == "pool" for pool in task.job.payload.pools]
        return pairs(made), {pool.key for pool in pools}, made.total

    last = EPOCHS[-1]
    every, few, two = planned(), planned(null_epochs=[last]), planned(null_epochs=[0, last])
    assert {target.epoch for _, target, null in few[0].values() if null == "none"} == {*EPOCHS}
    assert {target.epoch for _, target, null in few[0].values() if null != "none"} == {last}
    assert few[0].keys() < two[0].keys() < every[0].keys()
    assert few[1] < two[1] < every[1]
    assert few[2]["pool"] * 3 == two[2]["pool"] * 1.5 == every[2]["pool"]


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
    one_source = max(task.cost.memory for task in tiles(plan(sweep, limits=Limits(2**40, 6))))
    assert one_source < largest
    counts = []
    for memory in range(largest, one_source - 1, (one_source - largest) // 5):
        made = plan(sweep, limits=Limits(memory, 1))
        assert pairs(made) == pairs(roomy)
        assert all(task.cost.memory <= memory for task in tiles(made))
        assert not any("at_once" in task.job.where for task in tiles(made))
        counts.append(len(tiles(made)))
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


def test_where_one_source_is_too_much_a_tile_goes_over_the_images_more_than_once():
    sweep = config(widths=(16,), seeds=6, snapshots=(0, 5), network={"layers": [2, "pool", 4]})
    one_source = plan(sweep, limits=Limits(2**40, 6))
    largest = max(task.cost.memory for task in tiles(one_source))
    least = max(graft_cost(task.job.payload, DIGITS, AtOnce(1, 1)).memory for task in tiles(one_source))
    assert least < largest
    tight = plan(sweep, limits=Limits(least, 6))
    assert pairs(tight) == pairs(one_source)
    assert all(task.cost.memory <= least for task in tiles(tight))
    parted = [task for task in tiles(tight) if "at_once" in task.job.where]
    assert parted
    assert {task.job.key for task in tiles(tight)} == {task.job.key for task in tiles(one_source)}
    for task in parted:
        whole = graft_cost(task.job.payload, DIGITS)
        assert whole.flops < task.cost.flops < 2 * whole.flops  # more forward passes, no more factorisations
    with pytest.raises(ConfigError, match="needs"):
        plan(sweep, limits=Limits(least - 1, 6))
    larger = plan(sweep, limits=Limits(least - 1, 6, most=least))
    assert [task.job for task in larger.tasks] == [
        task.job for task in plan(sweep, limits=Limits(least - 1, 6, 2**40)).tasks
    ]
    assert least - 1 < max(task.cost.memory for task in tiles(larger)) <= least


def test_what_some_pairs_cost_is_reckoned_once_however_they_are_cut(monkeypatch):
    reckoned = Counter()

    def counted(pairs, *more):
        reckoned[pairs.keys.tobytes()] += 1
        return loads(pairs, *more)

    monkeypatch.setattr(costs, "loads", counted)
    monkeypatch.setattr(graft_tiles, "loads", counted)
    sweep = config(widths=(3,), seeds=8, snapshots=(5,), nulls=())
    for slots, many in ((1, 1), (3, 8), (40, 20)):
        reckoned.clear()
        made = tiles(plan(sweep, limits=Limits(2**40, slots)))
        assert len(made) >= many
        assert set(reckoned.values()) == {1}
        assert all(task.cost == graft_cost(task.job.payload, DIGITS) for task in made)


def test_there_are_tiles_for_every_slot():
    for slots in (1, 7, 30, 78):
        assert len(tiles(plan(limits=Limits(2**40, slots)))) >= slots
    # For each of 2 widths and 3 sources: 3 targets at each of 3 epochs, and 2 at each of 2 epochs for the
    # untrained source. No tile is smaller than one source and one target.
    assert len(tiles(plan(limits=Limits(2**40, 10**6)))) == 2 * 3 * (3 * 3 + 2 * 2)


def test_a_source_is_in_one_tile_unless_slots_would_be_idle():
    """Its factorisation is then used where it was made, by targets of every epoch and width."""
    everything = ["same_width", "cross_width", "cross_epoch"]
    sweep = config(widths=(2, 3, 4), graft={"nulls": list(DEFAULT_NULLS), "pairings": everything})
    for slots in (1, 2, 5):
        made = tiles(plan(sweep, limits=Limits(2**40, slots)))
        sources = Counter(
            key
            for task in made
            for key in {task.job.payload.snapshots[p.source].key for p in task.job.payload.pairs}
        )
        assert set(sources.values()) == {1}


def test_a_job_that_cannot_fit_is_refused_with_what_it_needs():
    with pytest.raises(ConfigError) as caught:
        plan(limits=Limits(2**28, 1))
    text = str(caught.value)
    assert text.startswith("run.memory_gib: ")
    assert "has 0.25 GiB" in text
    assert "use fewer slots" in text
    need = float(text.split("needs ")[1].split()[0])
    assert plan(limits=Limits(int((need + 0.01) * 2**30), 1)).tasks


def test_a_layer_too_wide_for_its_gram_matrix_is_named():
    wide = config(widths=(1,), seeds=2, snapshots=(5,), network={"layers": [512, 1]})
    with pytest.raises(ConfigError, match=r"4608 patch dimensions: 0\.16 GiB for each"):
        plan(wide, limits=Limits(2**30, 1))


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
    rest = plan(have=Folder(hopeless=frozenset({lost.key})))
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
            assert (rest is None) == (not kept)
            if rest is None:
                continue
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


def kinds(made, what):
    """How many pairs there are of each (source, target) seen through `what`, nulls left out."""
    return Counter(
        (what(source), what(target)) for source, target, null in pairs(made).values() if null == "none"
    )


def paired(*pairings, nulls=(), **sections):
    return {"graft": {"nulls": list(nulls), "pairings": list(pairings)}, **sections}


def test_every_width_goes_into_the_widest_and_back():
    made = plan(config(widths=(2, 4, 3), snapshots=(0, 5), **paired("cross_width")))
    counted = kinds(made, lambda snap: (snap.net.width, snap.epoch))
    wanted = {((w, e), (4, e)): 9 for w in (2, 3) for e in (0, 5)}  # 3 seeds by 3 seeds
    assert counted == wanted | {(target, source): 9 for source, target in wanted}


def test_epochs_go_into_the_last_one_and_back_and_along_the_diagonal():
    made = plan(config(widths=(2,), **paired("cross_epoch")))
    assert kinds(made, lambda snap: snap.epoch) == {
        (0, 5): 6, (2, 5): 6, (5, 5): 6, (5, 0): 6, (5, 2): 6, (0, 0): 6, (2, 2): 6,
    }  # fmt: skip


def test_settings_go_into_each_other_between_different_seeds():
    cross = {"widths": [2], "seeds": 3, "cross": {"train.reg_weight": [1e-4, 1e-2]}}
    made = plan(config(**paired("cross_setting", sweep=cross)))
    assert kinds(made, lambda snap: snap.net.recipe.reg_weight) == {(1e-4, 1e-2): 18, (1e-2, 1e-4): 18}
    for source, target, _ in pairs(made).values():
        assert source.net.seed != target.net.seed
        assert source.epoch == target.epoch


def test_a_pair_that_two_pairings_ask_for_is_planned_once():
    both, alone = (
        plan(config(**paired(*names))) for names in (("same_width", "cross_epoch"), ("cross_epoch",))
    )
    assert pairs(both) == pairs(alone)


def test_skip_grafts_are_pairs_of_their_own_in_tiles_of_their_own():
    layers = {"layers": [1, 1, "pool", 1]}
    skipped = plan(config(network=layers, **paired("skip")))
    both = plan(config(network=layers, **paired("same_width", "skip")))
    plain = plan(config(network=layers, **paired("same_width")))
    assert pairs(both) == pairs(plain) | pairs(skipped)
    assert not set(pairs(plain)) & set(pairs(skipped))
    assert {task.job.payload.options.skips for task in tiles(both)} == {(0,), (1,)}


def test_each_number_of_skipped_layers_has_keys_of_its_own():
    layers = {"layers": [1, 1, "pool", 1]}
    one, two = (
        plan(config(network=layers, graft={"nulls": [], "pairings": ["skip"], "skips": skips}))
        for skips in ([1], [1, 2])
    )
    assert set(pairs(one)) < set(pairs(two))


def test_settings_that_differ_in_the_order_of_images_alone_are_two():
    cross = {"widths": [2], "seeds": 2, "cross": {"train.data_order": ["shared", "independent"]}}
    made = plan(config(**paired("same_width", "cross_setting", sweep=cross)))
    counted = Counter(
        (bool(source.net.order), bool(target.net.order)) for source, target, _ in pairs(made).values()
    )
    assert counted == {(a, b): 2 * len(EPOCHS) for a in (False, True) for b in (False, True)}
    assert all(source.net.seed != target.net.seed for source, target, _ in pairs(made).values())


def test_a_setting_with_bn_changes_no_key_of_one_without():
    plain = {"widths": [2], "seeds": 2, "settings": [{"network.batch_norm": False}]}
    both = {**plain, "settings": [{"network.batch_norm": False}, {"network.batch_norm": True}]}
    graft = {"nulls": [], "bn": ["target"]}
    one, two = (plan(config(sweep=axes, graft=graft)) for axes in (plain, both))
    assert set(pairs(one)) < set(pairs(two))


def test_skip_grafts_of_nets_that_have_none_are_refused():
    with pytest.raises(ConfigError, match=r"graft.skips: found \[1\]"):
        plan(config(network={"layers": [1]}, **paired("skip")))


def test_more_settings_and_pairings_keep_what_is_there():
    before = plan(config())
    cross = {"widths": [2, 3], "seeds": 3, "cross": {"train.reg_weight": [5e-4, 1e-2]}}
    more = config(
        sweep=cross, graft={"nulls": list(DEFAULT_NULLS), "pairings": ["same_width", "cross_setting"]}
    )
    after = plan(more, have=finished(before))
    assert not set(pairs(after)) & set(pairs(before))
    assert {seg.snapshot.net.recipe.reg_weight for seg in segments(after)} == {1e-2}


@pytest.mark.parametrize(("share", "limit", "held"), [(0.04, 12, 0), (0.96, 12, 12)])
def test_a_validation_share_that_leaves_a_part_empty_is_refused(share, limit, held):
    sweep = config(graft={"ridges": [0, 1], "validation": share}, data={"limit_train": limit})
    with pytest.raises(ConfigError, match=rf"^graft\.validation: {share} of {limit} .* holds back {held}"):
        plan(sweep)


MIXED = {"nulls": ["pooled", "wider_subset"], "pool_nets": 2}


def pools(made):
    """(target, sources, wide) of every pool by key; fails on one that is planned twice."""
    found = {}
    for task in made.tasks:
        if task.job.kind == "pool":
            tile = task.job.payload
            for pool in tile.pools:
                assert pool.key not in found
                nets = [[tile.snapshots[index] for index in part] for part in (pool.sources, pool.wide)]
                found[pool.key] = (tile.snapshots[pool.target], *nets, pool.null)
    return found


def test_every_target_gets_its_pools_of_other_nets_at_every_epoch():
    made = plan(config(widths=(2, 3), seeds=4, graft=MIXED))
    counted = Counter((target.net.width, target.epoch, null) for target, *_, null in pools(made).values())
    assert counted == {
        (width, epoch, null): 4
        for width in (2, 3)
        for epoch in EPOCHS
        for null in ("pooled", "wider_subset")
        if (width, null) != (3, "wider_subset")  # nothing is wider
    }
    assert made.total["pool"] == sum(counted.values())
    for target, sources, wide, null in pools(made).values():
        assert target.key not in {snap.key for snap in sources}
        assert {snap.net.width for snap in sources} == {target.net.width}
        assert {snap.epoch for snap in (*sources, *wide)} == {target.epoch}
        assert len(sources) == 2
        assert [snap.net.width for snap in wide] == ([3, 3] if null == "wider_subset" else [])


def test_one_more_seed_changes_no_pool_that_has_its_number_of_nets():
    few, more = (plan(config(seeds=seeds, graft=MIXED)) for seeds in (3, 5))
    assert set(pools(few)) < set(pools(more))
    done = Folder(**{**finished(few).__dict__, "pools": frozenset(pools(few))})
    assert not set(pools(plan(config(seeds=5, graft=MIXED), have=done))) & set(pools(few))


def test_pools_go_round_a_net_that_diverged():
    whole = plan(config(seeds=4, graft=MIXED))
    lost = snapshots(whole)[2, 0, 2]
    rest = plan(config(seeds=4, graft=MIXED), have=Folder(hopeless=frozenset({lost.key})))
    for target, sources, wide, _ in pools(rest).values():
        assert lost.key not in {snap.key for snap in (target, *sources, *wide)}
    at_two = [target for target, *_, null in pools(rest).values() if null == "pooled" and target.epoch == 2]
    assert len(at_two) == 3 + 4  # widths 2 and 3


def test_a_job_of_pools_without_a_lost_net_keeps_the_pools_that_do_without_it():
    made = plan(config(seeds=4, graft=MIXED))
    task = next(task for task in made.tasks if task.job.kind == "pool")
    tile = task.job.payload
    lost = tile.snapshots[tile.pools[-1].target]
    rest = without(task, {blob_name(lost.key)}, DIGITS)
    assert rest is None or all(
        lost.key not in {rest.job.payload.snapshots[i].key for i in (p.target, *p.sources, *p.wide)}
        for p in rest.job.payload.pools
    )
    assert without(task, set(task.job.inputs), DIGITS) is None


def test_hybrids_are_made_of_neighbouring_seeds_and_no_net_is_in_two():
    made = plan(config(seeds=5, hybrids={"pairs": 2, "shares": [0.0, 1.0], "epochs": [0, 5]}))
    found = [task.job.payload for task in made.tasks if task.job.kind == "hybrid"]
    ends = Counter(
        (
            tile.snapshots[0].net.width,
            tile.snapshots[0].net.seed,
            tile.snapshots[1].net.seed,
            tile.snapshots[1].epoch,
        )
        for tile in found
    )
    assert ends == {(w, a, a + 1, e): 1 for w in (2, 3) for a in (0, 2) for e in (0, 5)}
    assert made.total["hybrid"] == len(found) == 8
    keys = frozenset(task.job.key for task in made.tasks if task.job.kind == "hybrid")
    again = plan(
        config(seeds=5, hybrids={"pairs": 2, "shares": [0.0, 1.0], "epochs": [0, 5]}),
        have=Folder(hybrids=keys),
    )
    assert not [task for task in again.tasks if task.job.kind == "hybrid"]
    assert again.done["hybrid"] == 8


def test_a_later_snapshot_moves_the_hybrids_of_the_last_one_unless_their_epochs_are_pinned():
    """As docs/sweep.md tells under `hybrids.epochs`."""

    def made(epoch, **pinned):
        sweep = config(snapshots=(0, epoch), epochs=epoch, hybrids={"pairs": 1, **pinned})
        payloads = [task.job.payload for task in plan(sweep).tasks if task.job.kind == "hybrid"]
        return {tile.pairs[0].key: tile.snapshots[1].epoch for tile in payloads}

    assert {*made(5).values()} == {5}
    assert {*made(9).values()} == {9}
    assert not made(5).keys() & made(9).keys()
    assert made(9, epochs=[0]) == made(5, epochs=[0])
    page = (Path(__file__).parents[3] / "docs" / "sweep.md").read_text()
    (row,) = [line for line in page.splitlines() if line.startswith("| `hybrids.epochs`")]
    assert "The last one moves when a later snapshot is added" in row
    assert "List the epochs to pin them" in row


@pytest.mark.parametrize(
    ("hybrids", "told"),
    [
        ({"pairs": 2}, r"hybrids\.pairs: 2 need 4 seeds, found 3"),
        ({"pairs": 1, "epochs": [1]}, r"hybrids\.epochs: found \[1\]"),
    ],
)
def test_hybrids_that_cannot_be_made_are_refused(hybrids, told):
    with pytest.raises(ConfigError, match=told):
        plan(config(hybrids=hybrids))


def test_ways_of_bn_where_no_bn_is_change_no_key():
    assert pairs(plan(config(graft={"bn": ["target"]}))).keys() == pairs(plan(config(graft={}))).keys()
    with_bn = {"network": {"layers": [1, "pool", 1], "batch_norm": True}}
    both, one = (pairs(plan(config(graft=graft, **with_bn))) for graft in ({}, {"bn": ["target"]}))
    assert not both.keys() & one.keys()


def pool_tasks_of(made):
    return [task for task in made.tasks if task.job.kind == "pool"]


def test_jobs_of_pools_keep_to_the_memory_and_never_change_the_pools():
    sweep = config(widths=(8,), seeds=5, graft={"nulls": ["pooled"], "ridge": BY_SUMS})
    whole = plan(sweep)
    largest = max(task.cost.memory for task in pool_tasks_of(whole))
    alone = max(task.cost.memory for task in pool_tasks_of(plan(sweep, limits=Limits(2**40, 10**6))))
    assert alone < largest
    tight = plan(sweep, limits=Limits(alone, 1))
    assert pools(tight).keys() == pools(whole).keys()
    assert all(task.cost.memory <= alone for task in pool_tasks_of(tight))
    assert len(pool_tasks_of(tight)) > len(pool_tasks_of(whole))


def test_a_pool_too_wide_for_its_gram_matrix_is_named():
    wide = config(widths=(1,), snapshots=(5,), network={"layers": [192, 1]}, graft={"nulls": ["pooled"]})
    with pytest.raises(ConfigError, match=r"pooled width 1 .*3456 patch dimensions"):
        plan(wide, limits=Limits(800_000_000, 1))


def test_hybrids_take_as_many_shares_at_once_as_the_memory_holds():
    network, by_sums = {"layers": [4, "pool", 4]}, {"ridge": BY_SUMS}
    sweep = config(widths=(16,), seeds=2, network=network, hybrids={"pairs": 1}, graft=by_sums)

    def hybrid(limits):
        return next(task for task in plan(sweep, limits=limits).tasks if task.job.kind == "hybrid")

    whole = hybrid(ROOMY)
    assert "shares_at_once" not in whole.job.where
    parted = hybrid(Limits(whole.cost.memory - 1, 1))
    assert (parted.job.key, parted.job.where["shares_at_once"]) == (whole.job.key, 6)
    assert parted.cost.memory < whole.cost.memory
    assert parted.cost.flops > whole.cost.flops


def axes(**sweep):
    return {"sweep": {"widths": [2], "seeds": 2, **sweep}}


@pytest.mark.parametrize(
    ("varied", "words"),
    [
        ({"cross": {"train.gamma": [0.1, 0.2]}}, r"sweep\.cross\.'train\.gamma'.*all make the same nets"),
        ({"cross": {"train.lr": [0.1, 0.2], "train.gamma": [0.1, 0.2]}}, r"'train\.gamma'"),
        ({"settings": [{"train.gamma": 0.1}, {"train.gamma": 0.3}]}, r"all of sweep\.settings"),
    ],
    ids=str,
)
def test_axes_that_change_no_net_are_refused(varied, words):
    sweep = config().model_dump() | axes(**varied) | {"graft": {"pairings": ["cross_setting"]}}
    with pytest.raises(ConfigError, match=words):
        plan(SweepConfig.parse(sweep))


def test_an_axis_that_changes_some_nets_may_be_crossed():
    cross = {"train.regularizer": ["none", "l2"], "train.reg_weight": [1e-3, 1e-4]}
    made = plan(SweepConfig.parse(config().model_dump() | axes(cross=cross)))
    nets = {segment.snapshot.net_key for segment in segments(made)}
    assert len(nets) == 3 * 2  # none, and l2 of either weight; two seeds


@pytest.mark.parametrize(
    ("batch_norm", "limit", "refused"), [(True, 63, True), (True, 64, False), (False, 63, False)]
)
def test_fewer_images_than_a_batch_are_refused_where_bn_measures_batches(batch_norm, limit, refused):
    sweep = config(network={"layers": [1, "pool", 1], "batch_norm": batch_norm}, data={"limit_train": limit})
    if not refused:
        assert plan(sweep).tasks
        return
    with pytest.raises(ConfigError, match=r"^train\.batch_size: found 64, but digits has 63 training images"):
        plan(sweep)
