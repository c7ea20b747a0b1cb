"""Which rows of a table may be averaged together, and which net each row is of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from espalier.tasks.spec import METHODS
from espalier.tasks.tables.marks import BELOW_FLOOR, CONSTANT_TARGET

SETTING = ("architecture", "parametrization", "init", "dataset", "regularizer", "reg_weight", "recipe")
"""The axes of a net that say what it is, apart from its width, its seed and its epoch."""

_ROW_AXES = ("sweep", "null", "pairing", "skip", "method", "bn", "graft_layer", "layer", "measure")
_EPOCHS = ("source_epoch", "target_epoch", "epoch")
_TELLS_NOTHING = ("warning", "fvu_test", "fvu_channel_mean")

AXES = (
    *(
        side + name
        for side in ("source_", "target_", "")
        for name in ("net", "width", "seed", "epoch", *SETTING)
    ),
    *_ROW_AXES[1:],
    *("layer_name", "source_nets", "images_test"),
    *_TELLS_NOTHING,
)
"""The columns of all tables by which fits and means know which rows may be taken together, which of them
stand side by side, and which rows' errors tell nothing: what they must be given besides the measure."""


def comparable(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The rows that enter a fit or a mean by `by` and width.

    Rows of nulls are left out unless `by` has `null`, and those of pairings other than `same_width` unless
    `by` has `pairing` or there are no others. Of several epochs the last one is taken:
    the last `target_epoch` with `source_epoch` equal to it (rows of a null keep their own
    source epoch), or the last `epoch` of a frame of nets, unless `by` has these columns.

    Pairs across widths may be a group of their own if all go into one wider width, or all out of one:
    then their axis is the narrower width (`narrower_width`). Their wide nets are the same at every
    narrower width, so that the means share an error, of which a fit does not know.

    Rows of several sweeps (column `sweep`) are told apart like settings, since not all that sweeps may differ
    in is a column (the number of images, say). Sweeps that are parts of one are made one by
    `frame.drop(columns="sweep")`.

    Raises:
        ValueError: A column of `by` is missing; a group mixes pairs of one width with pairs across
            widths, or several wider widths or directions of these; or another axis (`layer`, `method`,
            `bn`, `sweep`, a setting of the nets) has several values within a group, which would be averaged
            silently.
    """
    missing = [name for name in by if name not in frame.columns]
    if missing:
        raise ValueError(f"by: no column {missing} in the frame; it has {sorted(frame.columns)}")
    if "null" in frame.columns and "null" not in by:
        frame = where(frame, frame["null"] == "none")
    frame = _one_pairing(frame, by)
    frame = _one_epoch(frame, by)
    _refuse_mixed_widths(frame, by)
    refuse_mixed_axes(frame, by)
    return frame


def measured(frame: pd.DataFrame, y: str) -> pd.DataFrame:
    """The rows whose error `y` tells something; of other measures than errors (`fvu_*`) all.

    Errors are null where the target's layer is constant, and rounding where they are below their floor: such
    rows say so in `warning`. In tables without it (`downstream`, `ridges`) null is what tells them.
    """
    if not y.startswith("fvu"):
        return frame
    if "warning" not in frame.columns:
        return where(frame, frame[y].notna())
    told = warnings_of(frame).str.contains(_SAYS_NOTHING).to_numpy()
    return where(frame, ~(told | _constant_untold(frame)))


def _constant_untold(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Rows of a constant target from before these were marked: an error of 1, and no channel that is live.

    Where the graft was constant too, as of a net into itself, both are 0, as they may be of a perfect graft.
    """
    if not {"fvu_test", "fvu_channel_mean"} <= set(frame.columns):
        return np.zeros(len(frame), dtype=bool)
    total_R, mean_R = (
        frame[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in ("fvu_test", "fvu_channel_mean")
    )
    return (total_R == 1) & (mean_R == 0)


def each_once(frame: pd.DataFrame, y: str) -> pd.DataFrame:
    """The rows without those that stand there again, equal in every column.

    Most frames have none, which one column tells: what is equal in all is equal in `y`.
    """
    alike = frame.duplicated(subset=[y], keep=False).to_numpy()
    if not alike.any():
        return frame
    again = alike.copy()
    again[alike] = where(frame, alike).duplicated().to_numpy()
    return where(frame, ~again)


_SAYS_NOTHING = "|".join([CONSTANT_TARGET, BELOW_FLOOR])


def warnings_of(frame: pd.DataFrame, column: str = "warning") -> pd.Series:
    """The texts of a column of warnings, empty where there is none."""
    return pd.Series(frame[column].astype("str").fillna(""))


def plain_grafts(grafts: pd.DataFrame) -> pd.DataFrame:
    """The rows of most figures: pairs of one width and setting, of `usual_method`."""
    return usual_method(where(grafts, grafts["pairing"] == "same_width"))


def usual_method(grafts: pd.DataFrame) -> pd.DataFrame:
    """Grafts by one method with the target's own BN statistics; where there are none, those that exist.

    The method is `exact`, else the first one of `stitch` and `adam` that has rows.
    """
    method = next((name for name in METHODS if name in set(grafts["method"])), "exact")
    return usual_bn(where(grafts, grafts["method"] == method))


def usual_bn(grafts: pd.DataFrame) -> pd.DataFrame:
    """Grafts with the target's own BN statistics, or without BN; all of them where that leaves none."""
    hidden = "target" in set(grafts["bn"])
    return where(grafts, grafts["bn"] != "reestimated") if hidden else grafts


def is_pairs(frame: pd.DataFrame) -> bool:
    """Whether each row is of two nets (`source_*`, `target_*`) rather than of one."""
    return "source_seed" in frame.columns


def narrower_width(frame: pd.DataFrame) -> NDArray[np.int64]:
    """The width axis of each row: the net's width, or the narrower one of a pair's two."""
    sides = [frame[f"{side}width"].to_numpy(dtype=np.int64) for side in _sides(frame)]
    return np.min(sides, axis=0)


def net_codes(frame: pd.DataFrame) -> list[pd.Series]:
    """For each net of a row (two of a pair, else one) an integer that tells the nets apart.

    A net is its width, seed and setting. Snapshots of one training run are one net: they are not
    independent. A row whose source is a pool of several nets (no `source_seed`) follows its target alone,
    since the table does not say which nets; what pools of several targets share is not counted.
    """
    sides = ("source_", "target_") if is_pairs(frame) else ("",)
    names = [
        name for name in ("width", "seed", *SETTING) if all(side + name in frame.columns for side in sides)
    ]
    # Most settings have one value in all rows: such a column tells no nets apart.
    names = [
        name
        for name in names
        if name not in SETTING or not _constant(*(pd.Series(frame[side + name]) for side in sides))
    ]
    codes = np.zeros(len(sides) * len(frame), np.int64)
    for name in names:  # several times as fast as a groupby, which fits do for every group
        column = pd.concat([pd.Series(frame[side + name]) for side in sides], ignore_index=True)
        ranks, values = pd.factorize(column, sort=True, use_na_sentinel=False)
        codes = np.unique(codes * len(values) + ranks, return_inverse=True)[1]
    parts = np.split(codes, len(sides))
    if is_pairs(frame):
        parts[0] = np.where(frame["source_seed"].isna(), parts[1], parts[0])
    return [pd.Series(part, index=frame.index) for part in parts]


def _constant(*columns: pd.Series) -> bool:
    """Whether columns have one value in all of their rows, the same in each."""
    values = (value for column in columns for value in _distinct(column))
    return len({None if pd.isna(value) else value for value in values}) < 2


def _distinct(column: pd.Series) -> list[Any]:
    """The values of a column; of categories by their numbers, without making a list of those in use."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return column.unique().tolist()
    codes, categories = pd.unique(column.cat.codes.to_numpy()), column.cat.categories
    return [None if code < 0 else categories[code] for code in codes]


def largest(values: ArrayLike) -> int:
    """The greatest of some whole numbers, such as widths or epochs."""
    return int(np.max(np.asarray(values)))


def where(frame: pd.DataFrame, mask: ArrayLike) -> pd.DataFrame:
    """The rows of the frame where the mask holds."""
    return frame.take(np.flatnonzero(mask))


def _one_pairing(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    if "pairing" not in frame.columns or "pairing" in by:
        return frame
    plain = where(frame, frame["pairing"] == "same_width")
    return plain if len(plain) else frame


def _one_epoch(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    for name in ("target_epoch", "epoch"):
        if name in frame.columns and name not in by:
            frame = where(frame, frame[name] == frame[name].max())
    if "source_epoch" in frame.columns and "source_epoch" not in by:
        kept = frame["source_epoch"] == frame["target_epoch"]
        frame = where(frame, kept | (frame["null"] != "none") if "null" in frame.columns else kept)
    return frame


def _refuse_mixed_widths(frame: pd.DataFrame, by: Sequence[str]) -> None:
    needed = [f"{side}{name}" for side in _sides(frame) for name in ("width", "seed")]
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise ValueError(f"nets are told apart by *_width and *_seed; the frame has no column {missing}")
    if not is_pairs(frame):
        return
    if "null" in frame.columns:  # a subset of a wider net stands for a net of the target's width
        frame = where(frame, frame["null"] != "wider_subset")
    crossing = frame.assign(_crossing=_crossing(frame))
    groups = crossing.groupby(list(by), dropna=False)["_crossing"] if len(by) else crossing["_crossing"]
    if pd.Series(groups.nunique()).gt(1).any():
        _refuse_widths(where(frame, crossing["_crossing"] != 0))


def _crossing(frame: pd.DataFrame) -> NDArray[np.int64]:
    """0 for pairs of one width, else the wider width, negative if it is the target's."""
    source, target = (frame[f"{side}width"].to_numpy(dtype=np.int64) for side in _sides(frame))
    return np.sign(source - target) * np.maximum(source, target)


def _refuse_widths(crossing: pd.DataFrame) -> None:
    source, target = (int(crossing[f"{side}_width"].iloc[0]) for side in ("source", "target"))
    wider = "source_width" if source > target else "target_width"
    raise ValueError(
        f"a mean or a fit by width would mix pairs of different widths; found source_width {source} with "
        f"target_width {target}: select rows with source_width == target_width first, or those across "
        f"widths that share the wider one, such as {wider} == {max(source, target)} alone"
    )


def refuse_mixed_axes(frame: pd.DataFrame, by: Sequence[str], *, asked: bool = True) -> None:
    """Within a group of `by` each other axis must have one value (a null's source epoch aside).

    Args:
        frame: Rows of any table of nets, of pairs, or of targets.
        by: Columns that tell the groups apart.
        asked: Whether the user names them, and so may name another.

    Raises:
        ValueError: One has several; the error says which and what would do.
    """
    sides = _sides(frame) if is_pairs(frame) else ("", "target_")
    axes = [*_ROW_AXES, *_EPOCHS, *(side + name for side in sides for name in SETTING)]
    axes = [name for name in axes if name in frame.columns and name not in by]
    for name in (name for name in axes if not _constant(pd.Series(frame[name]))):
        groups = frame.groupby(list(by), dropna=False, observed=True)[name] if len(by) else frame[name]
        if pd.Series(groups.nunique(dropna=False)).gt(1).any():
            values = sorted(frame[name].unique().tolist(), key=str)
            more, one = f"add '{name}' to by, or " if asked else "", f", such as {name} == {values[-1]!r}"
            raise ValueError(
                f"column '{name}' has several values ({', '.join(map(str, values[:6]))}), and a mean or a "
                f"fit would mix them: {more}select rows with one value first{'' if asked else one}"
            )


def _sides(frame: pd.DataFrame) -> tuple[str, ...]:
    return ("source_", "target_") if is_pairs(frame) else ("",)
