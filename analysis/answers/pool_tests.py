"""Are the channels of nets exchangeable? One p-value a layer, from the tests of its targets."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import ndtr

from espalier.analysis.limits.powerlaw import Floats
from espalier.analysis.limits.resample import groups
from espalier.analysis.limits.selection import largest, refuse_mixed_axes, where
from espalier.analysis.limits.together import holm_over_layers

Combined = Literal["mean", "normal"]
LEVEL, TIE = 0.05, 1e-9
"""p-values up to this one count as rejections; they are fractions, so rounding must not decide."""
BAND = 2 * 1.6448536269514722
"""Normal deviations between the 5 % and the 95 % quantile."""
COLUMNS = (
    *("null", "width", "epoch", "layer", "targets", "ratio", "p_value", "p_holm", "least_p", "rejected"),
    *("ratio_initial", "p_initial", "rejected_initial", "exact", "combined"),
)


def exchangeability(table: pd.DataFrame, combined: Combined = "mean") -> pd.DataFrame:
    """One p-value a layer for exchangeable channels, after Holm over layers, beside that of the initial nets.

    Targets share the nets that serve them, so their p-values depend on one another in a way that is not
    known. `"mean"` takes twice the mean of the targets' p-values, which is valid under any dependence
    (Rueschendorf 1982; Vovk and Wang 2020) and never below `least_p`, 2 / (partitions + 1). `"normal"` takes
    the mean of the targets' deviations, log ratio over the standard deviation that the partitions give it,
    and holds it against a normal distribution of deviation 1, its most if all targets told the same: it has
    no least value, but needs normal log ratios, and it is for `pooled` one-sided, as `p_value` of the table
    is. Columns: `null`, `width`, `epoch`, `layer`, `targets` (how many), `ratio` (geometric mean over targets
    of one net's error over the null's), `p_value`, `p_holm` (over the layers of a null, width and epoch),
    `least_p`, `rejected` (share of targets with p <= 0.05), the same of the initial nets (`ratio_initial`,
    `p_initial`, `rejected_initial`; NaN without them), `exact` (whether the hypothesis is exactly true of
    initial nets: layer 2 alone; above it, read only what exceeds theirs) and `combined`. A large p-value is
    no evidence of exchangeability. Source: table `exchangeability` (docs/method.md, section 3), of one
    setting.

    Raises:
        ValueError: A column is missing, rows are of several settings or sweeps, or `combined` is neither.
    """
    wanted = [
        "null",
        "layer",
        "nets",
        "null_width",
        "ratio",
        "ratio_low",
        "ratio_high",
        "p_value",
        "partitions",
    ]
    if missing := [name for name in [*wanted, "target_net", "target_epoch"] if name not in table.columns]:
        raise ValueError(f"no column {missing} in the frame: give rows of table `exchangeability`")
    if combined not in ("mean", "normal"):
        raise ValueError(f'combined must be "mean" or "normal", got {combined!r}')
    refuse_mixed_axes(table, ["null", "target_width", "target_epoch", "layer"], asked=False)
    rows = largest_pools(table).assign(null=lambda frame: frame["null"].astype(object))
    lines = [
        group | _combined(part, combined) | {"exact": group["layer"] == 2, "combined": combined}
        for group, part in groups(
            rows.rename(columns={"target_width": "width", "target_epoch": "epoch"}),
            ["null", "width", "epoch", "layer"],
        )
    ]
    frame = pd.DataFrame(lines, columns=[*COLUMNS])
    return _beside_initial(frame.assign(p_holm=holm_over_layers(frame)))


def largest_pools(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each null, target and layer: a sweep that grew keeps the rows of its smaller pools.

    Those of the most nets are taken, of `wider_subset` those drawn from the widest nets alone.
    """
    rows = where(rows, rows["ratio"].notna())  # of a constant target nothing is known
    widest = rows.groupby("null", observed=True)["null_width"].transform("max")
    rows = where(rows, (rows["null"] == "pooled") | (rows["null_width"] == widest))
    target = ["null", "target_net", "target_epoch", "layer"]
    return rows.sort_values("nets", kind="stable").drop_duplicates(target, keep="last").sort_index()


def _combined(rows: pd.DataFrame, combined: Combined) -> dict[str, Any]:
    p_T = rows["p_value"].to_numpy(dtype=np.float64)
    log_T = np.log(rows["ratio"].to_numpy(dtype=np.float64))
    p, least = min(2 * float(p_T.mean()), 1.0), 2 / (largest(rows["partitions"]) + 1)
    if combined == "normal":
        p, least = _normal(rows, log_T), 0.0
    return {
        "targets": len(rows),
        "ratio": float(np.exp(log_T.mean())),
        "p_value": p,
        "least_p": least,
        "rejected": float(np.mean(p_T <= LEVEL + TIE)),
    }


def _normal(rows: pd.DataFrame, log_T: Floats) -> float:
    low_T, high_T = (np.log(rows[f"ratio_{end}"].to_numpy(dtype=np.float64)) for end in ("low", "high"))
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = float(np.mean((log_T - (low_T + high_T) / 2) / ((high_T - low_T) / BAND)))
    if not np.isfinite(deviation):
        return np.nan
    one_sided = str(rows["null"].iloc[0]) == "pooled"
    return float(ndtr(-deviation) if one_sided else 2 * ndtr(-abs(deviation)))


def _beside_initial(frame: pd.DataFrame) -> pd.DataFrame:
    """With the columns of the initial nets of the same null, width and layer."""
    same, told = ["null", "width", "layer"], ["ratio", "p_value", "rejected"]
    start = pd.DataFrame(where(frame, frame["epoch"] == 0), columns=[*same, *told])
    names = {"ratio": "ratio_initial", "p_value": "p_initial", "rejected": "rejected_initial"}
    merged = frame.drop(columns=[*names.values()]).merge(start.rename(columns=names), how="left", on=same)
    return pd.DataFrame(merged, columns=[*COLUMNS])
