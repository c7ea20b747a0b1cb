"""How measures without a fit change with the width, at the last snapshot and before training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from espalier.analysis.limits.epoch_map import EpochMap, epoch_map
from espalier.analysis.limits.intervals import mean_interval
from espalier.analysis.limits.requirements import MIN_SEEDS
from espalier.analysis.limits.resample import groups, width_means
from espalier.analysis.limits.selection import each_once, largest, where
from espalier.analysis.limits.similarity_summary import similarity_summary
from espalier.analysis.limits.width_limit import WidthLimit, fit_groups

FITTED = ("energy", "cka", "procrustes", "match")
"""The measures whose change with the width is drawn and fitted; the others are in the table."""
SIGNED = frozenset({"energy", "mmd"})
"""U-statistics: their mean is 0 for draws of one distribution, and values lie on both sides of it."""


@dataclass(frozen=True, eq=False)
class MeasureFits:
    """One measure at one snapshot, of pairs of one width, against the width.

    Attributes:
        measure: Its name.
        distance: Whether it is a distance; of a similarity `gap` is 1 - value.
        epoch: The epoch of both nets.
        rows: The pairs with a value. Columns `gap`, and `null_gap` and `null_spread`: mean and standard
            deviation of the pair's permuted values on the same scale.
        fits: By layer the fit of `gap`.
        reasons: By layer why there is no fit.
    """

    measure: str
    distance: bool
    epoch: int
    rows: pd.DataFrame
    fits: Mapping[int, WidthLimit]
    reasons: Mapping[int, str]

    @property
    def signed(self) -> bool:
        """Whether values may lie below 0, so that no log axis can show them."""
        return self.measure in SIGNED

    @property
    def label(self) -> str:
        """What is drawn, as in `1 - cka`."""
        return self.measure if self.distance else f"1 - {self.measure}"


MAPPED = ("energy", "cka")
"""The measures that are mapped over the epochs."""


@dataclass(frozen=True, eq=False)
class Compared:
    """What is known of one setting's nets without a fit.

    Attributes:
        summary: `similarity_summary` of all rows.
        last: By measure of `FITTED` that is there, the last snapshot.
        first: The same of the initial nets, where these are another snapshot.
        rows: The rows themselves.
        maps: Of `MAPPED` those that there are rows for, over two epochs.
        level: Coverage of the intervals.
    """

    summary: pd.DataFrame
    last: Sequence[MeasureFits]
    first: Sequence[MeasureFits]
    rows: pd.DataFrame
    level: float
    maps: Sequence[EpochMap]

    def alike(self) -> pd.DataFrame:
        """The summary of nets of one width at one snapshot, all measures."""
        own = where(self.summary, self.summary["pairing"] == "same_width")
        return where(own, own["source_epoch"] == own["target_epoch"])

    def widest(self) -> pd.DataFrame:
        """The summary of the widest nets at the last snapshot, all measures."""
        own = self.alike()
        own = where(own, own["target_epoch"] == own["target_epoch"].max())
        return where(own, own["target_width"] == own["target_width"].max())


def compare(rows: pd.DataFrame, level: float, bootstraps: int) -> Compared:
    """Summaries and fits of rows of table `similarity` of one setting; nothing of none."""
    own = where(rows, (rows["pairing"] == "same_width") & (rows["source_epoch"] == rows["target_epoch"]))
    epochs = sorted(set(own["target_epoch"]))

    def of(epoch: int) -> list[MeasureFits]:
        valued = np.isfinite(own["value"].to_numpy(dtype=np.float64))
        there = set(where(own, (own["target_epoch"] == epoch) & valued)["measure"])
        return [measure_fits(own, name, epoch, level, bootstraps) for name in FITTED if name in there]

    last = of(int(epochs[-1])) if epochs else []
    first = of(0) if len(epochs) > 1 and epochs[0] == 0 else []
    maps = [made for name in MAPPED if (made := epoch_map(rows, name, level)) is not None]
    return Compared(similarity_summary(rows, level), last, first, rows, level, maps)


def measure_fits(rows: pd.DataFrame, measure: str, epoch: int, level: float, bootstraps: int) -> MeasureFits:
    """Fit one measure's `gap` against the width, layer by layer.

    A distance is fitted as it is, a similarity as 1 - value: both fall to 0 as nets become alike. Widths of
    fewer than 3 nets are left out while a sweep runs. A measure that may be negative is fitted only where its
    mean lies above 0 at every width, interval and all: a power law has no other side.
    """
    here = where(rows, (rows["measure"] == measure) & (rows["target_epoch"] == epoch))
    here = where(here, here["source_epoch"] == here["target_epoch"])
    distance = bool((here["kind"] == "distance").any())
    ready = gaps(here, distance)
    fits, reasons = dict[int, WidthLimit](), dict[int, str]()
    for group, part in groups(ready, ["layer"]):
        fit, reason = _fit(part, measure in SIGNED, level, bootstraps)
        if fit is None:
            reasons[int(group["layer"])] = reason
        else:
            fits[int(group["layer"])] = fit
    return MeasureFits(measure, distance, epoch, ready, fits, reasons)


def gaps(rows: pd.DataFrame, distance: bool) -> pd.DataFrame:
    """The rows that have a value, each once, with `gap`, `null_gap` and `null_spread`.

    Column `null` is renamed `permuted`: it names what a value stands beside, while in `grafts` it says that
    the row is of no real pair (`analysis.limits.selection.comparable`).
    """
    rows = each_once(where(rows, np.isfinite(rows["value"].to_numpy(dtype=np.float64))), "value")
    value, null = (rows[name].to_numpy(dtype=np.float64) for name in ("value", "null_mean"))
    gap, null_gap = (value, null) if distance else (1 - value, 1 - null)
    return rows.assign(gap=gap, null_gap=null_gap, null_spread=rows["null_sd"]).rename(
        columns={"null": "permuted"}
    )


def _fit(rows: pd.DataFrame, signed: bool, level: float, bootstraps: int) -> tuple[WidthLimit | None, str]:
    means = width_means(rows, "gap")
    few = [mean.width for mean in means if mean.seeds < MIN_SEEDS]
    if signed:
        low = [
            mean.width for mean in means if mean.width not in few and not mean_interval(mean, level)[0] > 0
        ]
        if low:
            at = ", ".join(map(str, low))
            return None, f"the mean is not above 0, or not surely, at width {at}: no power law"
    kept = where(rows, ~rows["target_width"].isin(few))
    try:
        (fit,) = fit_groups(kept, "gap", ["layer"], level=level, bootstraps=bootstraps)
    except ValueError as error:
        return None, str(error)
    return (fit, "") if fit.chosen else (None, fit.warning)


def widest_width(found: MeasureFits) -> int:
    """The greatest width that has a value."""
    return largest(found.rows["target_width"])
