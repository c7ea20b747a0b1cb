"""What a coordinate check shows: each layer's change against the width, and its slope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
from espalier.tasks.training.slopes import by_layer_and_width, slope


@dataclass(frozen=True)
class Checked:
    """One setting after the last step: by layer its name, its changes by width, and their slope."""

    label: str
    names: dict[int, str]
    changes: dict[int, dict[int, float]]
    slopes: dict[int, float]


def checked(table: pa.Table) -> list[Checked]:
    """Each setting of `coordcheck/changes.parquet`, in the order of its rows."""
    rows: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        rows.setdefault(tuple(row[name] for name in SETTING), []).append(row)
    known = pd.DataFrame([*rows], columns=[*SETTING])
    named = labels(known) if len(rows) > 1 else [f"parametrization = {known['parametrization'].iloc[0]}"]
    return [_checked(label, part) for label, part in zip(named, rows.values(), strict=True)]


def _checked(label: str, rows: list[dict[str, Any]]) -> Checked:
    changes = by_layer_and_width(rows, max(row["step"] for row in rows))
    found = {layer: slope([*by_width], [*by_width.values()]) for layer, by_width in changes.items()}
    return Checked(label, {row["layer"]: row["layer_name"] for row in rows}, changes, found)


@styled
def figure(settings: list[Checked]) -> Figure:
    """A panel for each setting, a line for each layer: the change's mean over seeds against the width."""
    layers = sorted({layer for setting in settings for layer in setting.changes})
    colours = ramp(layers)
    made, panels = new_panels(len(settings), row_height=3.1, more_height=1.2)
    for axes, setting in zip(panels, settings, strict=True):
        for layer, by_width in setting.changes.items():
            axes.plot(
                [*by_width],
                [*by_width.values()],
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
