"""Whole tiny sweeps: the tables are right, and stay right whatever is added, broken, killed or full."""

import errno
import json
import os
import random
import signal
import time
from collections import Counter
from dataclasses import replace
from itertools import permutations

import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import espalier.tasks.training.train
from espalier.orchestrator.cli import app
from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.record import provenance, record
from espalier.orchestrator.running.pool_makers import in_process
from espalier.orchestrator.store.files import StoreFull, StoreLocked
from espalier.orchestrator.store.local_files import LocalFiles
from espalier.orchestrator.store.sweep_store import Store
from espalier.orchestrator.sweep import Sweep
from espalier.tasks.data.images import facts
from espalier.tasks.tables.image_blocks import ERROR_BY_BLOCK
from espalier.tasks.tables.schemas import SCHEMAS
from tests.integration.conftest import (
    SINGLY,
    TABLES,
    all_rows,
    measured,
    names,
    published,
    rows,
    run,
    wait_until,
    write_config,
)

WIDTHS, SEEDS, EPOCHS, LAYERS = (2, 3), (0, 1), (0, 2), (2, 3)


def frame(folder, table):
    return pd.read_parquet(folder / "tables" / table)


def test_the_grafts_table_alone_holds_every_real_graft_once_with_every_column(reference):
    grafts = frame(reference, "grafts")
    assert list(grafts.columns) == SCHEMAS["grafts"].names
    assert grafts[ERROR_BY_BLOCK].isna().all()  # kept on request
    assert not grafts.drop(columns=ERROR_BY_BLOCK).isna().any().any()
    real = grafts[grafts["null"] == "none"]
    ends = [f"{side}_{axis}" for side in ("source", "target") for axis in ("width", "seed", "epoch")]
    found = Counter(real[[*ends, "layer"]].itertuples(index=False, name=None))
    wanted = {
        (width, a, epoch, width, b, epoch, layer)
        for width in WIDTHS
        for a, b in permutations(SEEDS, 2)
        for epoch in EPOCHS
        for layer in LAYERS
    }
    assert found == Counter(wanted)


def test_nulls_nets_and_curves_are_there_once(reference):
    grafts = frame(reference, "grafts")
    # per width and layer: 2 real pairs and 2 diagonal ones at each of 2 epochs; untrained at the later
    each = len(WIDTHS) * len(LAYERS)
    assert grafts["null"].value_counts().to_dict() == {
        "none": 4 * each, "shuffled_images": 4 * each, "self": 4 * each, "permuted": 4 * each,
        "untrained": 2 * each,
    }  # fmt: skip
    nets = frame(reference, "nets")
    assert sorted(zip(nets.width, nets.seed, nets.epoch, strict=True)) == [
        (width, seed, epoch) for width in WIDTHS for seed in SEEDS for epoch in EPOCHS
    ]
    curves = frame(reference, "curves")
    assert sorted(zip(curves.width, curves.seed, curves.epoch, strict=True)) == [
        (width, seed, epoch) for width in WIDTHS for seed in SEEDS for epoch in (1, 2)
    ]
    downstream = frame(reference, "downstream")
    assert not downstream.duplicated(["key", "graft_layer", "layer"]).any()
    assert len(downstream) == len(grafts) // 2 * 3  # layer 2 is seen at 2 and 3, layer 3 at 3


def test_the_floors_of_the_tables_hold(reference):
    grafts = frame(reference, "grafts")
    same = grafts[grafts["null"].isin(["self", "permuted"])]
    assert (same.fvu_train < 1e-6).all()
    assert (same.accuracy_drop == 0).all()
    nets = frame(reference, "nets").set_index(["width", "seed", "epoch"])
    for row in grafts.itertuples():
        target = nets.loc[(row.target_width, row.target_seed, row.target_epoch)]
        assert row.target_accuracy_test == target.accuracy_test
        assert row.accuracy_drop == row.target_accuracy_test - row.accuracy_test


def test_every_checkpoint_of_the_nets_table_exists_and_no_state_is_left(reference):
    names = {path.name for path in (reference / "checkpoints").iterdir()}
    assert names == set(frame(reference, "nets").checkpoint)


def test_running_again_does_nothing(finished):
    before = published(finished)
    summary = run(finished)
    assert summary.complete
    assert summary.plan.tasks == ()
    assert summary.outcome.done == {}
    assert published(finished) == before


def test_the_python_api_takes_a_config_and_a_path(tmp_path, reference):
    config = SweepConfig.read(reference / "sweep.toml")
    with pytest.raises(ConfigError, match="path"):
        Sweep(config)
    assert Sweep(config, path=tmp_path / "new").run(pool=in_process).complete
    assert all_rows(tmp_path / "new") == all_rows(reference)


def test_one_more_seed_only_adds_rows_and_gives_what_a_larger_sweep_gives(finished, tmp_path):
    before = published(finished)
    write_config(finished, sweep__seeds=3)
    summary = run(finished)
    assert summary.complete
    after = published(finished)
    assert {name: after.get(name) for name in before} == before
    whole = write_config(tmp_path / "whole", sweep__seeds=3)
    assert run(whole).complete
    assert all_rows(finished) == all_rows(whole)
    # 3 seeds make 6 ordered pairs, at 2 widths, 2 epochs and 2 layers
    assert sum('"null": "none"' in row for row in rows(finished, "grafts").elements()) == 6 * 2 * 2 * 2


def test_another_experiment_in_the_same_folder_is_refused_by_name(finished):
    before = published(finished)
    write_config(finished, train__lr=0.2, sweep__seeds=3)
    for attempt in (lambda: run(finished), lambda: Sweep(finished).plan()):
        with pytest.raises(ConfigError, match=r"train\.lr: 0\.05 there, 0\.2 now") as caught:
            attempt()
        assert "seeds:" not in str(caught.value)
    assert published(finished) == before


@pytest.fixture
def hot_net(monkeypatch):
    """The net of width 2 and seed 1 really diverges: it trains at a learning rate of 1e9."""
    tried, honest = [], espalier.tasks.training.train.train

    def train(segment, state, data):
        net = segment.snapshot.net
        tried.append((net.width, net.seed, segment.snapshot.epoch))
        if (net.width, net.seed) == (2, 1) and segment.snapshot.epoch:
            hot = replace(net, recipe=replace(net.recipe, lr=1e9))
            segment = replace(segment, snapshot=replace(segment.snapshot, net=hot))
        return honest(segment, state, data)

    monkeypatch.setattr(espalier.tasks.training.train, "train", train)
    return tried


def test_a_net_that_diverges_costs_its_own_pairs_alone_and_is_not_tried_again(tiny, reference, hot_net):
    summary = run(tiny)
    assert not summary.complete
    (failure,) = summary.outcome.failures
    for word in ("width 2", "seed 1", "Diverged", "loss_train", "train.lr"):
        assert word in failure

    def needs_it(row):
        return '"width": 2' in row and '"seed": 1, "epoch": 2' in row

    def pair_needs_it(row):
        ends = [f'"{side}_seed": 1, "{side}_epoch": 2' for side in ("source", "target")]
        return '"target_width": 2' in row and any(end in row for end in ends)

    left = {
        "nets": lambda row: not needs_it(row),
        "grafts": lambda row: not pair_needs_it(row),
        "downstream": lambda row: not pair_needs_it(row),
    }
    for table, kept in left.items():
        wanted = Counter({row: count for row, count in rows(reference, table).items() if kept(row)})
        assert rows(tiny, table) == wanted, table
    # of the 10 pairs at width 2, epoch 2: seed 0's self and permuted, and untrained 1 -> trained 0 are left
    assert summary.outcome.skipped == 7
    log = Store(tiny).read_table("jobs").to_pylist()
    assert Counter(row["outcome"] for row in log)["diverged"] == 1
    assert any(row["outcome"] == "skipped" for row in log)

    tried = list(hot_net)
    again = run(tiny)
    assert hot_net == tried
    assert again.plan.tasks == ()
    assert len(again.plan.hopeless) == 1
    assert not again.complete
    write_config(tiny, sweep__seeds=3)
    assert run(tiny).plan.done["graft"] > 0
    assert (2, 2, 2) in hot_net
    assert hot_net.count((2, 1, 2)) == 1


def first(folder, pattern):
    return sorted(folder.glob(pattern))[0]


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("table", TABLES)
def test_a_truncated_part_is_put_aside_told_of_and_computed_again(finished, reference, table):
    part = first(finished, f"tables/{table}/*.parquet")
    truncate(part)
    summary = run(finished)
    assert summary.complete
    assert len(summary.repaired) == 1
    assert part.name in summary.repaired[0]
    assert "computed again" in summary.repaired[0]
    assert all_rows(finished) == all_rows(reference)
    assert run(finished).repaired == ()


def test_with_ridges_a_graft_is_done_when_its_path_is_there_too(tmp_path):
    folder = write_config(tmp_path / "path", graft__ridges="[0, 1e-3]", sweep__widths=[2])
    assert run(folder).complete
    whole, path = all_rows(folder), rows(folder, "ridges")
    grafts, ridges = frame(folder, "grafts"), frame(folder, "ridges")
    assert set(ridges.key) == set(grafts.key)
    assert len(ridges) == 2 * len(grafts)
    assert (grafts.images_train == 160).all()
    chosen = ridges[ridges.chosen].set_index(["key", "layer"]).ridge
    assert grafts.set_index(["key", "layer"]).ridge.to_dict() == chosen.to_dict()
    first(folder, "tables/ridges/*.parquet").unlink()
    again = run(folder)
    assert again.complete
    assert 0 < again.outcome.done["graft"] < len(set(grafts.key))
    assert (all_rows(folder), rows(folder, "ridges")) == (whole, path)
    assert run(folder).plan.tasks == ()


def test_a_truncated_checkpoint_that_is_needed_is_told_of_and_trained_again(finished, reference):
    key = frame(finished, "nets").query("width == 3 and epoch == 2 and seed == 1").checkpoint.item()
    truncate(finished / "checkpoints" / key)
    assert run(finished).repaired == ()  # nothing that is missing needs it
    for part in finished.glob("tables/grafts/*.parquet"):
        part.unlink()
    summary = run(finished)
    assert summary.complete
    assert len(summary.repaired) == 1
    assert key in summary.repaired[0]
    assert summary.outcome.done["train"] == 1
    assert all_rows(finished) == all_rows(reference)
    before, after = ((folder / "checkpoints" / key).read_bytes() for folder in (reference, finished))
    assert len(before) == len(after)


def test_without_checkpoints_just_the_nets_that_a_missing_pair_needs_are_trained_again(finished, reference):
    for path in finished.glob("checkpoints/*"):
        path.unlink()
    assert run(finished).plan.tasks == ()
    grafts = frame(finished, "grafts")
    for part in finished.glob("tables/grafts/*.parquet"):
        keys = set(pd.read_parquet(part).key)
        if set(grafts[grafts.key.isin(keys)].target_width) == {3}:
            part.unlink()
    summary = run(finished)
    assert summary.complete
    assert summary.outcome.done["train"] == 4  # 2 seeds x 2 snapshots of width 3, none of width 2
    assert all_rows(finished) == all_rows(reference)


@pytest.mark.slow
def test_a_driver_killed_again_and_again_leaves_the_same_rows_each_once(tiny, reference, drivers):
    choose = random.Random(0)
    kills = 0
    for _ in range(6):
        wanted = len(names(tiny)) + choose.randint(1, 5)
        process = drivers.start(tiny)
        wait_until(lambda wanted=wanted: len(names(tiny)) >= wanted, process)
        time.sleep(choose.random() * 0.03)
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    assert kills >= 3
    assert run(tiny).complete
    assert all_rows(tiny) == all_rows(reference)
    assert not list((tiny / ".staging").glob("*"))  # nor a folder, if the last kill left nothing to do
    assert published(tiny).keys() >= {f"checkpoints/{name}" for name in frame(tiny, "nets").checkpoint}


def endless(folder):
    """A sweep whose first net trains for long."""
    return measured(SINGLY, write_config(folder, train__epochs=5000, train__snapshots=[0, 5000]))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupt_stops_cleanly_and_says_how_to_resume(tmp_path, drivers, number):
    folder = endless(tmp_path / "long")
    process = drivers.start(folder)
    wait_until(lambda: len(list(folder.glob("tables/nets/*.parquet"))) == 3, process)
    time.sleep(0.2)
    os.kill(process.pid, number)
    process.join(60)
    told = (tmp_path / "driver.log").read_text()
    assert process.exitcode == 130, told
    assert f"espalier run {folder}" in " ".join(told.split())
    assert "Traceback" not in told
    assert not Store(folder).files.locked()
    assert Sweep(folder).plan().done["train"] == 3  # initial nets; the long training was cut
    assert {row["outcome"] for row in Store(folder).read_table("jobs").to_pylist()} == {"done"}


def test_a_second_driver_in_the_same_folder_is_refused_and_the_first_goes_on(tmp_path, drivers):
    folder = endless(tmp_path / "long")
    process = drivers.start(folder)
    wait_until(lambda: (folder / "run.json").exists(), process)
    with pytest.raises(StoreLocked, match=f"in use by pid {process.pid}"):
        run(folder)
    answer = CliRunner().invoke(app, ["run", str(folder), "--in-process"])
    assert answer.exit_code == 1
    assert f"in use by pid {process.pid}" in answer.output
    assert process.is_alive()
    assert "A run is active" in CliRunner().invoke(app, ["status", str(folder)]).output


def test_a_full_disk_stops_with_one_message_and_a_later_run_completes(tiny, reference, monkeypatch):
    local = type(Store(tiny).files)
    honest, left = local.publish, [9]

    def publish(self, name, data):
        left[0] -= 1
        if left[0] < 0:
            raise StoreFull(name, OSError(errno.ENOSPC, "No space left on device"))
        return honest(self, name, data)

    monkeypatch.setattr(local, "publish", publish)
    answer = CliRunner().invoke(app, ["run", str(tiny), "--in-process"])
    assert answer.exit_code == 1
    assert answer.stderr.count("No space left on device") == 1
    assert len(answer.stderr.splitlines()) == 1
    assert "free space and run again" in answer.stderr
    monkeypatch.setattr(local, "publish", honest)
    assert 0 < len(published(tiny)) <= 9
    assert run(tiny).complete
    assert all_rows(tiny) == all_rows(reference)


def test_a_job_that_fails_by_chance_is_tried_again_and_given_up_after_the_bound(tiny, monkeypatch):
    honest, failures = espalier.tasks.training.train.train, Counter()

    def train(segment, state, data):
        net = segment.snapshot.net
        place = (net.width, net.seed, segment.snapshot.epoch)
        if net.seed == 0 and failures[place] < (1 if net.width == 2 else 99):
            failures[place] += 1
            raise RuntimeError("cosmic ray")
        return honest(segment, state, data)

    monkeypatch.setattr(espalier.tasks.training.train, "train", train)
    summary = run(tiny)
    assert failures == {(2, 0, 0): 1, (2, 0, 2): 1, (3, 0, 0): 3}
    assert len(summary.outcome.failures) == 1
    monkeypatch.setattr(espalier.tasks.training.train, "train", honest)
    assert run(tiny).complete  # unlike a divergence, another run tries again


def test_data_that_are_not_there_are_an_error_that_names_them(tmp_path):
    folder = write_config(tmp_path / "sweep", data__dataset='"parquet:nowhere"')
    answer = CliRunner().invoke(app, ["run", str(folder), "--in-process"])
    assert answer.exit_code == 1
    assert "nowhere" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_limits_take_effect(tmp_path):
    config = SweepConfig.parse(
        {
            "data": {"dataset": "digits", "limit_train": 50, "limit_test": 20},
            "network": {"layers": [1]},
            "train": {"epochs": 1, "snapshots": [1]},
            "sweep": {"widths": [2], "seeds": 2},
            "graft": {"nulls": []},
        }
    )
    Sweep(config, tmp_path / "limited").run(pool=in_process)
    grafts = frame(tmp_path / "limited", "grafts")
    assert set(grafts.images_train) == {50}
    assert set(grafts.images_test) == {20}


def test_a_sweep_begun_in_python_is_found_by_its_folder(tmp_path):
    config = SweepConfig.parse(
        {"network": {"layers": [1]}, "data": {"limit_train": 20}, "sweep": {"widths": [2]}}
    )
    folder = tmp_path / "python"
    record(Store(folder), config, facts("digits"), provenance())
    assert Sweep(folder).config == config


def test_a_url_is_a_folder_too(tiny):
    assert Sweep(f"file://{tiny}").config == Sweep(tiny).config


def test_a_config_that_failed_before_it_ran_leaves_the_folder_free(tiny):
    good = (tiny / "sweep.toml").read_text()
    (tiny / "sweep.toml").write_text(good.replace('"digits"', '"digitz"'))
    with pytest.raises(ValueError, match="digitz"):
        Sweep(tiny).run(pool=in_process)
    (tiny / "sweep.toml").write_text(good)
    assert Sweep(tiny).run(pool=in_process).complete


def test_shuffled_rows_do_not_depend_on_what_else_is_missing(reference, tiny):
    text = (tiny / "sweep.toml").read_text()
    (tiny / "sweep.toml").write_text(text + '[graft]\nnulls = ["self"]\n')
    Sweep(tiny).run(pool=in_process)
    (tiny / "sweep.toml").write_text(text)
    Sweep(tiny).run(pool=in_process)
    one, two = (
        frame(folder, "grafts").sort_values(["key", "layer"], ignore_index=True)
        for folder in (reference, tiny)
    )
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_every_part_says_what_made_it(reference):
    part = next((reference / "tables" / "grafts").glob("*.parquet"))
    origin = json.loads(pq.read_schema(part).metadata[b"espalier"])
    assert {"versions", "machine", "commit"} <= origin.keys()


@pytest.mark.parametrize("look", [lambda sweep: sweep.run(pool=in_process), lambda sweep: sweep.plan()])
def test_no_part_is_read_twice_in_one_start(finished, monkeypatch, look):
    read, original = Counter(), LocalFiles.read

    def counted(files, name):
        read[name] += 1
        return original(files, name)

    monkeypatch.setattr(LocalFiles, "read", counted)
    look(Sweep(finished))
    parts = {name: count for name, count in read.items() if name.endswith(".parquet")}
    assert len(parts) > 10
    assert set(parts.values()) == {1}
