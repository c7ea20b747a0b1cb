"""Products of planes are numpy's in float64, whatever the block of results in registers."""

import numpy as np
import pytest
import torch

from espalier.tasks.kernels import plane_products
from espalier.tasks.kernels.plane_products import Block, Matrices, Planes, add_products, block, times_matrices
from espalier.tasks.kernels.tiling import AT_ONCE, CHANNELS
from espalier.tasks.kernels.vector_code import Code

COUNT = 3
BLOCKS = pytest.mark.parametrize("size", [Block(8, 2), Block(16, 1), Block(4, 1), Block(2, 1)], ids=str)
TILES = pytest.mark.parametrize("tiles", [1, 13, AT_ONCE])


def planes(values):
    """Memory for (P, T, channels), with other numbers where there is no tile."""
    count, tiles, channels = values.shape
    room = torch.full((channels // CHANNELS, count, AT_ONCE + 1, CHANNELS), 7.0)
    room[:, :, :tiles] = values.view(count, tiles, -1, CHANNELS).permute(2, 0, 1, 3)
    assert room.numel() == Planes.numbers(channels, count)
    return room


def matrices(values, size):
    """Memory for (P, rows, columns)."""
    count, rows, columns = values.shape
    panels = values.view(count, rows, -1, size.vectors * CHANNELS).transpose(1, 2)
    room = torch.zeros(count, rows * columns + CHANNELS)
    room[:, :-CHANNELS] = panels.reshape(count, -1)
    assert room.numel() == Matrices.numbers(count, rows, columns)
    return room


def close(found, expected):
    # Sums of up to 64 products, each rounded to 6e-8 of numbers of size 1.
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=0, atol=2e-5)


@BLOCKS
@TILES
def test_planes_are_multiplied_by_matrices(size, tiles):
    code = Code(3, 3, CHANNELS)
    source, factors, to, *counts = code.arguments
    of_filters = Matrices(factors, counts[1], counts[2], size)
    times_matrices(code, Planes(source, COUNT), of_filters, Planes(to, COUNT), counts[0])
    x, w = torch.randn(COUNT, tiles, 48), torch.randn(COUNT, 48, 64)
    made = torch.full((4, COUNT, AT_ONCE + 1, CHANNELS), 5.0)
    room, whole = planes(x), -(-tiles // size.rows) * size.rows
    code.compile()(room, matrices(w, size), made, tiles, 48, 64)
    assert (room[:, :, tiles:whole] == 0.0).all()
    assert (room[:, :, whole:] == 7.0).all()
    found = made[:, :, :tiles].permute(1, 2, 0, 3).reshape(COUNT, tiles, 64)
    close(found, x.double() @ w.double())
    assert (made[:, :, AT_ONCE:] == 5.0).all()


@BLOCKS
@TILES
def test_products_of_two_planes_are_added_over_tiles(size, tiles):
    code = Code(3, 3, CHANNELS)
    ones, others, to, *counts = code.arguments
    sums = Matrices(to, counts[1], counts[2], size)
    add_products(code, Planes(ones, COUNT), Planes(others, COUNT), sums, counts[0])
    run, before = code.compile(), torch.randn(COUNT, 48, 64)
    g, h, made = torch.randn(COUNT, tiles, 48), torch.randn(COUNT, tiles, 64), matrices(before, size)
    run(planes(g), planes(h), made, tiles, 48, 64)
    close(made, matrices(before + g.transpose(1, 2).double() @ h.double(), size))


@pytest.mark.parametrize(("registers", "narrow", "wide"), [(32, (16, 1), (8, 2)), (8, (4, 1), (4, 1))])
def test_a_blocks_results_leave_registers_for_its_factors(registers, narrow, wide, monkeypatch):
    monkeypatch.setattr(plane_products, "REGISTERS", registers)
    assert [block(channels) for channels in (16, 48, 32)] == [Block(*narrow), Block(*narrow), Block(*wide)]
