"""The README's Python example runs as written, through Ray, and gives what one process gives."""

import re
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from espalier import Sweep
from espalier.orchestrator.running.pool_makers import in_process

ROOT = Path(__file__).parents[2]


def python_blocks(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def rows(folder, table):
    frame = pd.read_parquet(Path(folder) / "tables" / table)
    keys = [name for name in ("key", "epoch", "graft_layer", "layer") if name in frame]
    return frame.drop(columns="seconds", errors="ignore").sort_values(keys).reset_index(drop=True)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_python_example_runs_and_both_pools_give_the_same_rows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (example,) = python_blocks("README.md")
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "alpha_low" in printed
    assert len(names["tables"].nets) == 4 * 3 * 2
    Sweep(names["config"], path="alone").run(pool=in_process)
    for table in ("nets", "curves", "grafts", "downstream"):
        assert_frame_equal(rows("results/quick", table), rows("alone", table), check_exact=True)


def shown_examples(page):
    """Each Python block of a page and the output that stands below it."""
    pattern = r"```python\n(.*?)```\s+```text\n(.*?)```"
    return re.findall(pattern, (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_pandas_examples_print_what_is_shown(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "200")
    examples = shown_examples("results/README.md")
    assert len(examples) == 7 == len(python_blocks("results/README.md"))
    for code, shown in examples:
        exec(compile(code, "results/README.md", "exec"), {})
        assert capsys.readouterr().out.strip() == shown.strip()
