"""Nets at one epoch against other nets at another: whose features are a net's most like?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from espalier.analysis.limits.intervals import mean_interval
from espalier.analysis.limits.powerlaw import Floats
from espalier.analysis.limits.resample import groups, mean_over_nets
from espalier.analysis.limits.selection import largest, net_codes, where


@dataclass(frozen=True)
class BestEpoch:
    """At which epoch of another net a net at `epoch` finds its like.

    `gain` is how much nearer (or more alike) that is than at the net's own epoch, over the same pairs, with
    its interval; 0 on the diagonal.
    """

    layer: int
    epoch: int
    best: int
    gain: float
    low: float
    high: float

    @property
    def on_diagonal(self) -> bool:
        """Whether it is the net's own epoch."""
        return self.best == self.epoch


@dataclass(frozen=True, eq=False)
class Cells:
    """Of each unordered pair of nets its value at every two epochs, both orders averaged, and its nets."""

    value_PEE: Floats
    nets_P: list[NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class EpochMap:
    """One measure of the widest nets over two epochs.

    Attributes:
        measure: Its name.
        distance: Whether the least value is the most alike.
        width: The width.
        epochs: The E epochs.
        mean_LEE: By layer the mean over unordered pairs of nets, one at either epoch; symmetric.
        best: For each layer and epoch the epoch most alike; none where a row lacks a value.
        rows: The rows of the table that are in it.
        cells: By layer the values of the single pairs.
    """

    measure: str
    distance: bool
    width: int
    epochs: Sequence[int]
    mean_LEE: dict[int, Floats]
    best: Sequence[BestEpoch]
    rows: pd.DataFrame
    cells: dict[int, Cells]


def epoch_map(similarity: pd.DataFrame, measure: str, level: float) -> EpochMap | None:
    """The map of one measure; None where no net is compared with another at another epoch.

    Pairs are unordered, so that each net of a pair is once at the earlier epoch and once at the later one.
    Both orders are averaged, and the map is symmetric. Intervals are over nets, and hold together for all
    cells beside the diagonal of all layers, from which the best is picked (Bonferroni).
    """
    rows = where(similarity, similarity["measure"] == measure)
    rows = where(rows, rows["source_width"] == rows["target_width"])
    rows = where(rows, np.isfinite(rows["value"].to_numpy(dtype=np.float64)))
    crossed = where(rows, rows["source_epoch"] != rows["target_epoch"])
    if crossed.empty:
        return None
    width = largest(crossed["target_width"])
    rows = where(rows, rows["target_width"] == width)
    epochs = sorted({*rows["source_epoch"], *rows["target_epoch"]})
    distance = bool((rows["kind"] == "distance").any())
    layers = {int(group["layer"]): _cells(part, epochs) for group, part in groups(rows, ["layer"])}
    among = len(layers) * len(epochs) * (len(epochs) - 1)
    means = {layer: _mean(cells.value_PEE) for layer, cells in layers.items()}
    best = [
        _best(layer, means[layer], cells, row, epochs, distance, level, among)
        for layer, cells in layers.items()
        for row in range(len(epochs))
        if np.isfinite(means[layer][row]).all()
    ]
    return EpochMap(measure, distance, width, [int(epoch) for epoch in epochs], means, best, rows, layers)


def _cells(rows: pd.DataFrame, epochs: Sequence[int]) -> Cells:
    one_R, other_R = (code.to_numpy() for code in net_codes(rows))
    both = np.stack([np.minimum(one_R, other_R), np.maximum(one_R, other_R)])
    pairs, pair_R = np.unique(both, axis=1, return_inverse=True)
    left_R, right_R = (np.searchsorted(epochs, rows[f"{side}_epoch"]) for side in ("source", "target"))
    shape = (pairs.shape[1], len(epochs), len(epochs))
    total, count = np.zeros(shape), np.zeros(shape)
    for at in ((np.ravel(pair_R), left_R, right_R), (np.ravel(pair_R), right_R, left_R)):
        np.add.at(total, at, rows["value"].to_numpy(dtype=np.float64))
        np.add.at(count, at, 1)
    with np.errstate(invalid="ignore"):
        return Cells(total / count, list(pairs))


def _mean(value_PEE: Floats) -> Floats:
    """The mean over the pairs that have a value; NaN where none has."""
    known_PEE = np.isfinite(value_PEE)
    with np.errstate(invalid="ignore"):
        return np.where(known_PEE, value_PEE, 0).sum(axis=0) / known_PEE.sum(axis=0)


def _best(
    layer: int,
    mean_EE: Floats,
    cells: Cells,
    row: int,
    epochs: Sequence[int],
    distance: bool,
    level: float,
    among: int,
) -> BestEpoch:
    best = int(mean_EE[row].argmin() if distance else mean_EE[row].argmax())
    if best == row:
        return BestEpoch(layer, int(epochs[row]), int(epochs[row]), 0.0, 0.0, 0.0)
    gain_P = (cells.value_PEE[:, row, row] - cells.value_PEE[:, row, best]) * (1 if distance else -1)
    known = np.isfinite(gain_P)
    mean = mean_over_nets(0, gain_P[known], [net_P[known] for net_P in cells.nets_P])
    return BestEpoch(
        layer, int(epochs[row]), int(epochs[best]), mean.mean, *mean_interval(mean, level, among)
    )
