"""Which rows of a table may be averaged together, and which net each row is of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

SETTING = ("architecture", "parametrization", "init", "dataset", "regularizer", "reg_weight", "recipe")
"""The axes of a net that say what it is, apart from its width, its seed and its epoch."""

_ROW_AXES = ("null", "pairing", "skip", "method", "bn", "graft_layer", "layer")
_EPOCHS = ("source_epoch", "target_epoch", "epoch")


def comparable(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The rows that a fit or a mean by `by` and width is about.

    Rows of nulls are left out unless `by` has `null`, and those of pairings other than `same_width` unless
    `by` has `pairing` or there are no others. Of several epochs the last one is taken:
    the last `target_epoch` with `source_epoch` equal to it (rows of a null keep their own
    source epoch), or the last `epoch` of a frame of nets, unless `by` has these columns.

    Raises:
        ValueError: A column of `by` is missing; the two nets of a row differ in width; or another
            axis (`layer`, `method`, `bn`, a setting of the nets) has several values within a group, which
            would be averaged silently.
    """
    missing = [name for name in by if name not in frame.columns]
    if missing:
        raise ValueError(f"by: no column {missing} in the frame; it has {sorted(frame.columns)}")
    if "null" in frame.columns and "null" not in by:
        frame = where(frame, frame["null"] == "none")
    frame = _one_pairing(frame, by)
    frame = _one_epoch(frame, by)
    _refuse_mixed_widths(frame)
    _refuse_mixed_axes(frame, by)
    return frame


def plain_grafts(grafts: pd.DataFrame) -> pd.DataFrame:
    """The rows of most figures: pairs of one width and setting, exact, the target's own BN statistics.

    Where a sweep has no such rows it shows what it has.
    """
    grafts = _one_pairing(grafts, ())
    hidden = (("method", "exact", ("stitch", "adam")), ("bn", "target", ("reestimated",)))
    for column, plain, others in hidden:
        if plain in set(grafts[column]):
            grafts = where(grafts, ~grafts[column].isin(others))
    return grafts


def is_pairs(frame: pd.DataFrame) -> bool:
    """Whether each row is of two nets (`source_*`, `target_*`) rather than of one."""
    return "source_seed" in frame.columns


def width_column(frame: pd.DataFrame) -> str:
    """The column that holds the width axis."""
    return "target_width" if is_pairs(frame) else "width"


def net_codes(frame: pd.DataFrame) -> list[pd.Series]:
    """For each net of a row (two of a pair, else one) an integer that tells the nets apart.

    A net is its width, seed and setting. Snapshots of one training run are one net: they are not
    independent.
    """
    sides = ("source_", "target_") if is_pairs(frame) else ("",)
    names = [
        name for name in ("width", "seed", *SETTING) if all(side + name in frame.columns for side in sides)
    ]
    stacked = pd.concat([frame[[side + name for name in names]].set_axis(names, axis=1) for side in sides])
    codes = stacked.groupby(names, dropna=False, sort=True).ngroup().to_numpy()
    rows = len(frame)
    return [pd.Series(codes[k * rows : (k + 1) * rows], index=frame.index) for k in range(len(sides))]


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


def _refuse_mixed_widths(frame: pd.DataFrame) -> None:
    needed = [f"{side}{name}" for side in _sides(frame) for name in ("width", "seed")]
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise ValueError(f"nets are told apart by *_width and *_seed; the frame has no column {missing}")
    if is_pairs(frame):
        by_design = frame["null"] == "wider_subset" if "null" in frame.columns else False
        mixed = where(frame, (frame["source_width"] != frame["target_width"]) & ~by_design)
        for source, target in mixed[["source_width", "target_width"]].to_numpy()[:1]:
            raise ValueError(
                f"a width limit needs pairs of equal width; found source_width {source} with target_width "
                f"{target}: select rows with source_width == target_width first"
            )


def _refuse_mixed_axes(frame: pd.DataFrame, by: Sequence[str]) -> None:
    """Within a group of `by` each other axis must have one value (a null's source epoch aside)."""
    axes = [*_ROW_AXES, *_EPOCHS, *(side + name for side in _sides(frame) for name in SETTING)]
    axes = [name for name in axes if name in frame.columns and name not in by]
    for name in axes:
        groups = frame.groupby(list(by), dropna=False)[name] if len(by) else frame[name]
        if pd.Series(groups.nunique(dropna=False)).gt(1).any():
            values = sorted(frame[name].unique().tolist(), key=str)
            raise ValueError(
                f"column '{name}' has several values ({', '.join(map(str, values[:6]))}), and a fit would "
                f"mix them: add '{name}' to by, or select rows with one value first"
            )


def _sides(frame: pd.DataFrame) -> tuple[str, ...]:
    return ("source_", "target_") if is_pairs(frame) else ("",)
