"""Does it matter which net of a pair is the source?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from espalier.analysis.answers.null_ratios import as_log, column_mean, ratio_ends, two_sided, with_ends
from espalier.analysis.limits.powerlaw import Floats
from espalier.analysis.limits.ratios import paired_ratio
from espalier.analysis.limits.resample import groups, width_means
from espalier.analysis.limits.selection import each_once, measured, refuse_mixed_axes, where
from espalier.analysis.limits.together import Holding, among, check_interval, holm_over_layers

ORDERED = {"cross_width": "width", "cross_epoch": "epoch"}
"""By pairing the axis in which the two nets of a pair are in order."""
_SAME = ("pairing", "layer", "method", "bn", "skip", "sweep")
SHARES = ("source_share", "target_share", "pair_share", "reciprocity")
COLUMNS = (
    *("pairing", "layer", "width", "low", "high", "forward", "backward"),
    *(f"{name}{end}" for name in ("ratio", "apart") for end in ("", "_low", "_high")),
    *(*SHARES, "p_value", "p_holm", "pairs", "nets", "interval"),
)


def asymmetry(
    grafts: pd.DataFrame, y: str = "fvu_test", level: float = 0.9, interval: Holding = "each"
) -> pd.DataFrame:
    """Whether A serves B as well as B serves A, for the pairs that are grafted both ways.

    A row for each pairing, layer and `width` (the narrower one): `low` and `high` are the two nets' widths,
    of `cross_epoch` their epochs. `forward` is the mean error from the low net into the high one, `backward`
    that of the same pairs the other way, and `ratio` forward over backward (`p_value` of equal errors, and
    `p_holm` over the layers of a width and pairing); nets of one width and epoch have no order, and so none
    of these. `apart` is the mean of `|y_AB - y_BA|` as a share of the mean error. Both have intervals over
    nets, `_low` and `_high`, which hold for `each` row or `together` (Bonferroni). Where all pairs of at
    least 4 nets of one width are there, the variance of their errors is parted into `source_share`,
    `target_share` and `pair_share`, what good sources, easy targets and single pairs explain, and
    `reciprocity` is the correlation of `y_AB` with `y_BA` beyond the nets' own effects (the social relations
    model: Warner, Kenny and Stoto 1979). `pairs` counts unordered pairs. Source: table `grafts`, real rows of
    one setting and method, of the last epoch.

    Raises:
        ValueError: No pair is grafted both ways, rows are of several settings, methods, skips, sweeps or
            modes of batch norm, or an option is out of range.
    """
    check_interval(interval, level)
    both = both_ways(grafts, y)
    if both.empty:
        raise ValueError(f"no two nets of the frame are grafted into each other: {len(grafts)} rows came")
    parts = list(groups(both, ["pairing", "layer", "width", "low", "high"]))
    count = among(interval, len(parts))
    lines = [group | _line(rows, level, count) | {"interval": interval} for group, rows in parts]
    frame = pd.DataFrame(lines, columns=[*COLUMNS])
    return frame.assign(p_holm=holm_over_layers(frame))


def both_ways(grafts: pd.DataFrame, y: str) -> pd.DataFrame:
    """A row for each unordered pair: y from the low net into the high one as `there`, the reverse as `back`.

    Nets of one width and epoch are ordered by their seeds, for no reason.
    """
    rows = where(grafts, (grafts["null"] == "none") & (grafts["pairing"] != "cross_setting"))
    crossed = rows["pairing"] == "cross_epoch"
    at_end = (rows["source_epoch"] == rows["target_epoch"]) & (
        rows["target_epoch"] == rows["target_epoch"].max()
    )
    rows = where(rows, crossed | at_end)
    refuse_mixed_axes(rows, ["pairing", "layer", "source_epoch", "target_epoch"], asked=False)
    rows = measured(each_once(rows, y), y)
    rows = where(rows, np.isfinite(rows[y].to_numpy(dtype=np.float64)))
    rows = rows.assign(pairing=rows["pairing"].astype(object))
    ends = {f"{side}_{name}": f"{other}_{name}" for side, other in _SIDES for name in ("net", "epoch")}
    known = [name for name in _SAME if name in rows.columns]
    back = pd.DataFrame(rows, columns=[*known, *ends, y]).rename(columns={**ends, y: "back"})
    both = rows.rename(columns={y: "there"}).merge(back, on=[*known, *ends], validate="one_to_one")
    low_R, high_R = (_axis(both, side) for side, _ in _SIDES)
    seeds = both["source_seed"].to_numpy() < both["target_seed"].to_numpy()
    ordered = both["pairing"].isin([*ORDERED]).to_numpy()
    both = both.assign(low=low_R, high=high_R, width=both[["source_width", "target_width"]].min(axis=1))
    return where(both, np.where(ordered, low_R < high_R, seeds))


_SIDES = (("source", "target"), ("target", "source"))


def _axis(both: pd.DataFrame, side: str) -> NDArray[np.int64]:
    epoch, width = both[f"{side}_epoch"], both[f"{side}_width"]
    return np.where(both["pairing"] == "cross_epoch", epoch, width).astype(np.int64)


def _line(rows: pd.DataFrame, level: float, count: int) -> dict[str, Any]:
    by = ["pairing", "layer", "low", "high"]
    mean = (rows["there"] + rows["back"]) / 2
    sized = rows.assign(_gap=(rows["there"] - rows["back"]).abs(), _mean=mean)
    sized = sized.assign(_apart=paired_ratio(sized, "_gap", "_mean", by))
    (apart,) = width_means(sized, "_apart")
    told = {**with_ends("apart", apart, level, count), "pairs": len(rows), "nets": apart.seeds}
    if rows["pairing"].iloc[0] not in ORDERED:
        return told | dict(zip(SHARES, variance_shares(rows), strict=True))
    (ratio,) = width_means(sized.assign(_ratio=paired_ratio(sized, "there", "back", by)), "_ratio")
    told |= {"forward": column_mean(rows, "there"), "backward": column_mean(rows, "back")}
    return told | ratio_ends(ratio, level, count) | {"p_value": two_sided(as_log(ratio))}


def variance_shares(rows: pd.DataFrame) -> tuple[float, float, float, float]:
    """The variance of errors over ordered pairs by source, target and pair, as shares, and the reciprocity.

    The estimates of the social relations model (Kenny and La Voie 1984), each unbiased and set to 0 below it;
    NaN unless all pairs of at least 4 nets are there, each once.
    """
    seeds, at = np.unique(rows[["source_seed", "target_seed"]].to_numpy(), return_inverse=True)
    n, (first, second) = len(seeds), at.reshape(-1, 2).T
    if n < 4 or len(rows) != n * (n - 1) / 2 or len({*zip(first, second, strict=True)}) != len(rows):
        return np.nan, np.nan, np.nan, np.nan
    y_NN = np.zeros((n, n))
    y_NN[first, second], y_NN[second, first] = rows["there"], rows["back"]
    source_N, target_N, left_NN = _effects(y_NN)
    upper = np.triu_indices(n, 1)
    one_P, other_P = left_NN[upper], left_NN.T[upper]
    freedom = (n - 1) * (n - 2) / 2
    alike = float(((one_P + other_P) ** 2).sum()) / 2 / (freedom - 1)
    apart = float(((one_P - other_P) ** 2).sum()) / 2 / freedom
    pair, shared = (alike + apart) / 2, (alike - apart) / 2
    noise = pair * (n - 1) / (n * (n - 2)) + shared / (n * (n - 2))
    parts = np.array([*(max(float(e_N @ e_N) / (n - 1) - noise, 0.0) for e_N in (source_N, target_N)), pair])
    source, target, own = parts / parts.sum() if parts.sum() > 0 else np.full(3, np.nan)
    return float(source), float(target), float(own), float(shared / pair) if pair > 0 else np.nan


def _effects(y_NN: Floats) -> tuple[Floats, Floats, Floats]:
    """Each net's effect as source and as target, and what they leave, of a matrix without its diagonal."""
    n = len(y_NN)
    row_N, column_N = y_NN.sum(axis=1) / (n - 1), y_NN.sum(axis=0) / (n - 1)
    mean = y_NN.sum() / (n * (n - 1))
    own, other, grand = (n - 1) ** 2 / (n * (n - 2)), (n - 1) / (n * (n - 2)), (n - 1) / (n - 2) * mean
    source_N, target_N = (
        own * a_N + other * b_N - grand for a_N, b_N in ((row_N, column_N), (column_N, row_N))
    )
    left_NN = y_NN - source_N[:, None] - target_N[None] - mean
    np.fill_diagonal(left_NN, 0.0)
    return source_N, target_N, left_NN
