"""Width limits `y(w) = c + a w^-alpha` with intervals over nets (docs/method.md, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from espalier.analysis.limits.candidates import Candidate, Draws, Resampling, fit_candidate, fit_draws
from espalier.analysis.limits.cautions import fit_warnings, not_finite, row_warning, twice, uninformative
from espalier.analysis.limits.image_parts import ImageParts, image_parts
from espalier.analysis.limits.powerlaw import Floats
from espalier.analysis.limits.profiles import alpha_interval, images_share, limit_interval
from espalier.analysis.limits.requirements import Plateau, check_fit, refuse_few, too_few
from espalier.analysis.limits.resample import WidthMean, groups, width_means
from espalier.analysis.limits.selection import comparable, each_once, measured, where
from espalier.analysis.limits.together import Holding, among, check_interval

COLUMNS = [
    "alpha",
    "alpha_low",
    "alpha_high",
    "c",
    "c_low",
    "c_high",
    "a",
    "model",
    "aicc",
    "aicc_power",
    "aicc_plateau",
    "nets",
    "widths",
    "interval",
    "images_share",
    "warning",
]
NOT_KNOWN = np.nan, np.nan


def fit_width_limit(
    frame: pd.DataFrame,
    y: str,
    by: Sequence[str],
    plateau: Plateau = "auto",
    level: float = 0.9,
    bootstraps: int = 2000,
    seed: int = 0,
    interval: Holding = "each",
    images: bool = False,
) -> pd.DataFrame:
    """Fit `y(w) = c + a w^-alpha` in each group of `by`, with intervals over nets.

    **Rows.** Of pair tables (`source_width`, `source_seed`, `target_width`, `target_seed`; both widths
    equal) or of net tables (`width`, `seed`). Rows with `null != "none"` are left out unless `by` has
    `null`; of several epochs the last is taken (`source_epoch == target_epoch`) unless `by` has
    the epochs. Any other axis with several values within a group is refused. Rows whose error says nothing
    (`analysis.limits.selection.measured`) are left out, and counted in `warning`.

    A row that is there several times counts once, and `warning` says so. A group with rows that are not
    finite is not fitted; `warning` says how many they are at which widths.

    **Point fit.** Means per width, least squares of the relative residuals, `c >= 0`, and beside a limit
    `a >= 0`: a curve that rises has none (fit 1 - y of what rises to one). `"auto"` takes the
    plateau if its AICc is the lower one. The AICc counts nets as observations, so that the scatter between
    nets says how much misfit is noise; counting widths, it would not exist for 5 widths or fewer.

    **Interval.** The values that are plausible under either model, by the profile of the misfit
    (`analysis.limits.profiles`): an exponent is in the interval if some curve with it fits hardly worse than
    the best one, whatever its limit. How much worse is allowed follows from the nets' own variance at each
    width and Student's t with Welch-Satterthwaite degrees of freedom. With three or four nets and widths such
    intervals are long, since the nets then know no more. `plateau=False` shortens them by an assumption: that
    there is no limit. An end that the nets do not bound is that of the range searched (alpha: -3 and 6).

    The band of `analysis.limits.width_limit.WidthLimit` is the percentile band of a bootstrap over nets:
    seeds are resampled within each width, rows follow their two nets, and the model is chosen anew in each
    draw.

    Args:
        frame: Rows of a table, such as `load(folder).grafts`.
        y: Column to fit; its means must be positive.
        by: Columns that tell the groups apart; may be empty.
        plateau: `"auto"`, or True or False to force the model.
        level: Coverage of the intervals.
        bootstraps: Number of resamples, for the band.
        seed: Seed of the resampling.
        interval: Whether an interval covers by itself (`"each"`), or those of a parameter in all groups of
            the frame at once (`"together"`, Bonferroni).
        images: Whether intervals count the draw of the held-out images too, of rows with `fvu_by_block`.

    Returns:
        One row per group: the columns of `by`, `alpha`, `alpha_low`, `alpha_high`, `c`, `c_low`, `c_high`,
        `a`, `model` (`power` or `power+plateau`), `aicc` and that of both models, `nets` and `widths`
        (numbers), `interval` (`each` or `together`), `images_share` (the held-out images' part of alpha's
        squared error; NaN unless asked for), `warning` (empty, or what to beware of, such as rows with a
        warning of their own). `c` and `a` are in the unit of `y`. Where `power` is chosen over a plateau, `c`
        is 0 and `c_high` says how large a floor could hide. A parameter that was not fitted is NaN.

    Raises:
        ValueError: Fewer than 4 widths, fewer than 3 seeds at a width, mixed rows, or an option that is
            out of its range; the error says what was found.
    """
    options: dict[str, Any] = {"plateau": plateau, "bootstraps": bootstraps, "seed": seed, "images": images}
    fits = fit_groups(frame, y, by, level=level, interval=interval, **options)
    return pd.DataFrame([fit.row() for fit in fits], columns=[*by, *COLUMNS])


@dataclass(frozen=True, eq=False)
class WidthLimit:
    """The fit of one group; `chosen` is None where nothing could be fitted. A band alone needs resampling."""

    group: dict[str, Any]
    means: list[WidthMean]
    warning: str
    chosen: Candidate | None = None
    power: Candidate | None = None
    plateau: Candidate | None = None
    resampling: Resampling | None = None
    alpha_interval: tuple[float, float] = NOT_KNOWN
    limit_interval: tuple[float, float] = NOT_KNOWN
    images_share: float = np.nan
    holding: Holding = "each"

    @property
    def alpha(self) -> float:
        """The fitted exponent; NaN where nothing could be fitted."""
        return float(self.chosen.point.alpha_B[0]) if self.chosen else np.nan

    def row(self) -> dict[str, Any]:
        """The group as a row of `fit_width_limit`."""
        blank = dict.fromkeys(COLUMNS, np.nan) | {"model": ""}
        nets, widths = sum(m.seeds for m in self.means), len(self.means)
        fitted = self._fitted(self.chosen) if self.chosen else {}
        counts = {"nets": nets, "widths": widths, "interval": self.holding}
        counts["images_share"] = self.images_share
        return {**self.group, **blank, **fitted, **counts, "warning": self.warning}

    def _fitted(self, chosen: Candidate) -> dict[str, Any]:
        power, plateau = self.power, self.plateau
        (alpha_low, alpha_high), (c_low, c_high) = self.alpha_interval, self.limit_interval
        return {
            "alpha": chosen.point.alpha_B[0],
            "alpha_low": alpha_low,
            "alpha_high": alpha_high,
            "c": chosen.point.c_B[0],
            "c_low": c_low,
            "c_high": c_high,
            "a": chosen.point.a_B[0],
            "model": chosen.model,
            "aicc": chosen.aicc,
            "aicc_power": power.aicc if power else np.nan,
            "aicc_plateau": plateau.aicc if plateau else np.nan,
        }

    def band(self, width_N: Floats) -> tuple[Floats, Floats, Floats]:
        """The fitted curve and its interval (pointwise, at `level`), each `[N]`."""
        if self.chosen is None:
            raise ValueError(f"no fit for {self.group}: {self.warning}")
        return self.chosen.point.at(width_N)[0], *self._draws.band(width_N)

    @cached_property
    def _draws(self) -> Draws:
        assert self.chosen is not None
        assert self.resampling is not None
        candidates = [fit for fit in (self.power, self.plateau) if fit]
        return fit_draws(self.means, candidates, self.chosen, self.resampling)


def fit_groups(
    frame: pd.DataFrame,
    y: str,
    by: Sequence[str],
    *,
    plateau: Plateau = "auto",
    level: float = 0.9,
    bootstraps: int = 2000,
    seed: int = 0,
    interval: Holding = "each",
    images: bool = False,
) -> list[WidthLimit]:
    """The fits behind `fit_width_limit`, with their bands; arguments and errors are the same."""
    check_interval(interval, level)
    check_fit(frame, y, plateau, bootstraps, images)
    rows = comparable(frame, by)
    if rows.empty:
        raise ValueError(f"no rows to fit '{y}' from: {len(frame)} came, none is of a real pair or net")
    parts = groups(rows, by)
    shared = 1 - (1 - level) / among(interval, len(parts))
    options: dict[str, Any] = {"plateau": plateau, "level": shared, "bootstraps": bootstraps, "seed": seed}
    fits = [_fit_measured(group, part, y, images, options) for group, part in parts]
    return [replace(fit, holding=interval) for fit in fits]


def _fit_measured(
    group: dict[str, Any], part: pd.DataFrame, y: str, images: bool, options: dict[str, Any]
) -> WidthLimit:
    """The fit of the rows that tell something, each once, and what to say of the others."""
    once = each_once(part, y)
    kept = measured(once, y)
    means = width_means(where(kept, np.isfinite(kept[y].to_numpy(dtype=float))), y)
    left = len(once) - len(kept)
    said = twice(len(part) - len(once)), uninformative(left, len(once))
    odd = not_finite(kept, y) or (left and too_few(means))
    if odd:
        return WidthLimit(group, means, _listed(f"no fit: {odd}", *said))
    parts = image_parts(kept, means) if images else None
    fit = fit_means(group, means, warned=row_warning(kept), images=parts, **options)
    return replace(fit, warning=_listed(fit.warning, *said))


def _listed(*warnings: str) -> str:
    return "; ".join(filter(None, warnings))


def fit_means(
    group: dict[str, Any],
    means: list[WidthMean],
    *,
    level: float,
    bootstraps: int,
    plateau: Plateau = "auto",
    warned: str = "",
    seed: int = 0,
    images: ImageParts | None = None,
) -> WidthLimit:
    """The fit of the means of one group; `warned` is the warning about its rows, the rest as elsewhere.

    Raises:
        ValueError: There are too few widths or nets, or one net has a part in every row.
    """
    name = ", ".join(f"{key} {value}" for key, value in group.items()) or "all rows"
    refuse_few(name, means)
    negative = [m.width for m in means if m.mean <= 0]
    if negative:
        return WidthLimit(group, means, f"no fit: the mean is not positive at width {negative}")
    power, with_plateau = (
        None if plateau is not_this else fit_candidate(means, with_plateau=not not_this)
        for not_this in (True, False)
    )
    both = [fit for fit in (power, with_plateau) if fit]
    chosen = min(both, key=lambda fit: fit.aicc)
    forced = None if plateau == "auto" else bool(plateau)
    ends = alpha_interval(means, [fit.point for fit in both], chosen.point, forced, level, images)
    limits = (
        limit_interval(means, with_plateau.point, chosen.point, level, images) if with_plateau else NOT_KNOWN
    )
    warning = fit_warnings(chosen, both, ends, means, warned)
    share = images_share(means, chosen.point, images) if images is not None else np.nan
    resampling = Resampling(bootstraps, seed, level, images)
    return WidthLimit(group, means, warning, chosen, power, with_plateau, resampling, ends, limits, share)
