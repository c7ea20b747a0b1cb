"""How much of an error is owed to few channels, and how much to different ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from espalier.analysis.answers.null_ratios import beside_null, column_mean, two_sided, with_ends
from espalier.analysis.limits.resample import WidthMean, groups, mean_over_nets, width_means
from espalier.analysis.limits.selection import (
    each_once,
    narrower_width,
    net_codes,
    refuse_mixed_axes,
    warnings_of,
    where,
)
from espalier.analysis.limits.together import Holding, among, check_interval, holm_over_layers

FLOORS = ("wider_subset", "pooled")
COLUMNS = (
    *("null", "measure", "layer", "width", "value", "floor"),
    *(f"{name}{end}" for name in ("excess", "share") for end in ("", "_low", "_high")),
    *("p_value", "p_holm", "pairs", "nets", "warned", "interval"),
)


def excess(
    grafts: pd.DataFrame | None = None,
    similarity: pd.DataFrame | None = None,
    y: str = "fvu_test",
    level: float = 0.9,
    interval: Holding = "each",
) -> pd.DataFrame:
    """The sampling floor and the excess over it: what few channels alone would show, and what is beyond.

    Two nets of few channels differ though both are draws of one distribution. Null `wider_subset` of `grafts`
    serves the same target with as many channels drawn from one net of the widest width, and `pooled` with as
    many from several nets of its own width; null `labels` of `similarity` deals the channels of the two nets
    anew (docs/method.md, sections 3 and 6). The observed `value` is so `floor + excess`, paired over targets
    or pairs: the excess is 0 where all channels are draws of one distribution, and below 0 where the channels
    of one net complement each other. Intervals are over nets (Student's t). Columns: `null`, `measure` (`y`,
    or the measure), `layer`, `width`, `value`, `floor`, `excess` and `share` (excess over value; NaN of
    measures that may be 0 or negative), each with `_low` and `_high`, `p_value` of no excess and `p_holm`
    (over the layers of a null, measure and width), `pairs`, `nets`, `warned`, and `interval`, `each` or
    `together`, as in `compare_to_null`. Rows are those of the last epoch.

    Args:
        grafts: Rows of table `grafts`, those of the nulls among them; may be left out.
        similarity: Rows of table `similarity`; may be left out.
        y: Column of `grafts` to compare.
        level: Coverage of the intervals.
        interval: Whether they hold one by one or together.

    Raises:
        ValueError: None of the three nulls is there, rows are of several settings, sweeps or modes of batch
            norm, or an option is out of range.
    """
    check_interval(interval, level)
    parts = [*_of_grafts(grafts, y), *_of_labels(similarity)]
    if not parts:
        raise ValueError(
            "no row of the nulls wider_subset, pooled (graft.nulls) or labels (measures energy, mmd and "
            "others of [similarity]) came: without them a floor is not known"
        )
    count = among(interval, len(parts))
    lines = [_line(part, level, count) | {"interval": interval} for part in parts]
    frame = pd.DataFrame(lines, columns=[*COLUMNS])
    return frame.assign(p_holm=holm_over_layers(frame))


Part = tuple[dict[str, Any], WidthMean, WidthMean | None]


def _of_grafts(grafts: pd.DataFrame | None, y: str) -> Iterator[Part]:
    if grafts is None:
        return
    for null in FLOORS:
        if null not in set(grafts["null"]):
            continue
        pairs = beside_null(grafts, null, ["layer"], y)
        pairs = pairs.assign(_share=1 - _inverse(pairs))
        for group, rows in groups(pairs, ["layer"]):
            for over, share in zip(width_means(rows, "excess"), width_means(rows, "_share"), strict=True):
                here = where(rows, narrower_width(rows) == over.width)
                told = {"null": null, "measure": y, "width": over.width, **group, **_told(here, y, "beside")}
                yield told, over, share


def _inverse(pairs: pd.DataFrame) -> pd.Series:
    """Rows whose mean by layer and width is floor over value: the linear term of one over `ratio`."""
    sized = pairs.assign(_width=narrower_width(pairs))
    means = sized.groupby(["layer", "_width"])["ratio"].transform("mean")
    return pd.Series((2 - pairs["ratio"] / means) / means)


def _of_labels(similarity: pd.DataFrame | None) -> Iterator[Part]:
    if similarity is None:
        return
    rows = where(similarity, (similarity["null"] == "labels") & (similarity["pairing"] == "same_width"))
    rows = where(rows, rows["source_epoch"] == rows["target_epoch"])
    rows = each_once(where(rows, np.isfinite(rows["value"].to_numpy(dtype=np.float64))), "value")
    rows = where(rows, rows["target_epoch"] == rows["target_epoch"].max())
    refuse_mixed_axes(_plain(rows), ["measure", "layer"], asked=False)
    over = rows.assign(_over=rows["value"] - rows["null_mean"])
    for group, here in groups(_plain(over), ["measure", "layer", "target_width"]):
        codes = [code.to_numpy() for code in net_codes(here)]
        width = int(group.pop("target_width"))
        mean = mean_over_nets(width, here["_over"].to_numpy(dtype=np.float64), codes)
        yield {"null": "labels", "width": width, **group, **_told(here, "value", "null_mean")}, mean, None


def _plain(rows: pd.DataFrame) -> pd.DataFrame:
    """With texts for categories: those that no row has would be groups."""
    return rows.assign(measure=rows["measure"].astype(object))


def _told(rows: pd.DataFrame, value: str, floor: str) -> dict[str, float]:
    return {
        "value": column_mean(rows, value),
        "floor": column_mean(rows, floor),
        "pairs": len(rows),
        "warned": float(np.mean(warnings_of(rows) != "")),
    }


def _line(part: Part, level: float, count: int) -> dict[str, Any]:
    told, over, share = part
    line = told | with_ends("excess", over, level, count)
    if share is not None:
        line |= with_ends("share", share, level, count)
    return line | {"p_value": two_sided(over), "nets": over.seeds}
