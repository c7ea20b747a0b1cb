"""Matrices of minimal filtering, exactly, by Toom and Cook's polynomials (Lavin & Gray 2016, section 5.3).

The product of two polynomials is evaluated at some points and interpolated. Correlating m + 2 numbers h with
a filter w of 3 is the transpose of that: `A^T [(G w) . (B^T h)]` are the m numbers `sum_j w_j h_{i+j}`, from
m + 2 products.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import reduce
from itertools import starmap
from math import prod
from typing import NamedTuple

Rows = list[list[Fraction]]

TAPS = 3
"""Length of the filters."""


class Matrices(NamedTuple):
    """A^T (m, m+2), G (m+2, 3) and B^T (m+2, m+2)."""

    a_t: Rows
    g: Rows
    b_t: Rows


def matrices(points: Sequence[int]) -> Matrices:
    """Those of m = len(points) - 1 results, with infinity as the last point.

    >>> matrices((0, 1, -1)).a_t == [[1, 1, 1, 0], [0, 1, -1, 1]]
    True
    """
    results = len(points) - TAPS + 2
    others = [[q for q in points if q != p] for p in points]
    scales = [prod(p - q for q in rest) for p, rest in zip(points, others, strict=True)]
    at_infinity = [Fraction(i == results - 1) for i in range(results)]
    a_t = [[*(Fraction(p) ** i for p in points), at_infinity[i]] for i in range(results)]
    g = [[Fraction(p**j, scale) for j in range(TAPS)] for p, scale in zip(points, scales, strict=True)]
    b_t = [[*_coefficients(rest), Fraction(0)] for rest in others]
    return Matrices(a_t, [*g, [Fraction(0), Fraction(0), Fraction(1)]], [*b_t, _coefficients(points)])


def _coefficients(roots: Sequence[int]) -> list[Fraction]:
    """Of the product of (x - root), that of 1 first."""
    return reduce(_times_root, roots, [Fraction(1)])


def _times_root(polynomial: list[Fraction], root: int) -> list[Fraction]:
    shifted = zip([Fraction(0), *polynomial], [*polynomial, Fraction(0)], strict=True)
    return list(starmap(lambda high, low: high - root * low, shifted))


def transposed(rows: Sequence[Sequence[Fraction]]) -> Rows:
    """The transpose."""
    return [list(column) for column in zip(*rows, strict=True)]
