"""`L d L^T` against numpy in float64, with matrices that have nothing to do with convolutions."""

import numpy as np
import pytest
import torch

from espalier.tasks.kernels.tile_transforms import both_sides
from espalier.tasks.kernels.vector_code import Code

RNG = np.random.default_rng(3)
PAIRED = [[1.0, 2.0, -2.0, 0.5], [1.0, 2.0, 2.0, -0.5], [0.0, 1.0, -1.0, 0.0]]
"""Rows, and columns, that differ in signs alone."""


@pytest.mark.parametrize(
    "matrix", [RNG.normal(size=(3, 4)).tolist(), PAIRED, [[2.0]]], ids=["any", "paired", "one"]
)
def test_a_square_is_multiplied_from_both_sides(matrix):
    wide, high = len(matrix[0]), len(matrix)
    code = Code(2, 0, 4)
    source, to = code.arguments
    values = both_sides(matrix, [code.load(source + 4 * number) for number in range(wide**2)])
    for number, value in enumerate(values):
        code.store(to + 4 * number, value)
    d, made = torch.randn(wide, wide, 4), torch.empty(high, high, 4)
    code.compile()(d, made)
    expected = np.einsum("pi,ijc,qj->pqc", matrix, d.double().numpy(), matrix)
    np.testing.assert_allclose(made.numpy(), expected, rtol=0, atol=1e-5)  # sums of 16 products up to 10
