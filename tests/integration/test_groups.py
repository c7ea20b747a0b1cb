"""Groups of nets through the whole machinery: measured once, trained together, one lost alone."""

import json
from dataclasses import replace
from typing import get_args

import pyarrow.compute as pc
import pytest

import espalier.tasks.training.train
from espalier.orchestrator.planning.identity import net_key, snapshot
from espalier.orchestrator.planning.kind import Choice
from espalier.orchestrator.planning.nets import nets, used
from espalier.orchestrator.running import probing
from espalier.orchestrator.running.pool_makers import in_process
from espalier.orchestrator.store.sweep_store import Store
from espalier.orchestrator.sweep import Sweep
from espalier.tasks.spec import COMPILED, Layout, TrainMode
from espalier.tasks.training.bit_company import keeps_bits
from tests.integration.conftest import (
    Sabotage,
    all_rows,
    measured,
    published,
    run,
    wait_until,
    write_config,
)

ONE_GROUP = {"sweep__seeds": 4, "sweep__widths": [3], "run__slots": 1}


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Four nets trained together, in a layout that keeps their bits on this machine."""
    sweep = Sweep(write_config(tmp_path_factory.mktemp("together") / "sweep", **ONE_GROUP))
    net = nets(sweep.config, sweep.facts)[0]
    (some,) = probing.alike([net], 1, used(sweep.config, sweep.facts), "cpu").values()
    layouts = [layout for layout in get_args(Layout) if keeps_bits(some.probe, TrainMode(True, layout), 4)]
    return {"grouped": True, "layout": layouts[-1], "nets": 4}


@pytest.fixture
def grouped(tmp_path, together):
    """A tiny sweep of 4 seeds that are trained together."""
    return measured(together, write_config(tmp_path / "grouped", **ONE_GROUP))


def jobs(folder, outcome="done", kind="train"):
    log = Store(folder).read_table("jobs")
    return log.filter((pc.field("outcome") == outcome) & (pc.field("kind") == kind)).to_pylist()


def losses(folder):
    rows = Store(folder).read_table("nets").to_pylist()
    return {(row["width"], row["seed"], row["epoch"]): row["loss_test"] for row in rows}


def test_nets_trained_together_have_the_keys_of_those_trained_alone_and_their_losses(
    grouped, tmp_path, together
):
    assert run(grouped).complete
    assert [row["mode"] for row in jobs(grouped)] == [f"grouped {together['layout']} x4"] * 2
    alone = write_config(tmp_path / "alone", **ONE_GROUP)
    assert run(alone).complete
    assert [row["mode"] for row in jobs(alone)] == ["loop contiguous x1"] * 8
    tables = [Store(folder).read_table("grafts")["key"].to_pylist() for folder in (grouped, alone)]
    assert sorted(tables[0]) == sorted(tables[1])
    # float32's rounding, over eight steps
    assert losses(grouped) == pytest.approx(losses(alone), rel=1e-4)


@pytest.mark.bits
def test_more_seeds_and_cut_runs_give_the_rows_of_one_run(grouped, tmp_path, together):
    assert run(grouped).complete
    grown = measured(together, write_config(tmp_path / "grown", **(ONE_GROUP | {"sweep__seeds": 3})))
    assert run(grown).complete
    write_config(grown, **ONE_GROUP)
    assert run(grown).complete
    assert all_rows(grown) == all_rows(grouped)
    sizes = [sorted(row["mode"][-2:] for row in jobs(folder)) for folder in (grouped, grown)]
    assert sizes == [["x4", "x4"], ["x1", "x1", "x3", "x3"]]


@pytest.fixture
def hot_net(monkeypatch):
    """The net of seed 1 diverges: it starts from weights that overflow."""
    honest = espalier.tasks.training.train.train_group

    def train_group(segments, states, data, mode):
        def heated(segment, state):
            if segment.snapshot.net.seed != 1 or not segment.snapshot.epoch:
                return state
            return replace(state, parameters={k: v + 1e30 for k, v in state.parameters.items()})

        pairs = zip(segments, states, strict=True)
        return honest(segments, [heated(*pair) for pair in pairs], data, mode)

    monkeypatch.setattr(espalier.tasks.training.train, "train_group", train_group)


def test_a_net_that_diverges_leaves_its_group_alone(grouped, tmp_path, hot_net, together):
    summary = run(grouped)
    (failure,) = summary.outcome.failures
    assert failure.startswith("train width 3 seed 1 to epoch 2: Diverged: loss_train is ")
    (row,) = jobs(grouped, "diverged")
    sweep = Sweep(grouped)
    hot = nets(sweep.config, sweep.facts)[1]
    assert row["key"] == snapshot(hot, net_key(hot), 2).key
    assert summary.outcome.done["train"] == 7
    assert sorted(losses(grouped)) == sorted(
        {(3, seed, epoch) for seed in range(4) for epoch in (0, 2)} - {(3, 1, 2)}
    )
    assert summary.outcome.skipped > 0
    seeds = Store(grouped).read_table("grafts").to_pylist()
    assert {row["source_seed"] for row in seeds if row["source_epoch"] == 2} == {0, 2, 3}
    before = published(grouped)
    again = run(grouped)
    assert again.plan.tasks == ()
    assert len(again.plan.hopeless) == 1
    assert published(grouped) == before
    # in a later segment its companions go on without it, with the bits that they have without it
    longer = {"train__snapshots": [0, 2, 3], "train__epochs": 3, "train__schedule": '"constant"'}
    lost = measured(together, write_config(tmp_path / "lost", **ONE_GROUP, **longer))
    assert run(lost).outcome.done["train"] == 4 + 3 + 3
    assert [row["mode"][-2:] for row in jobs(lost)] == ["x4", "x4", "x3"]


def test_a_group_that_finds_too_little_memory_is_halved_with_the_same_bits(
    grouped, tmp_path, monkeypatch, together
):
    assert run(grouped).complete
    honest, tried = espalier.tasks.training.train.train_group, []

    def train_group(segments, states, data, mode):
        tried.append(len(segments))
        if len(segments) > 1:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate")
        return honest(segments, states, data, mode)

    monkeypatch.setattr(espalier.tasks.training.train, "train_group", train_group)
    small = measured(together, write_config(tmp_path / "small", **ONE_GROUP))
    assert run(small).complete
    assert sorted(tried[:7]) == [1, 1, 1, 1, 2, 2, 4]
    failed = jobs(small, "failed")
    assert [row["mode"][-2:] for row in failed].count("x4") == 2
    assert "halved: train width 3 seeds 0 1 to epoch 0 and train width 3 seeds 2 3" in failed[0]["error"]
    assert all_rows(small) == all_rows(grouped)


def test_what_was_measured_is_kept_and_short_training_measures_nothing(tmp_path, monkeypatch):
    folder = write_config(tmp_path / "short")
    assert run(folder).complete
    record = Store(folder).read_json(probing.RECORD)
    assert [answer["why"] for answer in record.values()] == ["short", "short"]
    assert not jobs(folder, kind="probe")
    monkeypatch.setattr(probing, "WORTH_SECONDS", 0.0)
    monkeypatch.setattr("espalier.tasks.training.probe.SECONDS", 0.01)
    write_config(folder, sweep__widths=[2, 3, 4])
    assert run(folder).complete
    now = Store(folder).read_json(probing.RECORD)
    assert record.items() <= now.items()
    (added,) = [answer for key, answer in now.items() if key not in record]
    assert added["width"] == 4
    assert set(added["ms_per_step"]) == {
        "loop contiguous x1", "loop channels_last x1", "grouped contiguous x2",
        "grouped channels_last x2",
    }  # fmt: skip
    (row,) = jobs(folder, kind="probe")
    assert row["label"] == "probe width 4"


def test_a_killed_run_of_groups_resumes_with_the_same_rows(grouped, tmp_path, drivers, together):
    assert run(grouped).complete
    folder = measured(together, write_config(tmp_path / "killed" / "sweep", **ONE_GROUP))
    process = drivers.start(folder)
    wait_until(lambda: any((folder / "checkpoints").glob("*.resume.safetensors")), process)
    process.kill()
    process.join()
    assert Sweep(folder).run(pool=in_process).complete
    assert all_rows(folder) == all_rows(grouped)


@pytest.mark.ray
@pytest.mark.timeout(90)
def test_a_group_whose_worker_is_killed_in_an_epoch_goes_on_from_its_snapshot_with_the_same_bits(
    tmp_path, local_ray, together
):
    longer = {
        "train__snapshots": [0, 1, 40], "train__epochs": 40, "data__limit_train": 1000, "graft__nulls": "[]"
    }  # fmt: skip
    whole = measured(together, write_config(tmp_path / "whole", **ONE_GROUP, **longer))
    assert run(whole).complete
    folder = measured(together, write_config(tmp_path / "killed", **ONE_GROUP, **longer))
    # The third job takes seconds, in a worker that has trained already.
    sabotage = Sabotage(kind="train", job=3, seconds=0.4)
    assert Sweep(folder).run(pool=sabotage).complete
    assert sabotage.pool.killed
    (lost,) = jobs(folder, "failed")
    assert (lost["label"], lost["mode"][-2:]) == ("train width 3 seeds 0 1 2 3 to epoch 40", "x4")
    assert lost["seconds"] > 0.3
    assert all_rows(folder) == all_rows(whole)


def test_a_broken_record_is_an_error_that_names_it(grouped):
    (grouped / probing.RECORD).write_text("{")
    with pytest.raises(ValueError, match=r"probes\.json"):
        run(grouped)
    (grouped / probing.RECORD).write_text(json.dumps({"k": {"grouped": True}}))
    with pytest.raises(ValueError, match=r"probes\.json: 'k.layout' is missing: delete the file"):
        run(grouped)


def test_the_way_of_training_that_a_record_names_must_exist():
    said = {"grouped": False, "layout": "channels_last", "nets": 1}
    assert probing.choice("k", said).mode == TrainMode(layout="channels_last")
    assert probing.choice("k", said | {"compiled": True}).mode == COMPILED
    old = {"grouped": True, "channels_last": True, "nets": 8}
    assert probing.choice("k", old) == Choice(TrainMode(grouped=True, layout="channels_last"), 8)
    for wrong, match in (
        (
            {"layout": "blocked"},
            "'k.layout' is 'blocked'; input should be 'contiguous' or 'channels_last': delete",
        ),
        ({"compiled": True, "grouped": True}, "'grouped channels_last compiled', but compiled is 'loop"),
        ({"compiled": True, "layout": "contiguous"}, "'loop contiguous compiled', but compiled is 'loop"),
    ):
        with pytest.raises(ValueError, match=match):
            probing.choice("k", said | wrong)
