"""What may be imported where, and docs that follow the code."""

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.tables_page import page

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("analysis", ["torch", "ray"]),
        ("orchestrator", ["torch", "ray", "pandas", "sklearn"]),
        ("orchestrator.cli", ["torch", "ray", "pandas", "matplotlib"]),
        ("cluster.pool", ["torch", "ray", "pandas"]),
        ("tasks.train", ["ray", "pandas"]),
    ],
)
def test_importing_a_module_loads_none_of(module, absent):
    code = f"import sys, {module}; print([name for name in {absent!r} if name in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100
    )
    assert answer.stdout.strip() == "[]"


def test_the_tables_page_is_made_from_the_schemas():
    assert (ROOT / "docs" / "tables.md").read_text(encoding="utf-8") == page(), "run `make docs`"


def test_the_sweep_page_names_every_field_of_the_config():
    from orchestrator.config import SweepConfig

    text = (ROOT / "docs" / "sweep.md").read_text(encoding="utf-8")
    for section, field in SweepConfig.model_fields.items():
        for name in field.annotation.model_fields:
            assert f"`{section}.{name}`" in text


def test_the_committed_constraints_record_no_index():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert "--" not in text
