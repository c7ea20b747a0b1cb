"""What the floors and nulls say about the measurement itself, of rows with a warning and without."""

from __future__ import annotations

import numpy as np
import pandas as pd

from espalier.analysis.figures.captioned import rows_in_words, when
from espalier.analysis.limits.cautions import percent
from espalier.analysis.limits.powerlaw import Floats
from espalier.analysis.limits.selection import measured, warnings_of, where

SELF_FLOOR = 1e-5
"""A net grafted into itself must come out under this error (docs/method.md, section 3)."""
_FLOORS = (("self", "A net grafted into itself"), ("permuted", "A net with permuted channels"))


def instrument(last: pd.DataFrame, epoch: int) -> list[str]:
    """Sentences about the nulls of one snapshot, and about the warnings of its real rows."""
    real = where(last, last["null"] == "none")
    floors = [_floor(where(last, last["null"] == null), words, epoch) for null, words in _FLOORS]
    said = [*floors, _shuffled(where(last, last["null"] == "shuffled_images"), epoch), _warned(real, epoch)]
    return [sentence for sentence in said if sentence]


def _floor(rows: pd.DataFrame, words: str, epoch: int) -> str:
    rows = where(rows, np.isfinite(rows["fvu_test"]))
    if rows.empty:
        return ""
    warned = (warnings_of(rows) != "").to_numpy()
    parts = [("without a warning", ~warned), ("with a warning", warned)]
    told = [_largest(rows["fvu_test"].to_numpy(np.float64)[mask], kind) for kind, mask in parts if mask.any()]
    return f"{words} {when(epoch)}, largest error: {'; '.join(told)}."


def _largest(errors: Floats, kind: str) -> str:
    """The largest of some rows' errors, and how many lie above the floor."""
    above = int((errors >= SELF_FLOOR).sum())
    state = f"under the floor of {SELF_FLOOR:g}, as it must be"
    if above and kind == "without a warning":
        state = f"{above} ABOVE the floor of {SELF_FLOOR:g}: beware"
    elif above:
        state = f"{above} above the floor of {SELF_FLOOR:g}, as directions that were not fitted may be"
    return f"over {len(errors)} rows {kind} {errors.max():.1g}, {state}"


def _shuffled(rows: pd.DataFrame, epoch: int) -> str:
    rows = where(rows, np.isfinite(rows["fvu_test"]))
    if rows.empty:
        return ""
    low, median, high = np.quantile(rows["fvu_test"], [0.05, 0.5, 0.95])
    state = "as it must be" if median > 0.9 else "BELOW 1: beware"
    return (
        f"With shuffled images {when(epoch)} the median error is {median:.2f} (9 of 10 rows from {low:.2f} "
        f"to {high:.2f}; {rows_in_words(rows)}), {state}."
    )


def _warned(real: pd.DataFrame, epoch: int) -> str:
    """Which share of the real rows carries a warning, by layer."""
    warned = (warnings_of(real) != "").to_numpy()
    if not warned.any():
        return ""
    layers, codes = np.unique(real["layer"], return_inverse=True)
    share = np.bincount(codes, warned) / np.bincount(codes)
    least, most = share.argmin(), share.argmax()
    spread = (
        f", from {percent(share[least])} at layer {layers[least]} to {percent(share[most])} at layer "
        f"{layers[most]}"
        if len(layers) > 1
        else ""
    )
    first = str(where(real, warned)["warning"].value_counts().index[0])
    return (
        f"Of the {len(real):,} rows of real pairs {when(epoch)}, {percent(warned.mean())} carry a warning"
        f"{spread}. The most frequent: {first}. Means and fits include these rows{_but_for(real)}."
    )


def _but_for(real: pd.DataFrame) -> str:
    left = len(real) - len(measured(real, "fvu_test"))
    return f", but for {left:,} whose target is constant or whose error is below its floor" if left else ""
