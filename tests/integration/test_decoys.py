"""Espalier works in a folder whose own files are named as its parts are: `tasks.py`, `analysis/`, and so on.

Each test starts a process there, with nothing but `espalier` installed: the checkout itself is not on the
path. Whoever imported `tasks` instead of `espalier.tasks` would get the decoy, which raises.
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from espalier import load
from tests.integration.conftest import write_config
from tests.integration.ray_head import RAY, ray_head

ROOT = Path(__file__).parents[2]
MODULES = ("tasks", "orchestrator", "benchmarks")
PACKAGES = ("analysis", "cluster")
SECONDS = 100

TINY = {
    "data__limit_train": 100, "data__limit_test": 50, "network__layers": [1, 1], "train__epochs": 1,
    "train__snapshots": [1], "run__slots": 1,
}  # fmt: skip
"""Changes to the tiny sweep: 4 nets of 2 widths, one snapshot each."""

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


def with_decoys(made):
    """A researcher's folder, with a decoy of every name and a sweep, `mine`."""
    made.mkdir()
    for name in MODULES:
        (made / f"{name}.py").write_text(f"raise ImportError('a decoy of {name}')\n")
    for name in PACKAGES:
        (made / name).mkdir()
        (made / name / "__init__.py").write_text(f"raise ImportError('a decoy of {name}')\n")
    write_config(made / "mine", **TINY)
    return made


@pytest.fixture
def folder(tmp_path):
    return with_decoys(tmp_path / "project")


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The variables of a process that finds `espalier` as installed, and nothing else of the checkout."""
    place = tmp_path_factory.mktemp("installed")
    (place / "espalier").symlink_to(ROOT / "espalier")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, "PYTHONPATH": str(place), "HOME": str(place), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}


def python(*words, folder, environment, **more):
    """The output of a Python process in the folder, which must end well."""
    answer = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        **more,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def holds_every_pair(sweep):
    """Whether a sweep has grafts of all ordered pairs of the two nets of each width."""
    grafts = load(sweep).grafts
    return len(grafts[["source_net", "target_net"]].drop_duplicates()) == 2 * 2 * 2


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


@pytest.fixture(scope="module")
def cluster(environment, tmp_path_factory):
    """The variables of a process beside a Ray head that was started in a folder of decoys."""
    with ray_head(with_decoys(tmp_path_factory.mktemp("cluster") / "project"), environment) as variables:
        yield variables


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_workers_of_ray_run_a_sweep(folder, cluster):
    """The folder of the script comes first on the workers' path, as on the script's."""
    (folder / "script.py").write_text(
        "from espalier import Sweep\nassert Sweep('mine').run(address='auto').complete\n", encoding="utf-8"
    )
    python("script.py", folder=folder, environment=cluster)
    assert holds_every_pair(folder / "mine")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_submitted_job_runs_a_sweep(folder, cluster):
    """`ray job submit` sends the folder, decoys and all, and starts `submit.py` where it has arrived."""
    shutil.copy(ROOT / "cluster" / "submit.py", folder / "cluster")
    entry = (sys.executable, "cluster/submit.py", "mine")
    words = (*RAY, "job", "submit", "--working-dir", ".", "--", *entry)
    told = python(*words, folder=folder, environment=cluster)
    assert "mine holds 4 snapshots of nets" in told
