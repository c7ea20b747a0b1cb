"""Linear maps of small squares of vectors: `L d L^T`, with few operations (`tasks.kernels.vector_code`)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from espalier.tasks.kernels.vector_code import Value

Matrix = Sequence[Sequence[float]]


def both_sides(matrix: Matrix, square: Sequence[Value]) -> list[Value]:
    """L d L^T, both squares row by row."""
    side = len(matrix[0])
    lines = [_product(matrix, square[j::side]) for j in range(side)]
    return [value for line in zip(*lines, strict=True) for value in _product(matrix, line)]


def _product(matrix: Matrix, values: Sequence[Value]) -> list[Value]:
    """L d, where columns or rows of L that differ in signs alone share operations."""
    columns, values = [list(column) for column in zip(*matrix, strict=True)], list(values)
    for j in _alike(columns):
        columns[j], columns[j + 1] = _halves(columns[j], columns[j + 1])
        values[j], values[j + 1] = values[j] + values[j + 1], values[j] - values[j + 1]
    rows = [list(row) for row in zip(*columns, strict=True)]
    pairs = _alike(rows)
    for i in pairs:
        rows[i], rows[i + 1] = _halves(rows[i], rows[i + 1])
    made = [_combined(row, values) for row in rows]
    for i in pairs:
        made[i], made[i + 1] = made[i] + made[i + 1], made[i] - made[i + 1]
    return made


def _alike(lines: Sequence[Sequence[float]]) -> list[int]:
    """The first of each two neighbours with the same numbers up to signs, where some sign differs."""
    found: list[int] = []
    for i, (one, other) in enumerate(pairwise(lines)):
        same = [abs(a) == abs(b) for a, b in zip(one, other, strict=True)]
        if all(same) and any(_halves(one, other)[0]) and any(_halves(one, other)[1]) and i - 1 not in found:
            found.append(i)
    return found


def _halves(one: Sequence[float], other: Sequence[float]) -> tuple[list[float], list[float]]:
    """Half of the sum and of the difference."""
    both = list(zip(one, other, strict=True))
    return [(a + b) / 2 for a, b in both], [(a - b) / 2 for a, b in both]


def _combined(weights: Sequence[float], values: Sequence[Value]) -> Value:
    """The sum of weights times values; zeros and ones cost nothing."""
    terms = [(weight, value) for weight, value in zip(weights, values, strict=True) if weight]
    (first, value), *others = sorted(terms, key=lambda term: term[0] != 1)
    total = value if first == 1 else value * first
    for weight, value in others:
        if abs(weight) == 1:
            total = total + value if weight == 1 else total - value
        else:
            total = total + value * weight
    return total
