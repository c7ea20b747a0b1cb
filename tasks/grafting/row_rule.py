"""Which fits may be made from their rows (`tasks.grafting.row_fit`) or need no spectrum, in plain Python."""

from __future__ import annotations

from espalier.tasks.spec import GraftOptions

MOST = 1 << 21
"""Numbers of the rows, M x D, that are decomposed at most: 16 MB, as 1,000 points at width 2,000."""

CONDITION = 1e10
"""Largest over least eigenvalue of `G`, the ridge included, from which on its digits do not suffice."""


def may_be_read(options: GraftOptions, products: str, rows: int, dim: int) -> bool:
    """Whether fits of so many rows of D numbers are made from them if their condition asks for it.

    No condition does where `shrunk`. A choice among ridges goes by sums alone.
    """
    few = rows * dim <= MOST
    return products == "float64" and few and not shrunk(options.ridge, dim) and not options.ridges


def shrunk(ridge: float, dim: int) -> bool:
    """Whether `lambda = ridge x trace(G) / D` leaves a condition above `CONDITION` to no matrix of D rows."""
    return ridge * CONDITION >= dim
