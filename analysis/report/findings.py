"""The headline findings in words, each sentence computed from the tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from espalier.analysis.limits.powerlaw import Floats
from espalier.analysis.limits.resample import summarise
from espalier.analysis.limits.selection import comparable, where
from espalier.analysis.limits.width_limit import WidthLimit

SELF_FLOOR = 1e-5
"""A net grafted into itself must come out under this error (docs/method.md, section 3)."""


def findings(grafts: pd.DataFrame, fits: Sequence[WidthLimit]) -> list[str]:
    """Sentences about the last snapshot's grafts; empty if there is no row of a real pair."""
    if comparable(grafts, ["layer"]).empty:
        return []
    said = [*_exponents(fits), _floors(fits), _cost(grafts), _training(grafts), *_checks(grafts)]
    return [sentence for sentence in said if sentence]


def _exponents(fits: Sequence[WidthLimit]) -> list[str]:
    rows = [fit.row() for fit in fits if fit.chosen]
    if not rows:
        return []
    falls = [row for row in rows if row["alpha_low"] > 0]
    first = (
        f"Wider nets serve each other better: after training the held-out error of a graft falls with the "
        f"width at {len(falls)} of {len(rows)} layers (alpha's interval lies above 0)."
        if falls
        else f"At none of {len(rows)} layers does the error of a graft fall detectably with the width."
    )
    best, worst = (pick(rows, key=lambda row: row["alpha"]) for pick in (max, min))
    second = f"It falls fastest at layer {_layer(best)}"
    second += f" and slowest at layer {_layer(worst)}." if len(rows) > 1 else "."
    return [first, second] if falls else [first]


def _layer(row: dict[str, float]) -> str:
    interval = f"[{row['alpha_low']:.2f}, {row['alpha_high']:.2f}]"
    return f"{row['layer']} (as w^{-row['alpha']:.2f}; alpha in {interval})"


def _floors(fits: Sequence[WidthLimit]) -> str:
    rows = [fit.row() for fit in fits if fit.chosen]
    floor = [row for row in rows if row["model"] == "power+plateau"]
    if not rows:
        return ""
    if not floor:
        most = max(rows, key=lambda row: row["c_high"])
        return (
            "At no layer does a limit above zero fit better than none: the error may vanish as the width "
            f"grows. A floor of up to {most['c_high']:.2g} (layer {most['layer']}) could still hide."
        )
    layers = ", ".join(
        f"layer {row['layer']} ({row['c']:.2g}, [{row['c_low']:.2g}, {row['c_high']:.2g}])" for row in floor
    )
    return f"The fits with a limit above zero, where the features stay different, are preferred at: {layers}."


def _cost(grafts: pd.DataFrame) -> str:
    if not len(grafts["accuracy_drop"].dropna()):  # a regression
        return ""
    means = summarise(grafts, "accuracy_drop", ["layer"])
    wide, narrow = (where(means, means["width"] == means["width"].agg(end)) for end in ("max", "min"))
    worst = wide.loc[wide["mean"].idxmax()]
    text = (
        f"At width {wide['width'].iloc[0]} a graft costs at most {100 * worst['mean']:.1f} percentage points"
    )
    text += f" of accuracy (mean over pairs, layer {worst['layer']:.0f})"
    if narrow["width"].iloc[0] < wide["width"].iloc[0]:
        text += f"; at width {narrow['width'].iloc[0]}, {100 * narrow['mean'].max():.1f}"
    return text + "."


def _training(grafts: pd.DataFrame) -> str:
    """Whether training makes the features of the widest nets more alike or less."""
    means = summarise(grafts, "fvu_test", ["target_epoch", "layer"])
    means = where(means, means["width"] == means["width"].max())
    epochs = sorted(set(means["target_epoch"]))
    if len(epochs) < 2:
        return ""
    first, last = epochs[0], epochs[-1]
    table = means.pivot_table(index="layer", columns="target_epoch", values="mean")
    ratio = _finite(table[last] / table[first])
    if not len(ratio):
        return ""
    return (
        f"From epoch {first} to epoch {last} the error at the widest nets changes by a factor of "
        f"{ratio.min():.2g} to {ratio.max():.2g}; it rises at {(ratio > 1).sum()} of {len(ratio)} layers."
    )


def _checks(grafts: pd.DataFrame) -> list[str]:
    """What the nulls and floors say about the measurement itself."""
    last = where(grafts, grafts["target_epoch"] == grafts["target_epoch"].max())
    said = [_untrained(last)]
    for null, words in (("self", "A net grafted into itself"), ("permuted", "A net with permuted channels")):
        rows = where(last, last["null"] == null)
        warned = (rows["warning"].fillna("") != "").to_numpy()
        errors, told = _finite(rows["fvu_test"][~warned]), _finite(rows["fvu_test"][warned])
        if len(errors):
            state = (
                "as it must" if errors.max() < SELF_FLOOR else f"ABOVE the floor of {SELF_FLOOR:g}: beware"
            )
            said.append(f"{words} is recovered to an error of {errors.max():.1g} at worst, {state}.")
        if len(told) and told.max() >= SELF_FLOOR:
            said.append(
                f"Of {len(told)} such rows that carry a warning (fitting images that do not show every patch "
                f"direction, say) the largest error is {told.max():.1g}."
            )
    shuffled = _errors(last, "shuffled_images")
    if len(shuffled):
        median = np.median(shuffled)
        state = "as it must" if median > 0.9 else "BELOW 1: beware"
        said.append(f"With shuffled images the median error is {median:.2f}, {state}.")
    return said


def _errors(grafts: pd.DataFrame, null: str) -> Floats:
    return _finite(where(grafts, grafts["null"] == null)["fvu_test"])


def _finite(values: ArrayLike) -> Floats:
    numbers = np.asarray(values, dtype=np.float64)
    return numbers[np.isfinite(numbers)]


def _untrained(last: pd.DataFrame) -> str:
    if "untrained" not in set(last["null"]):
        return ""
    means = summarise(last, "fvu_test", ["null", "layer"])
    means = where(means, means["width"] == means["width"].max())
    real, untrained = (
        where(means, means["null"] == null).set_index("layer") for null in ("none", "untrained")
    )
    ratio = _finite(untrained["mean"] / real["mean"])
    if not len(ratio):
        return ""
    # Of independent means; those of two sources under the same targets differ by less.
    spread = (real["error"] ** 2 + untrained["error"] ** 2) ** 0.5
    clear = (untrained["mean"] - real["mean"] > 2.0 * spread).sum()
    return (
        "At the widest nets a trained source beats an untrained one by more than two standard errors at "
        f"{clear} of {len(ratio)} layers (the untrained error is {ratio.min():.2f} to {ratio.max():.2f} "
        "times the trained one's)."
    )
