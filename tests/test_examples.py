"""The notebook runs, in under 30 lines, and its figure shows what the tables say."""

import ast
import importlib.util
from pathlib import Path

import numpy as np
import pytest

PLACE = Path(__file__).parents[1] / "examples" / "paper_figure.py"


def lines_of_code(cells):
    """The lines of the cells' bodies that are neither empty nor a comment alone."""
    text = PLACE.read_text(encoding="utf-8").splitlines()
    bodies = [text[cell.body[0].lineno - 1 : cell.end_lineno] for cell in cells]
    return [line for body in bodies for line in body if line.strip() and not line.strip().startswith("#")]


def test_the_notebook_is_under_30_lines_of_code():
    tree = ast.parse(PLACE.read_text(encoding="utf-8"))
    cells = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert len(cells) >= 3
    assert 10 < len(lines_of_code(cells)) < 30


def test_the_notebook_draws_the_means_of_the_tables_and_their_fits(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    spec = importlib.util.spec_from_file_location("paper_figure", PLACE)
    notebook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(notebook)
    _, names = notebook.app.run()
    axes, fits, means = names["axes"], names["fits"], names["means"]
    assert sorted(zip(fits["layer_name"], fits["null"], strict=True)) == sorted(
        (layer, null) for layer in ("conv2", "conv3", "conv4", "dense1") for null in ("none", "untrained")
    )
    points, curves = axes.get_lines()[::2], axes.get_lines()[1::2]
    for row, drawn, curve in zip(fits.itertuples(), points, curves, strict=True):
        np.testing.assert_array_equal(drawn.get_ydata(), means[row.layer_name, row.null])
        np.testing.assert_array_equal(drawn.get_xdata(), [4, 6, 8, 12, 16, 24, 32])
        widest = curve.get_ydata()[-1]
        assert widest == pytest.approx(row.c + row.a * 32**-row.alpha)
        assert widest == pytest.approx(means[row.layer_name, row.null, 32], rel=0.2)
    assert "FVU" in axes.get_ylabel()
    assert len(names["figure"].legends[0].get_texts()) == 4
    names["figure"].canvas.draw()
