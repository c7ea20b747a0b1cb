"""What a coordinate check shows: each layer's change against the width, and its slope."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.selection import SETTING, where
from analysis.settings import labels
from analysis.style import (
    MARKERS,
    bottom_labels,
    log_values,
    new_panels,
    ramp,
    shared_legend,
    styled,
    width_axis,
)
from tasks.slopes import slopes


@dataclass(frozen=True, eq=False)
class Checked:
    """One setting's rows of the last step, its label, and the slope of each layer's change in the width."""

    label: str
    rows: pd.DataFrame
    slopes: dict[int, float]


def checked(frame: pd.DataFrame) -> list[Checked]:
    """Each setting of `coordcheck/changes.parquet`, in the order of its rows."""
    step = int(frame["step"].max())
    last = where(frame, frame["step"] == step)
    known = last[[*SETTING]].drop_duplicates()
    named = labels(known) if len(known) > 1 else [f"parametrization = {known.iloc[0]['parametrization']}"]
    found = []
    for label, (_, axes) in zip(named, known.iterrows(), strict=True):
        rows = where(last, (last[[*SETTING]] == axes).all(axis=1))
        found.append(Checked(label, rows, slopes(rows.to_dict("records"), step)))
    return found


@styled
def figure(settings: list[Checked]) -> Figure:
    """A panel for each setting, a line for each layer: the change's mean over seeds against the width."""
    layers = sorted({layer for setting in settings for layer in setting.slopes})
    colours = ramp(layers)
    made, panels = new_panels(len(settings), row_height=3.1, more_height=1.2)
    for axes, setting in zip(panels, settings, strict=True):
        means = setting.rows.groupby(["layer", "layer_name", "width"], as_index=False)["change"].mean()
        for (layer, name), part in means.groupby(["layer", "layer_name"]):
            marker = MARKERS[layers.index(layer) % len(MARKERS)]
            axes.plot(
                part["width"], part["change"], marker=marker, color=colours[layer], label=f"{layer} · {name}"
            )
        width_axis(axes, sorted(means["width"].unique()))
        axes.set_title("\n".join(setting.label.split(", ")))
    log_values(panels[0])
    panels[0].set_ylabel("root mean square change of z")
    bottom_labels(panels, "width (channel multiple)")
    shared_legend(made, panels, "layer")
    return made
