"""The warnings about a fit, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import fdtrc

from espalier.analysis.limits.candidates import Candidate, scatter
from espalier.analysis.limits.resample import WidthMean
from espalier.analysis.limits.selection import narrower_width, warnings_of

ALIKE = 2.0
"""Difference of AICc under which two models are supported about alike (Burnham & Anderson 2002)."""
WIDE = 1.0
"""Length of alpha's interval from which on it does not tell `w^-1/2` from `w^-1` and more."""
MISFIT = 0.01
"""p-value below which the misfit is larger than the scatter between nets explains."""


ROWS_WARN = "of its rows carry a warning"
"""How the warning about a fit's rows is told from those about the fit itself."""

UNSURE = 0.25
"""Relative standard error of a width's mean from which on one net may carry it."""


def fit_warnings(
    chosen: Candidate,
    candidates: Sequence[Candidate],
    interval: tuple[float, float],
    means: Sequence[WidthMean],
    rows: str = "",
) -> str:
    """The warnings of one fit, `; ` between them; empty if there is none. `rows`: the one about its rows."""
    found = [rows] if rows else []
    between = max(fit.aicc for fit in candidates) - min(fit.aicc for fit in candidates)
    if len(candidates) > 1 and between < ALIKE:
        found.append(f"fits with and without plateau are alike (AICc differ by {between:.1f})")
    low, high = interval
    if high - low > WIDE:
        found.append(f"alpha is hardly known: {low:.2f} to {high:.2f}")
    if chosen.at_edge:
        found.append("alpha is at the end of the range searched")
    p_value = misfit_p_value(chosen, means)
    if p_value < MISFIT:
        found.append(f"not a {chosen.model} law: misfit beyond the scatter of nets (p = {p_value:.1g})")
    unsure = [f"{m.width} ({100 * _error(m):.0f} %)" for m in means if _error(m) > UNSURE]
    if unsure:
        found.append(f"nets differ so much that the mean is unsure at width {', '.join(unsure)}")
    return "; ".join(found)


def twice(rows: int) -> str:
    """That so many rows were there once more; empty if none was."""
    return f"{rows} rows are there again and count once" if rows else ""


def uninformative(left: int, rows: int) -> str:
    """That so many of the rows tell nothing of an error; empty if all do."""
    why = "the target is constant, or the error below its floor"
    return f"{left} of {rows} rows left out: {why}" if left else ""


def not_finite(frame: pd.DataFrame, y: str) -> str:
    """How many rows of a group are no finite numbers, and at which widths; empty if all are."""
    odd = ~np.isfinite(frame[y].to_numpy(dtype=float))
    if not odd.any():
        return ""
    widths, counts = np.unique(narrower_width(frame)[odd], return_counts=True)
    places = ", ".join(f"{count} at width {width}" for width, count in zip(widths, counts, strict=True))
    return f"{odd.sum()} of {len(frame)} rows have no finite {y} ({places}): leave them out, or mend them"


def row_warning(frame: pd.DataFrame) -> str:
    """How many of the rows that a fit rests on carry a warning of their own; empty if none does.

    A frame without a column `warning` says nothing. The width with the largest share is named where shares
    differ, since a fit's ends weigh most.
    """
    if "warning" not in frame.columns:
        return ""
    warned = (warnings_of(frame) != "").to_numpy()
    if not warned.any():
        return ""
    widths, codes = np.unique(narrower_width(frame), return_inverse=True)
    share = np.bincount(codes, warned) / np.bincount(codes)
    text = f"{percent(warned.mean())} {ROWS_WARN}"
    if share.max() - share.min() < 0.01:
        return text
    return f"{text} ({percent(share.max())} at width {widths[share.argmax()]})"


def percent(share: float) -> str:
    """A share in per cent; what is neither none nor all is never rounded to them."""
    if 0 < share < 0.01:
        return "under 1 %"
    return f"{100 * share:.0f} %" if share == 1 or share < 0.995 else "over 99 %"


def _error(mean: WidthMean) -> float:
    """Relative standard error of a mean over nets."""
    return mean.variance**0.5 / mean.mean


def misfit_p_value(fit: Candidate, means: Sequence[WidthMean]) -> float:
    """F-test of the curve's misfit against the scatter between nets; 1 if no degree of freedom is left."""
    within = scatter(means)
    freedom = len(means) - (3 if fit.model == "power+plateau" else 2)
    inner = sum(m.seeds for m in means) - len(means)
    if freedom < 1 or max(within, fit.point.misfit_B[0]) < 1e-16 * inner:  # arithmetic, not evidence
        return 1.0
    if within == 0:
        return 0.0
    ratio = (fit.point.misfit_B[0] / freedom) / (within / inner)
    return float(fdtrc(freedom, sum(m.freedom for m in means), np.float64(ratio)))
