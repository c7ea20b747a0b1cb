"""The width limits of one snapshot of a sweep's nets, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from espalier.analysis.limits.selection import comparable, where
from espalier.analysis.limits.width_limit import WidthLimit, fit_groups


@dataclass(frozen=True, eq=False)
class SnapshotFits:
    """The fits by layer of one snapshot, or why there are none; `left_out` names widths with too few nets."""

    epoch: int
    rows: pd.DataFrame
    fits: Sequence[WidthLimit]
    reason: str
    left_out: str

    def table(self) -> list[dict[str, Any]]:
        """The fits as rows of `fit_width_limit`."""
        return [fit.row() for fit in self.fits]


def snapshot_fits(grafts: pd.DataFrame, epoch: int, level: float, bootstraps: int) -> SnapshotFits:
    """Fit the held-out error of one snapshot's real pairs against width, layer by layer.

    While a sweep runs, its widest nets may lack seeds: widths with fewer than 3 are left out.
    """
    rows = comparable(where(grafts, grafts["target_epoch"] == epoch), ["layer"])
    seeds = rows.groupby("target_width")["target_seed"].nunique()
    few = [int(width) for width, count in zip(seeds.index, seeds, strict=True) if count < 3]
    left_out = f"widths with fewer than 3 seeds: {', '.join(map(str, few))}" if few else ""
    if few and len(few) == len(seeds):
        return SnapshotFits(epoch, rows, [], "a width needs nets of 3 seeds, and none has them", left_out)
    ready = where(rows, ~rows["target_width"].isin(few))
    try:
        fits = fit_groups(ready, "fvu_test", ["layer"], level=level, bootstraps=bootstraps)
        return SnapshotFits(epoch, rows, fits, "", left_out)
    except ValueError as error:
        return SnapshotFits(epoch, rows, [], str(error), left_out)


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
