"""The width limits of one snapshot of a sweep's nets, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from espalier.analysis.limits.excess import EXPONENTS, ExcessFit, excess_fits, paired
from espalier.analysis.limits.resample import groups
from espalier.analysis.limits.selection import comparable, where
from espalier.analysis.limits.width_limit import WidthLimit, fit_groups


@dataclass(frozen=True, eq=False)
class SnapshotFits:
    """One snapshot's fits by layer, or why there are none; `left_out` names widths with too few nets.

    `pairs` are the rows that have an untrained source beside them (`analysis.limits.excess.paired`), and
    `excess` the fits of these; both are empty where there is no such null, as of the initial nets.
    """

    epoch: int
    level: float
    rows: pd.DataFrame
    pairs: pd.DataFrame
    fits: Sequence[WidthLimit] = ()
    excess: Sequence[ExcessFit] = ()
    reason: str = ""
    left_out: str = ""

    def table(self) -> list[dict[str, Any]]:
        """The fits as rows of `fit_width_limit`, with the columns of `fit_excess` where there are any."""
        more = {fit.group["layer"]: fit.row() for fit in self.excess}
        blank = dict.fromkeys(EXCESS_COLUMNS, np.nan) | {"excess_warning": ""}
        return [blank | _renamed(more.get(fit.group["layer"], {})) | fit.row() for fit in self.fits]


EXCESS_COLUMNS = (
    *(f"{name}{end}" for name in EXPONENTS[1:] for end in ("", "_low", "_high")),
    "excess_width",
    "excess_warning",
)
"""What a row of `SnapshotFits.table` has beside the columns of `fit_width_limit`."""


def _renamed(row: dict[str, Any]) -> dict[str, Any]:
    """The columns of a row of `fit_excess` that one of `fit_width_limit` lacks."""
    named = row | {f"excess_{name}": row[name] for name in ("width", "warning") if name in row}
    return {name: value for name, value in named.items() if name in EXCESS_COLUMNS}


def snapshot_fits(grafts: pd.DataFrame, epoch: int, level: float, bootstraps: int) -> SnapshotFits:
    """Fit the held-out error of one snapshot's real pairs against width, layer by layer.

    While a sweep runs, its widest nets may lack seeds: widths with fewer than 3 are left out.
    """
    here = where(grafts, grafts["target_epoch"] == epoch)
    rows, pairs = comparable(here, ["layer"]), paired(here, ["layer"])
    found = SnapshotFits(epoch, level, rows, pairs)
    seeds = rows.groupby("target_width")["target_seed"].nunique()
    few = [int(width) for width, count in zip(seeds.index, seeds, strict=True) if count < 3]
    if few:
        told = f"widths with fewer than 3 seeds: {', '.join(map(str, few))}"
        found = replace(found, left_out=told)
    if few and len(few) == len(seeds):
        return replace(found, reason="a width needs nets of 3 seeds, and none has them")
    ready, both = (where(frame, ~frame["target_width"].isin(few)) for frame in (rows, pairs))
    try:
        fits = fit_groups(ready, "fvu_test", ["layer"], level=level, bootstraps=bootstraps)
    except ValueError as error:
        return replace(found, reason=str(error))
    return replace(found, fits=fits, excess=_excess(both, level, bootstraps))


def _excess(pairs: pd.DataFrame, level: float, bootstraps: int) -> Sequence[ExcessFit]:
    """The fits of the excess, of those layers at which enough pairs have an untrained source."""
    found: list[ExcessFit] = []
    for _, part in groups(pairs, ["layer"]):
        with suppress(ValueError):
            found += excess_fits(part, ["layer"], "fvu_test", level=level, bootstraps=bootstraps)
    return found


def end_fits(
    grafts: pd.DataFrame, level: float, bootstraps: int
) -> tuple[SnapshotFits | None, SnapshotFits | None]:
    """The fits of the last snapshot and of the initial nets; None where there is no row."""
    real = comparable(grafts, ["layer", "target_epoch"])
    epochs = sorted(real["target_epoch"].unique())
    if not epochs:
        return None, None
    last = snapshot_fits(grafts, int(epochs[-1]), level, bootstraps)
    first = snapshot_fits(grafts, 0, level, bootstraps) if epochs[0] == 0 and len(epochs) > 1 else None
    return last, first
