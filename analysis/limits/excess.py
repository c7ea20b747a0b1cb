"""What a trained source adds: its error held against that of the same net untrained, under the same target.

The error of a graft falls with the width for two reasons: what the source offers, and what the target asks
for. A wide target can be nearly linear in *any* features of its width. An untrained source (null `untrained`)
under the same target has the second reason alone, so what training adds is a paired difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from espalier.analysis.limits.cautions import ROWS_WARN
from espalier.analysis.limits.intervals import mean_interval
from espalier.analysis.limits.ratios import group_codes, group_means, paired_ratio
from espalier.analysis.limits.resample import Floats, WidthMean, groups, width_means
from espalier.analysis.limits.selection import comparable, each_once, measured, warnings_of, where
from espalier.analysis.limits.width_limit import WidthLimit, fit_groups
from espalier.tasks.tables.image_blocks import ERROR_BY_BLOCK

NULL = "untrained"
_SAME = ("source_net", "target_net", "target_epoch", "layer", "method", "bn", "pairing", "skip", "sweep")
EXPONENTS = ("alpha", "alpha_untrained", "alpha_ratio", "excess", "ratio", "alpha_excess")
COLUMNS = [
    *(f"{name}{end}" for name in EXPONENTS for end in ("", "_low", "_high")),
    *("width", "pairs", "nets", "widths", "warned", "warning"),
]


def fit_excess(
    frame: pd.DataFrame,
    by: Sequence[str],
    y: str = "fvu_test",
    level: float = 0.9,
    bootstraps: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The excess of trained sources over untrained ones, and how both depend on the width.

    A real row counts where the same pair has a row of the null `untrained`: the same target net and layer,
    and the same source net at epoch 0. The other rules for rows, and the intervals (nets are resampled), are
    those of `fit_width_limit`.

    Args:
        frame: Rows of the table `grafts`, those of the null among them.
        by: Columns that tell the groups apart, such as `["layer"]`.
        y: Column to compare.
        level: Coverage of each interval.
        bootstraps: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        One row per group: the columns of `by` and, each with `_low` and `_high`,
        `alpha` (the error of trained sources falls as `w^-alpha`), `alpha_untrained` (that of
        untrained ones), `alpha_ratio` (trained over untrained: 0 where the width helps both alike; no limit),
        `excess` (trained minus untrained at the widest nets, in the unit of `y`; below 0 where training
        helps), `ratio` (trained over untrained there) and `alpha_excess` (the size of the excess falls as
        `w^-alpha_excess`, without a limit; NaN where it changes its sign over the widths). Then `width` (the
        widest), `pairs`, `nets` and `widths` (numbers), `warned` (share of pairs of which a row carries a
        warning) and `warning`.

    Raises:
        ValueError: No pair has both rows, or as `fit_width_limit`.
    """
    pairs = paired(frame, by, y)
    if pairs.empty:
        raise ValueError(
            f"no real pair has a row with the null '{NULL}' to be held against: {len(frame)} rows came; "
            f"add '{NULL}' to graft.nulls and run the sweep again"
        )
    fits = excess_fits(pairs, by, y, level=level, bootstraps=bootstraps, seed=seed)
    return pd.DataFrame([fit.row() for fit in fits], columns=[*by, *COLUMNS])


def paired(grafts: pd.DataFrame, by: Sequence[str], y: str = "fvu_test", null: str = NULL) -> pd.DataFrame:
    """The real rows whose pair has an untrained source, or another source of the same net, too, each once.

    Rows whose error tells nothing (`analysis.limits.selection.measured`) or is not finite are left out.

    Further columns: `untrained` (y of that row), `excess` (y minus it) and `ratio`, whose mean over the rows
    of a group and width is the ratio of the two means (`analysis.limits.ratios.paired_ratio`), and
    `fvu_by_block_untrained` where the rows have blocks of images. `warning` is that of the real row, or else
    that of the other.
    """
    real = measured(each_once(comparable(grafts, by), y), y)
    known = [name for name in _SAME if name in grafts.columns]
    beside = measured(each_once(where(grafts, grafts["null"] == null), y), y)
    carried = [name for name in (y, "warning", ERROR_BY_BLOCK) if name in grafts.columns]
    rows = real.merge(
        beside[[*known, *carried]], on=known, suffixes=("", "_untrained"), validate="one_to_one"
    )
    rows = where(rows, np.isfinite(rows[y]) & np.isfinite(rows[f"{y}_untrained"]))
    rows = rows.rename(columns={f"{y}_untrained": "untrained"})
    told, other = (warnings_of(rows, name) for name in ("warning", "warning_untrained"))
    rows = rows.assign(warning=told.where(told != "", other), excess=rows[y] - rows["untrained"])
    rows = rows.assign(ratio=paired_ratio(rows, y, "untrained", by))
    return rows.drop(columns="warning_untrained")


@dataclass(frozen=True, eq=False)
class ExcessFit:
    """One group's fits: of trained and untrained sources, of their ratio, and of the size of the excess."""

    group: dict[str, Any]
    trained: WidthLimit
    untrained: WidthLimit
    ratio: WidthLimit
    size: WidthLimit
    means: list[WidthMean]
    pairs: int
    warned: float
    level: float

    def row(self) -> dict[str, Any]:
        """The group as a row of `fit_excess`."""
        exponents = {
            "alpha": self.trained,
            "alpha_untrained": self.untrained,
            "alpha_ratio": self.ratio,
            "alpha_excess": self.size,
        }
        told: dict[str, Any] = {}
        for name, fit in exponents.items():
            told |= _named(name, fit.alpha, *fit.alpha_interval)
        for name, mean in (("excess", self.means[-1]), ("ratio", self.ratio.means[-1])):
            told |= _named(name, mean.mean, *mean_interval(mean, self.level))
        counts = {
            "width": self.means[-1].width,
            "pairs": self.pairs,
            "nets": sum(m.seeds for m in self.means),
            "widths": len(self.means),
            "warned": self.warned,
        }
        return self.group | told | counts | {"warning": self.warning}

    @property
    def warning(self) -> str:
        """What to beware of in the ratio and in the excess, whose rows are the same."""
        of_excess = self.size.warning
        if self.size.chosen is None:
            of_excess = "no fit: the excess changes its sign over the widths"
        parts = {
            name: text.split("; ") for name, text in (("ratio", self.ratio.warning), ("excess", of_excess))
        }
        of_rows = [part for part in parts["ratio"] if ROWS_WARN in part]
        own = {
            name: "; ".join(part for part in told if ROWS_WARN not in part) for name, told in parts.items()
        }
        return "; ".join([*of_rows, *(f"{name}: {text}" for name, text in own.items() if text)])


def excess_fits(
    pairs: pd.DataFrame, by: Sequence[str], y: str, *, level: float, bootstraps: int, seed: int = 0
) -> list[ExcessFit]:
    """The fits behind `fit_excess`, from rows of `paired`."""
    sized = pairs.assign(_size=pairs["excess"] * _sign(pairs, by))
    options: dict[str, Any] = {"level": level, "bootstraps": bootstraps, "seed": seed}
    fits = (
        fit_groups(pairs, y, by, **options),
        fit_groups(pairs, "untrained", by, **options),
        fit_groups(pairs, "ratio", by, plateau=False, **options),
        fit_groups(sized, "_size", by, plateau=False, **options),
    )
    return [
        ExcessFit(
            group,
            *fitted,
            means=width_means(part, "excess"),
            pairs=len(part),
            warned=float(np.mean(part["warning"] != "")),
            level=level,
        )
        for (group, part), *fitted in zip(groups(pairs, by), *fits, strict=True)
    ]


def _sign(pairs: pd.DataFrame, by: Sequence[str]) -> Floats:
    """For each row 1 or -1: on which side of 1 the ratio of its group lies, as a mean over rows."""
    beyond = pairs["ratio"].to_numpy(dtype=np.float64) - 1
    return np.where(group_means(beyond, group_codes(pairs, by)) < 0, -1.0, 1.0)


def _named(name: str, value: float, low: float, high: float) -> dict[str, float]:
    return {name: value, f"{name}_low": low, f"{name}_high": high}
