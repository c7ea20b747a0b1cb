"""What the draw of the held-out images adds to the error of an accuracy, beside the draw of the nets.

All pairs of a sweep are judged on the same n images, so that no average over pairs removes their part.

**A share p of images that are right** varies as `p (1 - p) / n`. A mean over nets of such shares varies at
most so much: for one image let r be the share of nets that are right, then `E r^2 <= E r = p`.

**An accuracy drop** is a mean over images of d = (target right) - (graft right), which is -1, 0 or 1. Let D
be the mean of d over the pairs for one image. The mean drop then varies over draws of the images as

    Var(D) / n  =  (E D^2 - drop^2) / n  <=  (q - drop^2) / n,

where q is the mean over pairs of the share of images on which exactly one of the two is right. The tables
hold no outcome of single images, so q is bounded too: such an image is missed by one of them and found by the
other, so `q <= min(2 - a - b, a + b)` for accuracies a and b. Equality holds where no image is missed by both
and all pairs differ on the same images; the truth is smaller, by a factor that the tables cannot tell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from espalier.analysis.limits.powerlaw import Floats
from espalier.analysis.limits.resample import groups, width_means
from espalier.analysis.limits.selection import comparable, largest, narrower_width, where

_ACCURACIES = ("target_accuracy_test", "accuracy_test")


def drop_means(grafts: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean accuracy drop with its error over nets and images, a row per group of `by` and width.

    The rows are chosen as in `analysis.limits.selection.comparable`; those without an accuracy are left out.
    Columns: those of `by`, `width`, `mean`, `error_nets` (one standard error over nets), `error` (the images'
    part added, by its upper bound), `freedom` (of `error`, Welch-Satterthwaite), `nets` and `rows`.
    """
    rows = comparable(where(grafts, grafts["accuracy_drop"].notna()), by)
    lines = []
    for group, part in groups(rows, by):
        width_R = narrower_width(part)
        for m in width_means(part, "accuracy_drop"):
            here = where(part, width_R == m.width)
            target, grafted = (here[name].to_numpy(np.float64) for name in _ACCURACIES)
            images = -largest(-here["images_test"].to_numpy())
            more = drop_variance(target, grafted, images)
            lines.append(
                group
                | {"width": m.width, "mean": m.mean, "error_nets": m.variance**0.5}
                | {"error": (m.variance + more) ** 0.5, "nets": m.seeds, "rows": m.rows}
                | {"freedom": sum_freedom((m.variance, m.seeds - 1), (more, images - 1))}
            )
    names = ["width", "mean", "error_nets", "error", "freedom", "nets", "rows"]
    return pd.DataFrame(lines, columns=[*by, *names])


def drop_variance(target_R: Floats, grafted_R: Floats, images: int) -> float:
    """Upper bound on the variance of a mean drop over draws of the images, from each pair's accuracies."""
    together_R = target_R + grafted_R
    differing = np.minimum(2 - together_R, together_R).mean()
    return float(max(differing - (target_R - grafted_R).mean() ** 2, 0.0) / images)


def rate_variance(share: float, images: int) -> float:
    """Upper bound on the variance of a mean over nets of shares of images, over draws of the images."""
    return share * (1 - share) / images


def sum_freedom(*parts: tuple[float, int]) -> float:
    """Welch-Satterthwaite degrees of freedom of a sum of (variance, degrees of freedom)."""
    total = sum(variance for variance, _ in parts)
    return float(total**2 / sum(v**2 / max(f, 1) for v, f in parts)) if total > 0 else float(parts[0][1])
