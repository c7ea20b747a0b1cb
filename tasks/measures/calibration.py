"""What a permutation null says of a value: p-value, and the value that is left when the null is taken away.

Legend: n permutations; other axes are those of the values (pairs of nets, say), whichever they are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

ALPHA = 0.05
"""Level of the threshold below which a calibrated value is 0."""

TIE = 1e-6
"""Share of its size by which a value may be off: permuted values come from products in float32."""


class Calibrated(NamedTuple):
    """Columns of a row that come from its null; each has the shape of the values."""

    null_mean: Tensor
    null_sd: Tensor
    p_value: Tensor
    calibrated: Tensor


def calibrate(value: Tensor, null_n: Tensor, best: Tensor | float, larger: bool = True) -> Calibrated:
    """Compare values with permuted ones (Gröger, Wen, Brbić 2026, arXiv 2602.14486, algorithm 1).

    The p-value is `(1 + count) / (1 + n)`, where permuted values count that are as extreme (Phipson & Smyth
    2010). The threshold t is the order statistic `ceil(0.95 (n + 1))` of the permuted values and the value
    itself, and `calibrated = (value - t) / (best - t)`, within 0 and 1.

    Args:
        value: The values, any shape; where one is not finite, all columns are NaN.
        null_n: Permuted values, (n, *shape of the values); where one is not finite, likewise.
        best: The value farthest from the null that there is: 1 for a similarity, 0 for a distance that the
            null makes large, an upper bound for one that the null makes small.
        larger: Whether values above the null are the extreme ones.

    >>> calibrate(torch.tensor(0.8), torch.arange(19.0) / 100, 1.0).calibrated
    tensor(0.7561, dtype=torch.float64)
    """
    sign = 1.0 if larger else -1.0
    seen, null = sign * value.double(), sign * null_n.double()
    count = len(null)
    extreme = (null >= seen - TIE * seen.abs()).sum(0)
    together = torch.cat([seen[None], null]).sort(0).values
    threshold = together[math.ceil((1 - ALPHA) * (count + 1)) - 1]
    room = (sign * torch.as_tensor(best).to(threshold) - threshold).clamp_min(1e-12)
    known = seen.isfinite() & null.isfinite().all(0)
    return Calibrated(
        *(
            column.where(known, math.nan)
            for column in (
                sign * null.mean(0),
                null.std(0, correction=1 if count > 1 else 0),
                (1 + extreme).double() / (1 + count),
                ((seen - threshold) / room).clamp(0, 1),
            )
        )
    )
