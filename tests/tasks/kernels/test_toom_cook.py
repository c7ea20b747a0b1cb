"""Minimal filtering is correlation, exactly."""

from fractions import Fraction

import pytest

from espalier.tasks.kernels.tiling import POINTS
from espalier.tasks.kernels.toom_cook import TAPS, matrices, transposed


def times(rows, vector):
    return [sum((a * b for a, b in zip(row, vector, strict=True)), Fraction(0)) for row in rows]


@pytest.mark.parametrize("points", [*POINTS.values(), (0, 1, -1, 2, -2, 3, -3)])
def test_products_of_what_the_matrices_make_are_the_correlation(points):
    results = len(points) - TAPS + 2
    a_t, g, b_t = matrices(points)
    h = [Fraction(3 * k * k - 7 * k + 2, 5) for k in range(results + TAPS - 1)]
    w = [Fraction(4), Fraction(-7, 3), Fraction(1, 2)]
    products = [a * b for a, b in zip(times(g, w), times(b_t, h), strict=True)]
    assert times(a_t, products) == [sum(w[j] * h[i + j] for j in range(TAPS)) for i in range(results)]


def test_four_results_are_those_of_lavin_and_gray():
    """Their F(4, 3), section 4.2, in the order of points 0, 1, -1, 2, -2."""
    a_t, g, b_t = matrices(POINTS[4])
    assert a_t == [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
    assert [row[0] for row in g] == [Fraction(1, n) for n in (4, -6, -6, 24, 24)] + [0]
    assert b_t[0] == [4, 0, -5, 0, 1, 0]
    assert b_t[5] == [0, 4, 0, -5, 0, 1]


def test_the_transpose_of_the_transpose_is_the_matrix():
    a_t = matrices(POINTS[2]).a_t
    assert transposed(transposed(a_t)) == a_t
    assert transposed(a_t)[3] == [0, 1]
