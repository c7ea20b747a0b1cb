"""Espalier works in a folder whose own files are named as its parts are: `tasks.py`, `analysis/`, and so on.

Each test starts a process there, with nothing but `espalier` installed: the checkout itself is not on the
path. Whoever imported `tasks` instead of `espalier.tasks` would get the decoy, which raises.
"""

import json
import tomllib

import pytest

from tests.integration.decoys import (
    MODULES,
    PACKAGES,
    ROOT,
    holds_every_pair,
    installed_alone,
    python,
    with_decoys,
)

CELLS = [
    "from espalier import Sweep, SweepConfig, fit_width_limit, load\n"
    "from espalier.orchestrator.running.pool_makers import in_process",
    """config = SweepConfig.parse({
    "data": {"dataset": "digits", "limit_train": 100, "limit_test": 50},
    "network": {"layers": [1, 1]},
    "train": {"epochs": 1, "snapshots": [1]},
    "sweep": {"widths": [2, 3, 4, 5], "seeds": 3},
})
summary = Sweep(config, path="quick").run(pool=in_process)
assert summary.complete""",
    """tables = load("quick")
fits = fit_width_limit(tables.grafts, y="fvu_test", by=["layer"], bootstraps=20)
print(fits["alpha"].to_json(orient="values"))""",
]
"""A script, or a notebook: run a sweep, load its tables, fit."""

KERNEL = """
import code, json, sys
class Kernel(code.InteractiveInterpreter):
    def showtraceback(self):
        super().showtraceback()
        sys.exit(1)
kernel = Kernel()
for cell in json.load(sys.stdin):
    assert not kernel.runsource(cell, symbol="exec"), cell
"""


@pytest.fixture
def folder(tmp_path):
    return with_decoys(tmp_path / "project")


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The variables of a process that finds `espalier` as installed, and nothing else of the checkout."""
    return installed_alone(tmp_path_factory.mktemp("installed"))


def test_every_decoy_is_what_its_name_imports(folder, environment):
    """Otherwise the tests below would show nothing."""
    program = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError as error:
        print(error)
"""
    told = python("-c", program, *MODULES, *PACKAGES, folder=folder, environment=environment)
    assert told.splitlines() == [f"a decoy of {name}" for name in (*MODULES, *PACKAGES)]


def test_a_script_runs_loads_and_fits(folder, environment):
    (folder / "script.py").write_text("\n".join(CELLS))
    told = python("script.py", folder=folder, environment=environment)
    assert len(json.loads(told.splitlines()[-1])) == 2


def test_cells_of_an_interactive_interpreter_run_load_and_fit(folder, environment):
    """No Jupyter: what of a kernel matters here is that '' stands first on the path and nothing is a file."""
    told = python("-c", KERNEL, folder=folder, environment=environment, input=json.dumps(CELLS))
    assert len(json.loads(told.splitlines()[-1])) == 2


def test_the_module_runs_a_sweep(folder, environment):
    python("-m", "espalier", "run", "mine", "--in-process", folder=folder, environment=environment)
    assert holds_every_pair(folder / "mine")


def test_the_console_script_runs_a_sweep(folder, environment, tmp_path):
    """As installers write it, in a folder of scripts."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    module, _, function = scripts["espalier"].partition(":")
    (tmp_path / "espalier").write_text(
        f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n", encoding="utf-8"
    )
    words = (tmp_path / "espalier", "run", "mine", "--in-process")
    python(*words, folder=folder, environment=environment)
    assert holds_every_pair(folder / "mine")
