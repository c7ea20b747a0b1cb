"""What a coordinate check shows: each layer's change against the width, and its slope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from matplotlib.figure import Figure

from espalier.analysis.figures.style import (
    MARKERS,
    bottom_labels,
    log_values,
    new_panels,
    ramp,
    shared_legend,
    styled,
    width_axis,
)
from espalier.analysis.limits.selection import SETTING
from espalier.analysis.limits.settings import labels
from espalier.tasks.training.slopes import FLAT, LEVEL, LayerSlope, by_layer_and_width, layer_slopes


@dataclass(frozen=True)
class Checked:
    """One setting after the last step: by layer its name, the seeds' changes by width, and their slope."""

    label: str
    names: dict[int, str]
    changes: dict[int, dict[int, list[float]]]
    slopes: dict[int, LayerSlope]

    def mean(self, layer: int, width: int) -> float:
        """The mean change of a layer over the seeds of a width."""
        return float(np.mean(self.changes[layer][width]))


def checked(table: pa.Table) -> list[Checked]:
    """Each setting of `coordcheck/changes.parquet`, in the order of its rows."""
    rows: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        rows.setdefault(tuple(row[name] for name in SETTING), []).append(row)
    known = pd.DataFrame([*rows], columns=[*SETTING])
    named = labels(known) if len(rows) > 1 else [f"parametrization = {known['parametrization'].iloc[0]}"]
    return [_checked(label, part) for label, part in zip(named, rows.values(), strict=True)]


def _checked(label: str, rows: list[dict[str, Any]]) -> Checked:
    last = max(row["step"] for row in rows)
    names = {row["layer"]: row["layer_name"] for row in rows}
    return Checked(label, names, by_layer_and_width(rows, last), layer_slopes(rows, last))


def how_judged(settings: list[Checked]) -> str:
    """How to read the errors and the verdicts, in a line."""
    seeds = max(found.seeds for setting in settings for found in setting.slopes.values())
    return (
        f"± is one standard error over {seeds} seeds. level: the {100 * LEVEL:.0f} % interval of the slope "
        f"lies within {FLAT} of 0; rises, falls: all beyond it; unsure: neither."
    )


@styled
def figure(settings: list[Checked]) -> Figure:
    """A panel for each setting, a line for each layer: the change's mean over seeds against the width.

    Bars are one standard error over seeds.
    """
    layers = sorted({layer for setting in settings for layer in setting.changes})
    colours = ramp(layers)
    made, panels = new_panels(len(settings), row_height=3.1, more_height=1.2)
    for axes, setting in zip(panels, settings, strict=True):
        for layer, by_width in setting.changes.items():
            axes.errorbar(
                [*by_width],
                [setting.mean(layer, width) for width in by_width],
                [_standard_error(changes) for changes in by_width.values()],
                marker=MARKERS[layers.index(layer) % len(MARKERS)],
                color=colours[layer],
                label=f"{layer} · {setting.names[layer]}",
            )
        width_axis(axes, sorted({width for by_width in setting.changes.values() for width in by_width}))
        axes.set_title("\n".join(setting.label.split(", ")))
    log_values(panels[0])
    panels[0].set_ylabel("root mean square change of z")
    bottom_labels(panels, "width (channel multiple)")
    shared_legend(made, panels, "layer")
    return made


def _standard_error(changes: list[float]) -> float:
    """That of a mean; 0 of a single net, or of nets that diverged."""
    found = np.std(changes, ddof=1) / len(changes) ** 0.5 if len(changes) > 1 else 0.0
    return float(found) if np.isfinite(found) else 0.0
