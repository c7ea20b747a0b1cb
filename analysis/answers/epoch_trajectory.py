"""Do all nets follow one trajectory? The distance between nets at one epoch against that along training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from espalier.analysis.answers.null_ratios import with_ends
from espalier.analysis.limits.epoch_map import Cells, EpochMap, epoch_map
from espalier.analysis.limits.resample import mean_over_nets
from espalier.analysis.limits.selection import refuse_mixed_axes, where
from espalier.analysis.limits.together import Holding, check_interval

COLUMNS = (
    *("measure", "kind", "width", "layer", "epoch", "other", "value"),
    *("farther", "farther_low", "farther_high", "nearest", "nets", "interval"),
)


def trajectory(
    similarity: pd.DataFrame, measure: str = "energy", level: float = 0.9, interval: Holding = "together"
) -> pd.DataFrame:
    """Whose features are a net's most like: those of other nets at its own epoch, or at another one?

    If training follows one trajectory of feature distributions, each row of the map of nets at two epochs has
    its least distance at the same epoch: nets differ less from one another than each does from itself along
    training. A row for each layer, `epoch` and `other` epoch of the widest nets that are compared across
    epochs: `value` (mean over pairs of different nets, one at either epoch, both orders averaged) and
    `farther`, by how much that is farther (of a similarity less alike) than at the same epoch, over the same
    pairs, with `farther_low` and `farther_high` over nets (Student's t); 0 on the diagonal. `nearest` marks
    the least of a row. Where it lies off the diagonal, `farther_high` below 0 says that this is beyond
    chance; intervals hold `together` for all cells beside the diagonal of all layers (Bonferroni), since the
    least is picked among them, or `each` by itself. Source: table `similarity` with `similarity.epochs =
    "all"` (docs/method.md, section 6), of one setting.

    Raises:
        ValueError: The measure is not compared across epochs, rows are of several settings or sweeps, or an
            option is out of range.
    """
    check_interval(interval, level)
    alike = (similarity["measure"] == measure) & (similarity["source_width"] == similarity["target_width"])
    rows = where(similarity, alike)
    refuse_mixed_axes(rows, ["layer", "source_epoch", "target_epoch"], asked=False)
    found = epoch_map(rows, measure, level)
    if found is None:
        apart = where(similarity, similarity["source_epoch"] != similarity["target_epoch"])
        known = ", ".join(sorted(set(apart["measure"].astype(str)))) or "no measure"
        raise ValueError(
            f"measure: no pair of nets at two epochs has '{measure}' (of such pairs the frame has {known}); "
            'similarity.epochs = "all" compares them, by similarity.map_measures where those are named'
        )
    off = len(found.cells) * len(found.epochs) * (len(found.epochs) - 1)
    count = off if interval == "together" else 1
    lines = [line for layer in found.cells for line in _of_layer(found, layer, level, count)]
    return pd.DataFrame(lines, columns=[*COLUMNS]).assign(interval=interval)


def _of_layer(found: EpochMap, layer: int, level: float, count: int) -> Iterator[dict[str, Any]]:
    mean_EE, cells = found.mean_LEE[layer], found.cells[layer]
    sign = 1 if found.distance else -1
    for row, epoch in enumerate(found.epochs):
        for column, other in enumerate(found.epochs):
            if not np.isfinite(mean_EE[row, column]):
                continue
            yield {
                "measure": found.measure,
                "kind": "distance" if found.distance else "similarity",
                "width": found.width,
                "layer": layer,
                "epoch": epoch,
                "other": other,
                "value": float(mean_EE[row, column]),
                "nearest": column == int(np.nanargmin(sign * mean_EE[row])),
                **_farther(cells, row, column, sign, level, count),
            }


def _farther(cells: Cells, row: int, column: int, sign: int, level: float, count: int) -> dict[str, float]:
    over_P = sign * (cells.value_PEE[:, row, column] - cells.value_PEE[:, row, row])
    known = np.isfinite(over_P)
    if not known.any():
        return {"nets": 0}
    mean = mean_over_nets(0, over_P[known], [net_P[known] for net_P in cells.nets_P])
    if row == column:
        return {"farther": 0.0, "farther_low": 0.0, "farther_high": 0.0, "nets": mean.seeds}
    return {**with_ends("farther", mean, level, count), "nets": mean.seeds}
