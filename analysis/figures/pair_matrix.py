"""The matrix of all pairs: how well each net's features serve each other net."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from espalier.analysis.figures.main_figures import layer_names
from espalier.analysis.figures.style import new_panels, styled
from espalier.analysis.limits.selection import where

ANNOTATED = 8
"""Up to this many nets, each cell shows its number."""


@styled
def pair_matrix(grafts: pd.DataFrame) -> Figure:
    """Held-out error of every ordered pair, source by target, a panel per layer.

    Args:
        grafts: Rows of one width and snapshot; the diagonal is filled from the null `self`.
    """
    names = layer_names(grafts)
    shown = where(grafts, grafts["null"].isin(["none", "self"]))
    # Beside rows of pools, which have no one source, the seeds of all were read as reals.
    shown = shown.astype({"source_seed": np.int64, "target_seed": np.int64})
    seeds = sorted({*shown["source_seed"], *shown["target_seed"]})
    matrices = {layer: _matrix(where(shown, shown["layer"] == layer), seeds) for layer in names}
    row_height = 2.75 if len(names) > 4 else 9.0 / (len(names) + 0.7)
    figure, panels = new_panels(len(names), min(row_height, 4.5), more_height=0.7)
    norm = _norm(np.stack(list(matrices.values())))
    for axes, (layer, matrix) in zip(panels, matrices.items(), strict=True):
        _draw(axes, matrix, seeds, norm)
        axes.set_title(names[layer])
    mappable = ScalarMappable(norm, "cividis_r")
    bar = figure.colorbar(mappable, ax=panels, label="held-out FVU", shrink=0.8, aspect=30)
    if isinstance(norm, LogNorm):
        bar.set_ticks(LogLocator(subs=(1, 2, 5)), minor=False)
        bar.formatter = FuncFormatter(lambda value, _: f"{value:g}")
        bar.minorticks_off()
    figure.supxlabel("target: seed of the net above the cut", fontsize=10)
    figure.supylabel("source: seed of the net below", fontsize=10)
    return figure


def _matrix(rows: pd.DataFrame, seeds: list[int]) -> np.ndarray:
    """Mean held-out error `[source, target]`; NaN where there is no row."""
    table = rows.pivot_table(index="source_seed", columns="target_seed", values="fvu_test", aggfunc="mean")
    return table.reindex(index=seeds, columns=seeds).to_numpy(dtype=np.float64)


def _norm(matrices: np.ndarray) -> Normalize:
    """One scale for all panels, from the real pairs alone: the diagonal is a numerical zero."""
    off = ~np.eye(matrices.shape[-1], dtype=bool)
    values = matrices[:, off]
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return Normalize(0, 1)
    low, high = values.min(), max(values.max(), values.min() * 1.01)
    return LogNorm(low, high) if high / low > 20 else Normalize(low, high)


def _draw(axes: Axes, matrix: np.ndarray, seeds: list[int], norm: Normalize) -> None:
    shown = np.where(np.eye(len(seeds), dtype=bool), np.nan, matrix)
    axes.set_facecolor("#e4e7eb")
    axes.imshow(shown, norm=norm, cmap="cividis_r")
    axes.grid(visible=False)
    axes.set_xticks(range(len(seeds)), [str(seed) for seed in seeds])
    axes.set_yticks(range(len(seeds)), [str(seed) for seed in seeds])
    if len(seeds) > ANNOTATED:
        return
    for (row, column), value in np.ndenumerate(matrix):
        if np.isfinite(value):
            dark = row != column and value > 0 and norm(value) > 0.48
            text = _short(value) if row != column else f"{value:.0e}"
            axes.text(
                column,
                row,
                text,
                ha="center",
                va="center",
                fontsize=7.5,
                color="white" if dark else "#1f2933",
            )


def _short(value: float) -> str:
    return f"{value:.3f}".lstrip("0") if abs(value) < 1 else f"{value:.2f}"
