"""Width limits `y(w) = c + a w^-alpha`, intervals from a bootstrap over nets (docs/method.md, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from espalier.analysis.limits.candidates import Candidate, fit_candidate, quantiles, select_draws
from espalier.analysis.limits.cautions import fit_warnings, not_finite, row_warning, twice, uninformative
from espalier.analysis.limits.powerlaw import Floats, PowerFit
from espalier.analysis.limits.resample import WidthMean, bootstrap_means, groups, width_means
from espalier.analysis.limits.selection import comparable, each_once, measured, where

MIN_WIDTHS, MIN_SEEDS = 4, 3
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
    "warning",
]
Plateau = Literal["auto"] | bool


def fit_width_limit(
    frame: pd.DataFrame,
    y: str,
    by: Sequence[str],
    plateau: Plateau = "auto",
    level: float = 0.9,
    bootstraps: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Fit `y(w) = c + a w^-alpha` in each group of `by`, with intervals from a bootstrap over nets.

    **Rows.** Of pair tables (`source_width`, `source_seed`, `target_width`, `target_seed`; both widths
    equal) or of net tables (`width`, `seed`). Rows with `null != "none"` are left out unless `by` has
    `null`; of several epochs the last is taken (`source_epoch == target_epoch`) unless `by` has
    the epochs. Any other axis with several values within a group is refused. Rows whose error says nothing
    (`analysis.limits.selection.measured`) are left out, and counted in `warning`.

    A row that is there several times counts once, and `warning` says so. A group with rows that are not
    finite is not fitted; `warning` says how many they are at which widths.

    **Point fit.** Means per width, least squares of the relative residuals, `c >= 0`. `"auto"` takes the
    plateau if its AICc is the lower one. The AICc counts nets as observations, so that the scatter between
    nets says how much misfit is noise; counting widths, it would not exist for 5 widths or fewer.

    **Interval.** Seeds are resampled within each width and rows follow their two nets. A plain
    percentile interval covers too rarely at a few seeds, for three reasons, each mended:
    S resampled values vary too little by (S-1)/S (draws are scaled up); a duplicated seed has no pair
    with itself and the pairs' own noise is counted twice or more (`analysis.limits.resample`); and the spread
    is itself an estimate from few nets, so that quantiles are those of Student's t, carried over to the
    percentiles (the expanded percentile interval of Hesterberg 2015), with Welch-Satterthwaite degrees of
    freedom from each width's share in the parameter's variance. With `"auto"` the model is chosen anew in
    every bootstrap (Efron 2014), or alpha's interval would take the choice for granted. Where a plateau is
    real but too small to see, no interval can know of it: read `c_high`.

    Args:
        frame: Rows of a table, such as `load(folder).grafts`.
        y: Column to fit; its means must be positive.
        by: Columns that tell the groups apart; may be empty.
        plateau: `"auto"`, or True or False to force the model.
        level: Coverage of the intervals.
        bootstraps: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        One row per group: the columns of `by`, `alpha`, `alpha_low`, `alpha_high`, `c`, `c_low`, `c_high`,
        `a`, `model` (`power` or `power+plateau`), `aicc` and that of both models, `nets` and `widths`
        (numbers), `warning` (empty, or what to beware of, such as rows with a warning of their own). `c` and
        `a` are in the unit of `y`. Where `power` is chosen over a plateau, `c` is 0 and `c_high` the upper
        limit of the plateau fit: how large a floor could hide. A parameter that was not fitted is NaN.

    Raises:
        ValueError: Fewer than 4 widths, fewer than 3 seeds at a width, mixed rows, or an option that is
            out of its range; the error says what was found.
    """
    fits = fit_groups(frame, y, by, plateau=plateau, level=level, bootstraps=bootstraps, seed=seed)
    return pd.DataFrame([fit.row() for fit in fits], columns=[*by, *COLUMNS])


@dataclass(frozen=True, eq=False)
class WidthLimit:
    """The fit of one group, with its bootstrap draws; `chosen` is None where nothing could be fitted."""

    group: dict[str, Any]
    means: list[WidthMean]
    warning: str
    chosen: Candidate | None = None
    power: Candidate | None = None
    plateau: Candidate | None = None
    draws: PowerFit | None = None

    @property
    def alpha(self) -> float:
        """The fitted exponent; NaN where nothing could be fitted."""
        return float(self.chosen.point.alpha_B[0]) if self.chosen else np.nan

    @property
    def alpha_interval(self) -> tuple[float, float]:
        """The interval of alpha, the choice of the model included."""
        if self.chosen is None or self.draws is None:
            return np.nan, np.nan
        return quantiles(self.draws.alpha_B, self.chosen.tail("alpha"))

    def row(self) -> dict[str, Any]:
        """The group as a row of `fit_width_limit`."""
        blank = dict.fromkeys(COLUMNS, np.nan) | {"model": ""}
        nets, widths = sum(m.seeds for m in self.means), len(self.means)
        fitted = self._fitted(self.chosen) if self.chosen else {}
        return {**self.group, **blank, **fitted, "nets": nets, "widths": widths, "warning": self.warning}

    def _fitted(self, chosen: Candidate) -> dict[str, Any]:
        power, plateau = self.power, self.plateau
        alpha_low, alpha_high = self.alpha_interval
        c_low, c_high = plateau.limit_interval(self.means) if plateau else (np.nan, np.nan)
        return {
            "alpha": chosen.point.alpha_B[0],
            "alpha_low": alpha_low,
            "alpha_high": alpha_high,
            "c": chosen.point.c_B[0],
            "c_low": c_low if chosen is plateau else (0.0 if plateau else np.nan),
            "c_high": c_high,
            "a": chosen.point.a_B[0],
            "model": chosen.model,
            "aicc": chosen.aicc,
            "aicc_power": power.aicc if power else np.nan,
            "aicc_plateau": plateau.aicc if plateau else np.nan,
        }

    def band(self, width_N: Floats) -> tuple[Floats, Floats, Floats]:
        """The fitted curve and its interval (pointwise, at `level`), each `[N]`."""
        if self.chosen is None or self.draws is None:
            raise ValueError(f"no fit for {self.group}: {self.warning}")
        tail = self.chosen.tail("alpha")
        low, high = np.quantile(self.draws.at(width_N), [tail, 1 - tail], axis=0)
        return self.chosen.point.at(width_N)[0], low, high


def fit_groups(
    frame: pd.DataFrame,
    y: str,
    by: Sequence[str],
    *,
    plateau: Plateau = "auto",
    level: float = 0.9,
    bootstraps: int = 2000,
    seed: int = 0,
) -> list[WidthLimit]:
    """The fits behind `fit_width_limit`, with their draws; arguments and errors are the same."""
    _check_options(frame, y, plateau, level, bootstraps)
    rows = comparable(frame, by)
    if rows.empty:
        raise ValueError(f"no rows to fit '{y}' from: {len(frame)} came, none is of a real pair or net")
    return [
        _fit_measured(group, part, y, plateau, level, bootstraps, seed) for group, part in groups(rows, by)
    ]


def _fit_measured(
    group: dict[str, Any], part: pd.DataFrame, y: str, plateau: Plateau, level: float, draws: int, seed: int
) -> WidthLimit:
    """The fit of the rows that tell something, each once, and what to say of the others."""
    once = each_once(part, y)
    kept = measured(once, y)
    means = width_means(where(kept, np.isfinite(kept[y].to_numpy(dtype=float))), y)
    left = len(once) - len(kept)
    said = twice(len(part) - len(once)), uninformative(left, len(once))
    odd = not_finite(kept, y) or (left and _too_few(means))
    if odd:
        return WidthLimit(group, means, _listed(f"no fit: {odd}", *said))
    fit = _fit_group(group, means, row_warning(kept), plateau, level, draws, seed)
    return replace(fit, warning=_listed(fit.warning, *said))


def _listed(*warnings: str) -> str:
    return "; ".join(filter(None, warnings))


def _check_options(frame: pd.DataFrame, y: str, plateau: Plateau, level: float, bootstraps: int) -> None:
    if y not in frame.columns or not pd.api.types.is_numeric_dtype(frame[y]):
        raise ValueError(f"y must name a column of numbers, got '{y}'; the frame has {sorted(frame.columns)}")
    if plateau not in ("auto", True, False):
        raise ValueError(f'plateau must be "auto", True or False, got {plateau!r}')
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    if bootstraps < 1:
        raise ValueError(f"bootstraps must be at least 1, got {bootstraps}")


def _fit_group(
    group: dict[str, Any],
    means: list[WidthMean],
    warned: str,
    plateau: Plateau,
    level: float,
    bootstraps: int,
    seed: int,
) -> WidthLimit:
    name = ", ".join(f"{key} {value}" for key, value in group.items()) or "all rows"
    _refuse_few(name, means)
    negative = [m.width for m in means if m.mean <= 0]
    if negative:
        return WidthLimit(group, means, f"no fit: the mean is not positive at width {negative}")
    draws_BW = bootstrap_means(means, bootstraps, seed)
    power, with_plateau = (
        None if plateau is not_this else fit_candidate(means, draws_BW, level, with_plateau=not not_this)
        for not_this in (True, False)
    )
    both = [fit for fit in (power, with_plateau) if fit]
    chosen, draws = min(both, key=lambda fit: fit.aicc), select_draws(both)
    interval = quantiles(draws.alpha_B, chosen.tail("alpha"))
    warning = fit_warnings(chosen, both, interval, means, warned)
    return WidthLimit(group, means, warning, chosen, power, with_plateau, draws)


def _too_few(means: Sequence[WidthMean]) -> str:
    """What a fit lacks, or nothing."""
    seeds = {m.width: m.seeds for m in means}
    if len(means) < MIN_WIDTHS:
        return f"a fit needs {MIN_WIDTHS} widths or more, found {len(means)}: {list(seeds)}"
    few = {width: count for width, count in seeds.items() if count < MIN_SEEDS}
    return f"a fit needs {MIN_SEEDS} seeds or more at each width, found {few} (width: seeds)" if few else ""


def _refuse_few(name: str, means: Sequence[WidthMean]) -> None:
    if few := _too_few(means):
        raise ValueError(f"{name}: {few}")
    stuck = [m.width for m in means if np.isfinite(m.mean) and not np.isfinite(m.variance)]
    if stuck:
        raise ValueError(
            f"{name}: one net has a part in every row at width {stuck}, so nets cannot be resampled; "
            "a fit needs rows of pairs that do not all share a net"
        )
