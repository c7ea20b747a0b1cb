"""A researcher's folder whose own files are named as Espalier's parts are, and processes that work in it."""

import os
import subprocess
import sys
from pathlib import Path

from espalier import load
from tests.integration.conftest import write_config

ROOT = Path(__file__).parents[2]
MODULES = ("tasks", "orchestrator", "benchmarks")
PACKAGES = ("analysis", "cluster")
SECONDS = 100

TINY = {
    "data__limit_train": 100, "data__limit_test": 50, "network__layers": [1, 1], "train__epochs": 1,
    "train__snapshots": [1], "run__slots": 1,
}  # fmt: skip
"""Changes to the tiny sweep: 4 nets of 2 widths, one snapshot each."""


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


def installed_alone(place):
    """The variables of a process that finds `espalier` as installed, and nothing else of the checkout."""
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
