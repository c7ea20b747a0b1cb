"""Two settings held against each other: exponents and errors, paired over nets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from espalier.analysis.limits.intervals import mean_interval
from espalier.analysis.limits.profiles import alpha_response
from espalier.analysis.limits.ratios import log_of_ratio, relative_variance, shared_covariance
from espalier.analysis.limits.requirements import Plateau
from espalier.analysis.limits.resample import groups
from espalier.analysis.limits.selection import (
    SETTING,
    comparable,
    each_once,
    is_pairs,
    measured,
    narrower_width,
    net_codes,
    where,
)
from espalier.analysis.limits.together import Holding, among, check_interval
from espalier.analysis.limits.width_limit import WidthLimit, fit_groups

COLUMNS = (
    *("axis", "first", "second"),
    *(
        f"{name}{end}"
        for name in ("alpha_first", "alpha_second", "difference")
        for end in ("", "_low", "_high")
    ),
    *("correlation", "ratio", "ratio_low", "ratio_high", "width", "nets", "widths", "warning", "interval"),
)


def contrast(
    frame: pd.DataFrame,
    axis: str,
    values: Sequence[object] | None = None,
    y: str = "fvu_test",
    by: Sequence[str] = ("layer",),
    plateau: Plateau = "auto",
    level: float = 0.9,
    interval: Holding = "each",
) -> pd.DataFrame:
    """Two settings of a sweep, such as `sp` and `mup`: the difference of their exponents, paired over nets.

    Rows are those of nets, or of pairs within one setting, as for `fit_width_limit`; nets of the two settings
    that share width and seed are pairs, since a seed may give both the same initial weights and order of
    images. Columns: those of `by`, `axis` (such as `parametrization`), `first` and `second` (its values),
    `alpha_first` and `alpha_second` as `fit_width_limit` has them, and `difference`, first less second, each
    with `_low` and `_high`: the two exponents' intervals put together by the method of Donner and Zou (2012,
    MOVER), which needs no normal exponents, with the `correlation` that the paired nets show. `ratio` is the
    first setting's mean error over the second's at the widest common `width`, with an interval over the
    paired nets on the log scale. `nets` and `widths` are the numbers of the paired nets and of common widths,
    `warning` that of either fit, `interval` whether the intervals of differences and ratios hold for `each`
    group or `together` (Bonferroni).

    Args:
        frame: Rows of both settings, such as `load(folder).grafts`.
        axis: The axis of a net in which they differ, without `source_` or `target_`.
        values: Its two values; may be left out where there are just two.
        y: Column to fit.
        by: Columns that tell the groups apart.
        plateau: As for `fit_width_limit`.
        level: Coverage.
        interval: Whether intervals hold one by one or together.

    Raises:
        ValueError: The axis has not two values, no net has its like, or as `fit_width_limit`.
    """
    check_interval(interval, level)
    first, second = _two(frame, axis, values)
    # All intervals of exponents are made at the level that the difference needs.
    sides = [_within(frame, axis, value) for value in (first, second)]
    count = among(interval, len(list(groups(comparable(sides[0], by), by))))
    shared = 1 - (1 - level) / count
    fits = [fit_groups(rows, y, by, plateau=plateau, level=shared, bootstraps=1) for rows in sides]
    others = {_key(fit.group, by): fit for fit in fits[1]}
    nets = [
        {_key(group, by): _nets(rows, y) for group, rows in groups(comparable(side, by), by)}
        for side in sides
    ]
    named = {"axis": axis, "first": first, "second": second}
    lines = [
        fit.group | named | _line(fit, others[key], [of_group[key] for of_group in nets], shared)
        for fit in fits[0]
        for key in [_key(fit.group, by)]
        if key in others
    ]
    if not lines:
        raise ValueError(f"no group of {list(by)} has rows of both settings: {axis} {first!r} and {second!r}")
    return pd.DataFrame(lines, columns=[*by, *COLUMNS]).assign(interval=interval)


def _two(frame: pd.DataFrame, axis: str, values: Sequence[object] | None) -> tuple[Any, Any]:
    if axis not in SETTING:
        raise ValueError(f"axis must be one of {', '.join(SETTING)}, got {axis!r}")
    column = frame[f"target_{axis}" if is_pairs(frame) else axis]
    known = sorted(column.dropna().unique().tolist(), key=str)
    asked = known if values is None else [*values]
    if len(asked) != 2 or any(value not in known for value in asked):
        raise ValueError(f"values: two of the {axis} in the frame are compared, {known}; got {asked}")
    return asked[0], asked[1]


def _within(frame: pd.DataFrame, axis: str, value: object) -> pd.DataFrame:
    """The rows whose nets all have that value."""
    sides = ("source_", "target_") if is_pairs(frame) else ("",)
    return where(frame, np.logical_and.reduce([frame[side + axis] == value for side in sides]))


def _key(group: dict[str, Any], by: Sequence[str]) -> tuple[Any, ...]:
    return tuple(group[name] for name in by)


def _nets(rows: pd.DataFrame, y: str) -> dict[int, NDArray[np.int64]]:
    """By width a number for each net that has rows, in the order of `WidthMean.influence_S`.

    It is one of the net's width and seed (and of its side, where sources are of another setting than their
    targets), so that a net and its like in the other setting have the same.
    """
    rows = measured(each_once(rows, y), y)
    rows = where(rows, np.isfinite(rows[y].to_numpy(dtype=np.float64)))
    width_R = narrower_width(rows)
    return {int(width): _numbers(where(rows, width_R == width)) for width in np.unique(width_R)}


def _numbers(rows: pd.DataFrame) -> NDArray[np.int64]:
    sides = ("target_", "source_") if is_pairs(rows) else ("",)  # a pool as source has no seed
    known = [name for name in SETTING if all(side + name in rows.columns for side in sides)]
    apart = any(len({rows[side + name].iloc[0] for side in sides}) > 1 for name in known)
    names = [
        ((rows[f"{side}width"].to_numpy(dtype=np.int64) * 2 + apart * place) << 32)
        + rows[f"{side}seed"].to_numpy(dtype=np.float64, na_value=-1).astype(np.int64)
        for place, side in enumerate(sides)
    ]
    codes = [code.to_numpy() for code in reversed(net_codes(rows))]
    return np.concatenate(names)[np.unique(np.concatenate(codes), return_index=True)[1]]


def _line(
    first: WidthLimit, second: WidthLimit, nets: Sequence[dict[int, NDArray[np.int64]]], level: float
) -> dict[str, Any]:
    found = {mean.width: mean for mean in second.means if mean.mean > 0}
    common = {mean.width: mean for mean in first.means if mean.mean > 0 and mean.width in found}
    paired = {width: [of_width[width] for of_width in nets] for width in common}
    covariances = {
        width: shared_covariance(mean, found[width], paired[width]) for width, mean in common.items()
    }
    told: dict[str, Any] = {
        "nets": sum(len(np.intersect1d(both[0], both[1])) for both in paired.values()),
        "widths": len(common),
        "warning": "; ".join(dict.fromkeys(text for text in (first.warning, second.warning) if text)),
    }
    if common:
        width = max(common)
        log = log_of_ratio(common[width], found[width], covariances[width])
        ends = (float(np.exp(end)) for end in (log.mean, *mean_interval(log, level)))
        told |= _ends("ratio", *ends) | {"width": width}
    for name, fit in (("alpha_first", first), ("alpha_second", second)):
        told |= _ends(name, fit.alpha, *fit.alpha_interval)
    if not first.chosen or not second.chosen:
        return told
    correlation = _correlation(first, second, covariances)
    return told | {"correlation": correlation} | _difference(first, second, correlation)


def _ends(name: str, value: float, low: float, high: float) -> dict[str, float]:
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _correlation(first: WidthLimit, second: WidthLimit, covariances: dict[int, float]) -> float:
    """Of the two exponents, to first order in the logarithms of the means."""
    responses, variances = [], []
    for fit in (first, second):
        assert fit.chosen is not None
        slope_W = alpha_response(fit.means, fit.chosen.point)
        responses.append(dict(zip([mean.width for mean in fit.means], slope_W, strict=True)))
        variances.append(
            sum(slope**2 * relative_variance(mean) for slope, mean in zip(slope_W, fit.means, strict=True))
        )
    both = sum(responses[0][width] * responses[1][width] * each for width, each in covariances.items())
    length = float(np.sqrt(np.prod(variances)))
    return float(np.clip(both / length, -1, 1)) if length > 0 else 0.0


def _difference(first: WidthLimit, second: WidthLimit, correlation: float) -> dict[str, float]:
    """Donner and Zou (2012): each end from the distances of both exponents to the ends of their intervals."""
    (low_1, high_1), (low_2, high_2) = first.alpha_interval, second.alpha_interval
    down_1, up_1 = first.alpha - low_1, high_1 - first.alpha
    down_2, up_2 = second.alpha - low_2, high_2 - second.alpha

    def length(a: float, b: float) -> float:
        return max(a**2 + b**2 - 2 * correlation * a * b, 0.0) ** 0.5

    difference = first.alpha - second.alpha
    return _ends(
        "difference", difference, difference - length(down_1, up_2), difference + length(up_1, down_2)
    )
