"""The command line as a user meets it: it tells what it will do, did, and what is wrong, in plain lines."""

import json
import os
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from espalier import __version__
from espalier.orchestrator.cli import app
from espalier.orchestrator.templates import templates
from tests.integration.conftest import published, write_config


@pytest.fixture(autouse=True)
def wide_plain_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")


def espalier(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def complains(answer, *words):
    """One line on standard error, exit 1, no traceback."""
    assert answer.exit_code == 1, answer.output
    assert answer.stderr.startswith("espalier: ")
    assert "Traceback" not in answer.output
    for word in words:
        assert word in answer.stderr


def test_help_names_every_command_and_how_to_start():
    for words in (["--help"], []):
        text = espalier(*words).output
        for command in ("run", "plan", "status", "logs", "new", "compact", "verify"):
            assert re.search(rf"\b{command}\b", text)
        assert "espalier new results/mine --from demo" in text


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("run", ["folder", "resume", "--address", "--in-process"]),
        ("plan", ["folder", "--nodes", "--gpus", "--cpus", "Runs nothing"]),
        ("status", ["folder", "time left", "Changes nothing", "--watch", "--json"]),
        ("logs", ["folder", "traceback", "--attempt"]),
        ("new", ["folder", "--from", "--list"]),
        ("compact", ["folder", "rows stay the same"]),
        ("verify", ["folder", "put aside"]),
    ],
)
def test_each_commands_help_says_what_it_does(command, words):
    answer = espalier(command, "--help")
    assert answer.exit_code == 0
    for word in words:
        assert word in answer.output


def test_it_runs_as_a_module_and_its_help_loads_no_torch():
    program = "import sys; import espalier.orchestrator.cli; assert not {'torch', 'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
    answer = subprocess.run(
        [sys.executable, "-m", "espalier", "--help"], capture_output=True, text=True,
        env=os.environ | {"COLUMNS": "120"}, check=True,
    )  # fmt: skip
    assert "Usage" in answer.stdout


def test_new_plan_run_and_status_tell_one_story(tmp_path):
    origin = write_config(tmp_path / "tiny")
    folder = tmp_path / "mine"
    made = espalier("new", folder, "--from", origin)
    assert made.exit_code == 0
    assert f"espalier run {folder}" in made.output
    assert (folder / "sweep.toml").read_text() == (origin / "sweep.toml").read_text()

    planned = espalier("plan", folder)
    assert planned.exit_code == 0
    # 2 widths x 2 seeds x 2 epochs; per width 2 + 2 + 4 pairs at epoch 0 and 2 more (untrained) at 2
    assert re.search(r"train\D+0\D+8\D+8\D", planned.output)
    assert re.search(r"graft\D+0\D+36\D", planned.output)
    assert "Predicted time on" in planned.output
    assert not (folder / "tables").exists()
    assert "No run is active" in espalier("status", folder).output

    ran = espalier("run", folder, "--in-process")
    assert ran.exit_code == 0, ran.output
    assert "8 snapshots, 36 pairs" in ran.output
    assert f"espalier report {folder}" in ran.output

    before = published(folder)
    status = espalier("status", folder)
    assert status.exit_code == 0
    assert "Nothing is missing" in status.output
    (line,) = espalier("status", folder, "--json", "--watch").output.splitlines()  # no run: one look
    assert json.loads(line)["kinds"]["graft"]["done"] == 36
    assert "no attempt left a log" in espalier("logs", folder).output
    complains(espalier("logs", folder, "x"), "no attempt at a job 'x'")
    assert re.search(r"graft\D+36\D+0\D+0\D", espalier("plan", folder).output)
    assert published(folder) == before
    assert "nothing to do" in espalier("run", folder, "--in-process").output


def seconds_of(text):
    """`2 h 1 min` in seconds."""
    unit = {"h": 3600, "min": 60, "s": 1}
    return sum(int(number) * unit[name] for number, name in re.findall(r"(\d+) (\w+)", text))


def test_a_simulated_cluster_is_faster_than_one_node(tmp_path):
    folder = write_config(tmp_path / "sweep", sweep__widths="[16, 32, 64]", sweep__seeds=16)
    one, many = (espalier("plan", folder, "--nodes", nodes, "--gpus", 8) for nodes in (1, 64))
    assert "on 8 slots" in one.output
    assert "on 512 slots" in many.output
    assert "GFLOP/s" in many.output
    seconds = [seconds_of(re.search(r"slots: ([^.]*)\.", text.output)[1]) for text in (one, many)]
    assert seconds[1] < seconds[0]
    assert espalier("plan", folder, "--nodes", 3, "--cpus", 4).output.count("on 12 slots") == 1
    slow = espalier("plan", folder, "--nodes", 1, "--gpus", 1, "--gpu-tflops", 0.001)
    fast = espalier("plan", folder, "--nodes", 1, "--gpus", 1, "--gpu-tflops", 100)
    assert slow.output != fast.output


def test_a_prediction_has_hours_money_memory_and_what_idles(tmp_path):
    folder = write_config(tmp_path / "sweep", sweep__widths="[16, 32, 64]", sweep__seeds=16)
    cluster = ("--nodes", 4, "--gpus", 8, "--price", 20, "--gpu-tflops", 0.01)
    text = espalier("plan", folder, *cluster).output
    for words in (
        "node hours",
        "GPU hours",
        "at 20 an hour and node",
        "GiB at once",
        "slots idle",
        "no number",
    ):
        assert words in text
    told = json.loads(espalier("plan", folder, *cluster, "--json").output)
    assert told["gpu_hours"] == pytest.approx(8 * told["node_hours"])
    assert told["node_hours"] == pytest.approx(4 * told["seconds"] / 3600)
    assert told["money"] == pytest.approx(20 * told["node_hours"])
    assert told["utilisation"] == pytest.approx(told["busy_slot_seconds"] / told["slot_seconds"])
    assert told["least_seconds"] <= told["seconds"]
    assert told["losses"]["nodes"] == 0


def test_lost_nodes_take_time_and_a_span_that_is_none_is_refused(tmp_path):
    folder = write_config(tmp_path / "sweep")
    cluster = ("--nodes", 4, "--gpus", 2, "--gpu-tflops", 2e-5)
    calm, stormy = (
        json.loads(espalier("plan", folder, *cluster, "--json", *more).output)
        for more in ((), ("--node-loss", "5s"))
    )
    assert stormy["losses"]["nodes"] > 0
    assert stormy["losses"]["attempts"] > 0
    assert stormy["seconds"] > calm["seconds"] > 5
    assert "nodes are lost" in espalier("plan", folder, *cluster, "--node-loss", "5 s").output
    complains(espalier("plan", folder, "--node-loss", "often"), "--node-loss", "often", "1h")


def test_another_sweeps_jobs_tell_how_fast_a_slot_is(tmp_path):
    done, empty = write_config(tmp_path / "done"), write_config(tmp_path / "empty")
    assert espalier("run", done, "--in-process").exit_code == 0
    text = espalier("plan", empty, "--calibrate", done).output
    assert f"Speed from the jobs of {done} (train, graft)" in " ".join(text.split())
    complains(espalier("plan", done, "--calibrate", empty), "--calibrate", "no job", "has ended on a CPU")


def test_new_takes_a_sweep_by_its_name_and_refuses_to_write_over_one(tmp_path):
    assert espalier("new", tmp_path / "a", "--from", "demo").exit_code == 0
    text = (tmp_path / "a" / "sweep.toml").read_text()
    assert espalier("new", tmp_path / "b", "--from", "a").exit_code == 0
    assert (tmp_path / "b" / "sweep.toml").read_text() == text
    complains(espalier("new", tmp_path / "a"), "exists already", "another folder")
    missing = espalier("new", tmp_path / "c", "--from", "nothing")
    complains(missing, "nothing", "sweep.toml", "demo", "cluster")
    assert len(missing.stderr.splitlines()) == 1
    assert not (tmp_path / "c").exists()
    complains(espalier("new"), "name the folder", "--list")


def test_new_lists_the_templates_with_what_they_answer_and_cost():
    answer = espalier("new", "--list")
    assert answer.exit_code == 0
    for template in templates().values():
        assert f"{template.name}\n    {template.answers}\n    {template.costs}\n" in answer.output


@pytest.mark.parametrize("command", ["run", "plan", "status", "compact", "verify"])
def test_a_folder_without_a_config_is_told_how_to_get_one(tmp_path, command):
    answer = espalier(command, tmp_path / "none")
    complains(answer, "sweep.toml does not exist", "espalier new")
    assert len(answer.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train__lr": '"fast"'}, ["train.lr", "'fast'"]),
        ({"sweep__widths": [0]}, ["sweep.widths.0", "found 0"]),
        ({"sweep__seeds": 1}, ["seeds is [0]", "2 or more"]),
        ({"train__speed": 1}, ["train.speed: unknown field"]),
        ({"network__layers": '["pool", 1]'}, ["network.layers", "pool that follows no conv"]),
        ({"data__dataset": '"imagenet"'}, ["imagenet", "digits"]),
        ({"run__memory_gib": 0.1}, ["run.memory_gib", "a slot has 0.10 GiB"]),
        ({"train__lr": "["}, ["not valid TOML"]),
    ],
    ids=str,
)
def test_a_bad_config_is_a_plain_message_and_changes_nothing(tmp_path, changes, words):
    folder = write_config(tmp_path / "sweep", **changes)
    for command in (["plan"], ["run", "--in-process"]):
        answer = espalier(command[0], folder, *command[1:])
        complains(answer, *words)
        assert len(answer.stderr.splitlines()) <= 2
    assert not (folder / "tables").exists()


def test_what_a_run_repaired_and_left_out_is_said(finished):
    part = next(finished.glob("tables/grafts/*.parquet"))
    part.write_bytes(part.read_bytes()[:-20])
    status = espalier("status", finished)
    assert f"broken: tables/grafts/{part.name}" in status.output
    assert part.exists()
    answer = espalier("run", finished, "--in-process")
    assert answer.exit_code == 0
    assert f"repaired: tables/grafts/{part.name}" in answer.output


def test_compact_leaves_the_same_rows_in_few_files(finished, reference):
    from tests.integration.conftest import all_rows

    answer = espalier("compact", finished)
    assert answer.exit_code == 0
    assert "grafts 1" in answer.output
    assert len(list(finished.glob("tables/grafts/*.parquet"))) == 1
    assert all_rows(finished) == all_rows(reference)
    assert "nothing to do" in espalier("run", finished, "--in-process").output


def test_verify_reads_everything_puts_aside_what_is_broken_and_a_run_makes_it_again(finished):
    assert "are whole" in espalier("verify", finished).output
    part, blob = next(finished.glob("tables/grafts/*.parquet")), next(finished.glob("checkpoints/*"))
    for path in (part, blob):
        moment = path.stat()
        path.write_bytes(path.read_bytes()[:100] + b"?" + path.read_bytes()[101:])
        os.utime(path, ns=(moment.st_atime_ns, moment.st_mtime_ns))  # as a bit that rots on a disk
    answer = espalier("verify", finished)
    assert answer.exit_code == 1
    for path in (part, blob):
        assert not path.exists()
        assert f"{path.relative_to(finished)}: " in answer.output
    assert "the rest was not" in answer.output
    assert espalier("run", finished, "--in-process").exit_code == 0
    assert espalier("verify", finished).exit_code == 0


def test_the_version_is_told():
    answer = espalier("--version")
    assert answer.exit_code == 0
    assert answer.output == f"espalier {__version__}\n"
