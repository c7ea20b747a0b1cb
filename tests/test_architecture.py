"""What may be imported where, and docs that follow the code."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from espalier.orchestrator.planning.kinds.registry import know_tables
from espalier.tasks.tables.page import page

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("espalier", ["torch", "ray", "pandas", "pydantic"]),
        ("espalier.analysis.tables", ["torch", "ray", "rich", "typer"]),
        ("espalier.orchestrator.sweep", ["torch", "ray", "pandas", "sklearn"]),
        ("espalier.orchestrator.cli", ["torch", "ray", "pandas", "matplotlib"]),
        ("espalier.cluster.pool", ["torch", "ray", "pandas"]),
        ("espalier.tasks.training.train", ["ray", "pandas"]),
    ],
)
def test_importing_a_module_loads_none_of(module, absent):
    code = f"import sys, {module}; print([name for name in {absent!r} if name in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100
    )
    assert answer.stdout.strip() == "[]"


def test_the_tables_page_is_made_from_the_schemas():
    know_tables()
    assert (ROOT / "docs" / "tables.md").read_text(encoding="utf-8") == page(), "run `make docs`"


def test_the_sweep_page_names_every_field_of_the_config():
    from espalier.orchestrator.config.sweep_config import SweepConfig

    text = (ROOT / "docs" / "sweep.md").read_text(encoding="utf-8")
    for section, field in SweepConfig.model_fields.items():
        for name in field.annotation.model_fields:
            assert f"`{section}.{name}`" in text


def test_the_committed_constraints_record_no_index():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert "--" not in text


KERNELS = {
    "compared_conv", "compared_network", "compiled_network", "conv_kernels", "cross_kernels", "cross_sums",
    "fused_norm", "norm_kernels", "plane_products", "sgd_kernel",
    "strips", "tile_transforms", "tiling", "toom_cook", "vector_code", "winograd",
    "zero_patches",
}  # fmt: skip
DOOR = "compiled"
"""The module that the rest asks for compiled kernels."""


def imported(tree):
    """Every module that a file imports anywhere in it, and every name that it imports from one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def reached(tree):
    """Which kernels, or llvmlite itself, a file imports."""
    return {part for name in imported(tree) for part in name.split(".") if part in KERNELS | {"llvmlite"}}


def test_no_module_but_their_door_knows_of_the_compiled_kernels():
    files = [
        path
        for room in ("tasks", "orchestrator", "analysis", "cluster")
        for path in ROOT.glob(f"{room}/**/*.py")
    ]
    assert {path.stem for path in files} >= KERNELS | {DOOR}
    knowing = {path.stem: reached(ast.parse(path.read_text(encoding="utf-8"))) for path in files}
    assert {name for name, found in knowing.items() if found} <= KERNELS | {DOOR}
    assert {name for name, found in knowing.items() if "llvmlite" in found} == {"vector_code", DOOR}


@pytest.mark.parametrize(
    "line",
    [
        "from tasks import winograd",
        "from espalier.tasks.kernels.tiling import work_bytes",
        "import espalier.tasks.kernels.sgd_kernel as k",
    ],
)
def test_an_import_of_a_kernel_is_seen_wherever_it_stands(line):
    assert reached(ast.parse(f"def inner():\n    {line}"))


KNOW_NO_KIND = (
    "planning/plan.py", "planning/kind.py", "planning/task.py", "planning/simulate.py", "record.py",
    "planning/rates.py", "planning/idle_slots.py",
    "running/execute.py", "running/driver.py", "running/progress.py", "planning/state_machine.py",
    "summary.py", "store/inventory.py", "store/sweep_store.py", "store/parquet_parts.py",
)  # fmt: skip


@pytest.mark.parametrize("name", KNOW_NO_KIND)
def test_what_goes_over_all_kinds_of_work_knows_none_by_name(name):
    from espalier.orchestrator.planning.kinds.registry import KINDS

    tree = ast.parse((ROOT / "orchestrator" / name).read_text(encoding="utf-8"))
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert not {kind.name for kind in KINDS} & {text for text in strings if isinstance(text, str)}
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    kinds = {module for module in imported if ".planning.kinds" in module}
    assert kinds <= {"espalier.orchestrator.planning.kinds.registry"}
