"""How the variance over seeds, and the distance from the widest nets, fall with the width."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from espalier.analysis.limits.powerlaw import Floats
from espalier.analysis.limits.resample import groups
from espalier.analysis.limits.selection import largest, refuse_mixed_axes, where

EXPECTED = {"variance": 1.0, "bias": 2.0}
"""Exponents of nets that learn features at a fixed time (Bordelon and Pehlevan 2023)."""
LEAST_WIDTHS = 4
COLUMNS = (
    *("what", "layer", "quantity", "alpha", "alpha_low", "alpha_high", "expected", "narrowest", "widest"),
    *("least_width", "greatest_width", "widths", "not_positive", "nets", "relative_error"),
)


def variance_over_seeds(
    kernel_spread: pd.DataFrame, ensembles: pd.DataFrame | None = None, level: float = 0.9
) -> pd.DataFrame:
    """How fast the variance over seeds, and the squared distance from the widest nets, fall with the width.

    A row for each kernel of a layer, and for the outputs and probabilities, and each `quantity`: `variance`
    over seeds and `bias`, the squared distance of the mean over seeds from that of the widest nets, which no
    averaging of nets takes away. `alpha` is the slope of the logarithms over the widths (value ~
    width^-alpha) beside the one that theory expects (`expected`: 1 and 2; Bordelon and Pehlevan 2023), with
    `alpha_low` and `alpha_high` from the scatter about the line (Student's t, widths - 2 degrees of freedom;
    NaN below 4 widths): the tables have a row for all nets of a width, so that nets cannot be resampled.
    `narrowest` and `widest` are the values at `least_width` and `greatest_width`; values of 0 or below
    (`not_positive` of them, where no distance could be seen) have no logarithm and are left out, so that a
    bias's `alpha` is then too small if anything. `nets` is the least number of nets of a width, and
    `relative_error` sqrt(2 / (nets - 1)) the most by which a variance of so many Gaussian values is off.
    Source: tables `kernel_spread` and `ensembles` of one setting (docs/method.md, section 7), the last epoch.

    Raises:
        ValueError: A column is missing, or there are several settings or sweeps.
    """
    needed = ["layer", "width", "epoch", "nets", "widest", "widest_nets", "kernel_variance", "kernel_bias"]
    if missing := [name for name in needed if name not in kernel_spread.columns]:
        raise ValueError(f"no column {missing} in the frame: give rows of table `kernel_spread`")
    refuse_mixed_axes(kernel_spread, ["layer", "epoch"], asked=False)
    if ensembles is not None:
        refuse_mixed_axes(ensembles, ["epoch"], asked=False)
    lines = [
        group | _line(x_W, y_W, nets, quantity, level)
        for group, rows in _values(latest(kernel_spread), None if ensembles is None else latest(ensembles))
        for quantity in EXPECTED
        for x_W, y_W, nets in [_finite(rows, quantity)]
        if len(x_W)
    ]
    return pd.DataFrame(lines, columns=[*COLUMNS])


def latest(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the last epoch: of each width those beside the widest nets, of the most nets."""
    if rows.empty:
        return rows
    rows = where(rows, rows["epoch"] == rows["epoch"].max())
    for column in ("widest", "nets", "widest_nets"):
        rows = where(rows, rows[column] == rows.groupby("width")[column].transform("max"))
    return rows.sort_values("width", kind="stable")


def _values(
    kernels: pd.DataFrame, scores: pd.DataFrame | None
) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Columns `width`, `nets`, `variance` and `bias` of everything that has them."""
    for group, rows in groups(kernels, ["layer"]):
        yield {"what": "kernel", **group}, _named(rows, "kernel", np.ones(len(rows)))
    if scores is None or scores.empty:
        return
    single = where(scores, scores["size"] == 1)
    square = single["output_square"].to_numpy(dtype=np.float64)
    for name, unit in (
        ("output", np.where(square > 0, square, np.nan)),
        ("probability", np.ones(len(single))),
    ):
        yield {"what": name, "layer": np.nan}, _named(single, name, unit)


def _named(rows: pd.DataFrame, name: str, unit: Floats) -> pd.DataFrame:
    values = {
        part: rows[f"{name}_{part}"].to_numpy(dtype=np.float64, na_value=np.nan) / unit for part in EXPECTED
    }
    return rows[["width", "nets"]].assign(**values)


def _finite(rows: pd.DataFrame, quantity: str) -> tuple[Floats, Floats, int]:
    known = where(rows, np.isfinite(rows[quantity]))
    nets = -largest(-known["nets"]) if len(known) else 0
    return known["width"].to_numpy(dtype=np.float64), known[quantity].to_numpy(dtype=np.float64), nets


def _line(x_W: Floats, y_W: Floats, nets: int, quantity: str, level: float) -> dict[str, Any]:
    above = y_W > 0
    alpha, low, high = _slope(np.log(x_W[above]), np.log(y_W[above]), level)
    return {
        "quantity": quantity,
        "alpha": alpha,
        "alpha_low": low,
        "alpha_high": high,
        "expected": EXPECTED[quantity],
        "narrowest": float(y_W[0]),
        "widest": float(y_W[-1]),
        "least_width": int(x_W[0]),
        "greatest_width": int(x_W[-1]),
        "widths": len(x_W),
        "not_positive": int(np.count_nonzero(~above)),
        "nets": nets,
        "relative_error": float(np.sqrt(2 / (nets - 1))) if nets > 1 else np.nan,
    }


def _slope(x_W: Floats, y_W: Floats, level: float) -> tuple[float, float, float]:
    """Minus the slope of a line by least squares, with its interval."""
    if len(x_W) < 2:
        return np.nan, np.nan, np.nan
    x_W = x_W - x_W.mean()
    alpha = -float(x_W @ y_W / (x_W @ x_W))
    if len(x_W) < LEAST_WIDTHS:
        return alpha, np.nan, np.nan
    left_W, freedom = y_W - y_W.mean() + alpha * x_W, len(x_W) - 2
    half = stdtrit(freedom, (1 + level) / 2) * float(np.sqrt(left_W @ left_W / freedom / (x_W @ x_W)))
    return alpha, alpha - half, alpha + half
