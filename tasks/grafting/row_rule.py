"""Which way a fit is made: from its rows, without a spectrum, by taps. In plain Python, for the planner."""

from __future__ import annotations

from espalier.tasks.spec import GraftOptions, Layer

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


def by_taps(layer: Layer, *, single: bool) -> bool:
    """Whether products with a map's patches go by taps (`tasks.grafting.tap_products`).

    Those of convs of stride 1, unless they are float32 (`single`).
    """
    return not single and layer.kind == "conv" and layer.stride == 1


def shrunk(ridge: float, dim: int) -> bool:
    """Whether `lambda = ridge x trace(G) / D` leaves a condition above `CONDITION` to no matrix of D rows."""
    return ridge * CONDITION >= dim
