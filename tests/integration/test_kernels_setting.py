"""`run.kernels`: with `off`, and where llvmlite cannot be loaded, PyTorch trains alone."""

import json
import subprocess
import sys

import pytest

import espalier.tasks.kernels.compiled
from espalier.orchestrator.coordcheck import Check, run_check
from espalier.orchestrator.planning.nets import nets
from espalier.orchestrator.running import probing
from espalier.orchestrator.store.sweep_store import Store
from espalier.orchestrator.sweep import Sweep
from espalier.tasks.spec import COMPILED, Probe
from espalier.tasks.training.probe import ways
from tests.integration.conftest import all_rows, measured, run, write_config

WIDE = {
    "network__layers": '[1, 1, "pool"]',
    "sweep__widths": [16],
    "train__epochs": 1,
    "train__snapshots": [0, 1],
    "graft__nulls": "[]",
}
CHOSEN = {"grouped": False, "layout": "channels_last", "compiled": True, "nets": 1}

PROGRAM = """
import json, sys
{first}
import torch
torch.set_num_threads(1)
import espalier.tasks.training.probe
from espalier.orchestrator.running import probing
from espalier.orchestrator.running.pool_makers import in_process
from espalier.orchestrator.sweep import Sweep
probing.WORTH_SECONDS = 0.0
espalier.tasks.training.probe.SECONDS = 0.01
summary = Sweep(sys.argv[1]).run(pool=in_process)
assert summary.complete
loaded = [name for name, module in sys.modules.items() if name.split(".")[0] == "llvmlite" and module]
print(json.dumps({{"notes": summary.tuned.notes, "loaded": loaded}}))
"""
BLOCKED = "sys.modules['llvmlite'] = None"


def run_apart(folder, first=""):
    """The sweep run in a process of its own: its notes, and which modules of llvmlite it loaded."""
    program = PROGRAM.format(first=first)
    answer = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True, timeout=100
    )
    return json.loads(answer.stdout.splitlines()[-1])


def attempts(folder, kind="train"):
    return [row for row in Store(folder).read_table("jobs").to_pylist() if row["kind"] == kind]


def test_with_the_kernels_off_llvmlite_is_not_imported_and_probes_offer_no_compiled_way(tmp_path):
    folder = write_config(tmp_path / "sweep", **WIDE, run__kernels='"off"')
    sweep = Sweep(folder)
    assert COMPILED in {mode for mode, _ in ways(Probe(nets(sweep.config, sweep.facts)[0], 2, 1.0))}
    assert run_apart(folder) == {"notes": [], "loaded": []}
    (measurement,) = Store(folder).read_json(probing.RECORD).values()
    found = measurement["ms_per_step"]
    assert {"loop contiguous x1", "loop channels_last x1"} <= found.keys()
    assert not any("compiled" in way for way in found)


@pytest.fixture
def asked(monkeypatch):
    """How often kernels were looked for; they are found."""
    times = []
    monkeypatch.setattr(espalier.tasks.kernels.compiled, "_problem", lambda: times.append(1) or "")
    return times


@pytest.mark.parametrize("setting", ["auto", "off"])
def test_the_setting_holds_for_trials_and_for_the_coordinate_check_too(tmp_path, asked, setting):
    tune = {"tune__space": '{"train.lr" = {low = 0.01, high = 0.1}}', "tune__trials": 1, "tune__epochs": 1}
    narrow = WIDE | {"sweep__widths": [2], "train__snapshots": [0]}
    folder = write_config(tmp_path / "sweep", **narrow, **tune, run__kernels=f'"{setting}"')
    run_check(Sweep(folder), Check(widths=(2, 3), steps=1, seeds=1))
    assert bool(asked) == (setting == "auto")
    asked.clear()
    assert run(folder).tuned.trials == 1
    assert bool(asked) == (setting == "auto")


def test_a_folder_that_chose_compiled_kernels_goes_on_without_them_in_the_same_layout(tmp_path):
    off = measured(CHOSEN, write_config(tmp_path / "off", **WIDE, run__kernels='"off"'))
    summary = run(off)
    assert summary.complete
    assert summary.tuned.notes == ()
    assert {(row["mode"], row["error"]) for row in attempts(off)} == {("loop channels_last x1", "")}
    assert Store(off).read_json(probing.RECORD).popitem()[1] == CHOSEN
    auto = measured(CHOSEN, write_config(tmp_path / "auto", **WIDE))
    assert run(auto).complete
    assert {row["mode"] for row in attempts(auto)} == {"loop channels_last compiled x1"}
    found, expected = (Store(folder).read_table("nets").to_pylist() for folder in (off, auto))
    assert [row["key"] for row in found] == [row["key"] for row in expected]
    # float32's rounding, over some steps
    assert [row["loss_test"] for row in found] == pytest.approx(
        [row["loss_test"] for row in expected], rel=1e-4
    )
    assert all_rows(off)["nets"] != all_rows(auto)["nets"]
    write_config(auto, **WIDE | {"sweep__seeds": 3}, run__kernels='"off"')
    assert run(auto).complete
    added = [row["mode"] for row in attempts(auto) if "seed 2 " in row["label"]]
    assert added == ["loop channels_last x1"] * 2


def test_where_llvmlite_is_missing_a_run_says_so_once_and_has_the_rows_of_one_without_kernels(tmp_path):
    off = measured(CHOSEN, write_config(tmp_path / "off", **WIDE, run__kernels='"off"'))
    assert run(off).complete
    folder = measured(CHOSEN, write_config(tmp_path / "blocked", **WIDE))
    (note,) = run_apart(folder, BLOCKED)["notes"]
    node, _, text = note.partition(": ")
    assert text.startswith("llvmlite cannot be loaded (ModuleNotFoundError: ")
    assert 'run.kernels = "off"' in text
    assert {row["node"] for row in attempts(folder)} == {node}
    assert {row["error"] for row in attempts(folder) if row["error"]} == {text}
    assert {row["error"] for row in attempts(folder, "graft")} == {text}
    assert all_rows(folder) == all_rows(off)
