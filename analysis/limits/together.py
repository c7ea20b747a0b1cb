"""Several layers at once: intervals that hold together, and p-values after Holm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from espalier.analysis.limits.powerlaw import Floats
from espalier.analysis.limits.ratios import group_codes

Holding = Literal["each", "together"]
"""Whether each interval covers by itself, or all rows of a frame at once (Bonferroni)."""


def check_interval(interval: str, level: float) -> None:
    """Refuse what is neither `each` nor `together`, and a level that is no share."""
    if interval not in ("each", "together"):
        raise ValueError(f'interval must be "each" or "together", got {interval!r}')
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")


def among(interval: str, rows: int) -> int:
    """Over how many intervals the error is shared."""
    return max(rows, 1) if interval == "together" else 1


def holm(p_N: Floats) -> Floats:
    """p-values after Holm's step-down: the family errs with the level's probability (Holm 1979).

    It needs no independence. What has no p-value counts for nothing and stays NaN.

    >>> holm(np.array([0.01, 0.04, 0.03, np.nan])).round(3).tolist()
    [0.03, 0.06, 0.06, nan]
    """
    p_N = np.asarray(p_N, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(p_N))
    order = known[np.argsort(p_N[known], kind="stable")]
    steps = np.maximum.accumulate(p_N[order] * np.arange(len(order), 0, -1))
    adjusted = np.full(len(p_N), np.nan)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def holm_over_layers(frame: pd.DataFrame, column: str = "p_value") -> Floats:
    """Holm's p-values with the layers of each width, null, epoch and so on as one family."""
    adjusted = np.full(len(frame), np.nan)
    values = frame[column].to_numpy(dtype=np.float64)
    codes = group_codes(frame, families(frame))
    for family in np.unique(codes):
        adjusted[codes == family] = holm(values[codes == family])
    return adjusted


def families(frame: pd.DataFrame) -> Sequence[str]:
    """The columns, but for the layer, that tell families of rows apart."""
    return [
        name
        for name in ("null", "measure", "width", "epoch", "pairing", "low", "high")
        if name in frame.columns
    ]
