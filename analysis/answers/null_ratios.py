"""The error of real grafts beside that of a null, of the same targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtr

from espalier.analysis.limits.excess import paired
from espalier.analysis.limits.image_parts import MEASURE, block_parts, with_images
from espalier.analysis.limits.intervals import Mean, mean_interval
from espalier.analysis.limits.ratios import paired_ratio
from espalier.analysis.limits.resample import WidthMean, groups, width_means
from espalier.analysis.limits.selection import (
    comparable,
    each_once,
    measured,
    narrower_width,
    warnings_of,
    where,
)
from espalier.analysis.limits.together import Holding, among, check_interval, holm_over_layers
from espalier.tasks.tables.image_blocks import ERROR_BY_BLOCK

COLUMNS = (
    *("null", "width", "error", "null_error"),
    *(f"{name}{end}" for name in ("difference", "ratio") for end in ("", "_low", "_high")),
    *("p_value", "p_holm", "pairs", "nets", "warned", "interval", "images_share"),
)
OF_ITS_TARGET = ("self", "permuted", "pooled", "wider_subset")
"""Nulls whose source is no other net of the target's width."""
_TARGET = ("target_net", "target_epoch", "layer", "method", "sweep")


def compare_to_null(
    grafts: pd.DataFrame,
    null: str = "untrained",
    by: Sequence[str] = ("layer",),
    y: str = "fvu_test",
    level: float = 0.9,
    interval: Holding = "each",
    images: bool = False,
) -> pd.DataFrame:
    """The error of real grafts beside that of a null, paired over nets.

    Real rows stand beside the row of the null with the same source net and target; for nulls whose source is
    no other net of the width (`pooled`, `wider_subset`, `self`, `permuted`) beside the mean of the null's
    rows of the same target. What the target does cancels within such a pair, and intervals are over nets,
    which the pairs follow (Student's t; docs/method.md, section 5). Columns: those of `by`, `null`, `width`,
    `error` and `null_error` (the two means), `difference` (`error - null_error`) and `ratio` (of the means),
    each with `_low` and `_high` (of the ratio on the log scale); `p_value` of no difference and `p_holm`,
    after Holm over the layers of a width; `pairs`, `nets`, `warned` (share of pairs with a warning of either
    row), `interval`: whether an interval covers by itself (`each`) or all rows of the frame at once
    (`together`, Bonferroni), and `images_share`. With `images`, intervals and p-values count the draw of the
    held-out images too, of which what real rows and the null's have in common cancels; `images_share` is then
    the images' part of the difference's squared error (NaN otherwise). Rows need `fvu_by_block`, which nulls
    made of several nets do not have.

    Raises:
        ValueError: No real row has the null beside it, an option is out of range, or as `fit_width_limit`.
    """
    check_interval(interval, level)
    if images and (y != MEASURE or null in OF_ITS_TARGET):
        raise ValueError(
            f"images: blocks of images are known of {MEASURE} and of nulls with a source net of their own, "
            f"got y = '{y}' and null '{null}'"
        )
    pairs = beside_null(grafts, null, by, y)
    parts = [
        (group | {"null": null}, where(rows, width_R == width))
        for group, rows in groups(pairs, by)
        for width_R in [narrower_width(rows)]
        for width in np.unique(width_R)
    ]
    count = among(interval, len(parts))
    told = {"interval": interval}
    lines = [group | _compared(rows, y, level, count, images) | told for group, rows in parts]
    frame = pd.DataFrame(lines, columns=[*by, *COLUMNS])
    return frame.assign(p_holm=holm_over_layers(frame))


def beside_null(grafts: pd.DataFrame, null: str, by: Sequence[str], y: str) -> pd.DataFrame:
    """Real rows with `beside` (y of the null), `excess` (y minus it), and `ratio` as `excess.paired` has it.

    Raises:
        ValueError: There are none.
    """
    if null not in set(grafts["null"]):
        known = ", ".join(sorted(set(grafts["null"]) - {"none"})) or "no null"
        raise ValueError(f"null: no row has '{null}'; the frame has {known}")
    if null in OF_ITS_TARGET:
        pairs = _by_target(grafts, null, by, y)
    else:
        pairs = paired(grafts, by, y, null).rename(columns={"untrained": "beside"})
    if pairs.empty:
        made = sorted(set(where(grafts, grafts["null"] == null)["target_epoch"]))
        raise ValueError(
            f"no real row of the last epoch ({grafts['target_epoch'].max()}) has a row of null '{null}' with "
            f"the same target beside it; the null is there for targets of epochs {list(map(int, made))}: "
            "give rows of one of these, or name the last one in graft.null_epochs"
        )
    return pairs


def _by_target(grafts: pd.DataFrame, null: str, by: Sequence[str], y: str) -> pd.DataFrame:
    """Real rows beside the mean of the null's rows of the same target, of the most nets or the widest."""
    real = measured(each_once(comparable(grafts, by), y), y)
    rows = measured(each_once(where(grafts, grafts["null"] == null), y), y)
    for name in ("source_nets", "source_width") if null in ("pooled", "wider_subset") else ():
        rows = where(rows, rows[name] == rows[name].max())
    rows = where(rows, np.isfinite(rows[y].to_numpy(dtype=np.float64)))
    rows = rows.assign(_warned=(warnings_of(rows) != "").astype(float))
    same = [name for name in _of_target(null) if name in grafts.columns]
    means = pd.DataFrame(rows.groupby(same, observed=True, as_index=False)[[y, "_warned"]].mean())
    pairs = real.merge(means.rename(columns={y: "beside"}), on=same)
    pairs = where(pairs, np.isfinite(pairs[y]))
    own = warnings_of(pairs)
    pairs = pairs.assign(
        warning=own.where((own != "") | (pairs["_warned"] == 0), "a row of the null carries a warning"),
        excess=pairs[y] - pairs["beside"],
    )
    return pairs.assign(ratio=paired_ratio(pairs, y, "beside", by))


def _of_target(null: str) -> tuple[str, ...]:
    """The columns of a target. What a pool or a subset serves it with has no batch norm of its own."""
    return _TARGET if null in ("pooled", "wider_subset") else (*_TARGET, "bn")


def _compared(rows: pd.DataFrame, y: str, level: float, count: int, images: bool) -> dict[str, Any]:
    (difference,), (ratio,) = width_means(rows, "excess"), width_means(rows, "ratio")
    share = np.nan
    if images:
        real_RK, null_RK = block_parts(rows), block_parts(rows, f"{ERROR_BY_BLOCK}_untrained")
        error, beside = column_mean(rows, y), column_mean(rows, "beside")
        of_ratio_RK = error / beside * (real_RK / error - null_RK / beside)
        difference, share = with_images(difference, real_RK - null_RK, rows)
        ratio, _ = with_images(ratio, of_ratio_RK, rows)
    return {
        "width": difference.width,
        "error": column_mean(rows, y),
        "null_error": column_mean(rows, "beside"),
        **with_ends("difference", difference, level, count),
        **ratio_ends(ratio, level, count),
        "p_value": two_sided(difference),
        "pairs": len(rows),
        "nets": difference.seeds,
        "warned": float(np.mean(rows["warning"] != "")),
        "images_share": share,
    }


def column_mean(rows: pd.DataFrame, name: str) -> float:
    """The mean of a column of numbers."""
    return float(rows[name].to_numpy(dtype=np.float64).mean())


def with_ends(name: str, mean: Mean, level: float, count: int) -> dict[str, float]:
    """A mean and the ends of its interval, under the columns of that name."""
    low, high = mean_interval(mean, level, count)
    return {name: mean.mean, f"{name}_low": low, f"{name}_high": high}


def ratio_ends(ratio: WidthMean, level: float, count: int) -> dict[str, float]:
    """A ratio and the ends of its interval, on the log scale: none of them is below 0."""
    told = with_ends("ratio", as_log(ratio), level, count)
    return {name: float(np.exp(value)) for name, value in told.items()}


def as_log(ratio: WidthMean) -> WidthMean:
    """The logarithm of a mean above 0, to first order in its error."""
    return replace(ratio, mean=float(np.log(ratio.mean)), variance=ratio.variance / ratio.mean**2)


def two_sided(mean: Mean) -> float:
    """p-value of a mean of 0 (Student); NaN of one net."""
    if not mean.freedom > 0 or not mean.variance > 0:
        return np.nan
    return float(2 * stdtr(mean.freedom, -abs(mean.mean) / mean.variance**0.5))
