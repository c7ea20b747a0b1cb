"""Means of measures without a fit over pairs, with intervals over nets (docs/method.md, section 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from espalier.analysis.limits.intervals import mean_interval
from espalier.analysis.limits.resample import Floats, mean_over_nets, places
from espalier.analysis.limits.selection import SETTING, each_once, net_codes, warnings_of

REJECTED = 0.05
"""p-values up to this one count in `rejected`."""
_TIE = 1e-9
_PLACE = ("pairing", "layer", "layer_name", "source_width", "target_width", "source_epoch", "target_epoch")
_MEASURE = ("measure", "kind", "null")
_MEANS = ("self_value", "corrected", "null_mean", "null_sd", "calibrated")
COLUMNS = [
    *SETTING,
    *_PLACE,
    *_MEASURE,
    *("value", "error", "low", "high", "nets", "pairs", "undefined", "warned"),
    *_MEANS,
    "rejected",
]


def similarity_summary(frame: pd.DataFrame, level: float = 0.9) -> pd.DataFrame:
    """Each measure's mean over the pairs of nets, beside its null, by setting, layer, widths and epochs.

    Pairs share nets and are not independent. What varies is the draw of the nets, so errors and intervals
    are those of a mean over nets that its pairs follow (`analysis.limits.resample.mean_over_nets`: the
    jackknife of a U-statistic, Arvesen 1969), with Student's t. Of two nets, one pair, there is none.

    Args:
        frame: Rows of table `similarity`, such as `load(folder).similarity`.
        level: Coverage of each interval.

    Returns:
        A row for each setting (its axes), `pairing`, layer, widths and epochs of the two nets, and
        `measure` with its `kind` and `null`. `value` is the mean over `pairs` pairs of `nets` nets, `error`
        its standard error, `low` and `high` its interval. `undefined` pairs have no value and are in no mean;
        `warned` is the share of all pairs with a warning. `self_value`, `corrected`, `null_mean` and
        `calibrated` are means over the pairs; `null_sd` is the mean of the pairs' own, the spread of one
        pair's permuted value. `rejected` is the share of pairs with p <= 0.05: of tests that share nets, so
        that it has no error of its own.

    Raises:
        ValueError: A column is missing, the level is out of range, or a pair is of two settings.
    """
    wanted = [*_PLACE, *_MEASURE, *_MEANS, "value", "p_value", "warning", "source_seed", "target_seed"]
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise ValueError(f"no column {missing} in the frame: give rows of table `similarity`")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    by = [*(f"target_{name}" for name in SETTING), *_PLACE, *_MEASURE]
    for name in SETTING:
        a, b = (frame[f"{side}_{name}"].astype(object) for side in ("source", "target"))
        if not bool(((a == b) | (a.isna() & b.isna())).to_numpy().all()):
            raise ValueError(f"pairs of nets whose {name} differs are of two settings: leave them out first")
    # Categories that no row has would be groups.
    texts = {name: frame[name].astype(object) for name in by if frame[name].dtype == "category"}
    rows = each_once(frame.assign(**texts), "value")
    read = _Read.of(rows)
    lines = [_line(group, part, read, level) for group, part in places(rows, by)]
    return pd.DataFrame(lines, columns=COLUMNS)


@dataclass(frozen=True, eq=False)
class _Read:
    """What the summary reads of all rows, once: their numbers, their nets, and which have a warning."""

    numbers: dict[str, Floats]
    nets_R: list[NDArray[np.int64]]
    warned_R: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: pd.DataFrame) -> _Read:
        names = ("value", "p_value", *_MEANS)
        return cls(
            {name: rows[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in names},
            [code.to_numpy() for code in net_codes(rows)],
            (warnings_of(rows) != "").to_numpy(),
        )


def _line(group: dict[str, Any], part: NDArray[np.int64], read: _Read, level: float) -> dict[str, Any]:
    known = part[np.isfinite(read.numbers["value"][part])]
    named = {name.removeprefix("target_") if name[7:] in SETTING else name: v for name, v in group.items()}
    counts = {
        "pairs": len(known),
        "undefined": len(part) - len(known),
        "warned": float(read.warned_R[part].mean()),
    }
    return named | counts | (_means(known, read, level) if len(known) else {"nets": 0})


def _means(known: NDArray[np.int64], read: _Read, level: float) -> dict[str, float]:
    mean = mean_over_nets(0, read.numbers["value"][known], [net_R[known] for net_R in read.nets_R])
    low, high = mean_interval(mean, level)
    there = {name: values[known] for name, values in read.numbers.items()}
    there = {name: values[np.isfinite(values)] for name, values in there.items()}
    tested = there["p_value"]
    return {
        "value": mean.mean,
        "error": float(np.sqrt(mean.variance)),
        "low": low,
        "high": high,
        "nets": mean.seeds,
        "rejected": float(np.mean(tested <= REJECTED + _TIE)) if len(tested) else np.nan,
        **{name: float(there[name].mean()) if len(there[name]) else np.nan for name in _MEANS},
    }
