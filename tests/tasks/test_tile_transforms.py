"""Tiles and planes against numpy in float64, with matrices that have nothing to do with convolutions."""

import numpy as np
import pytest
import torch

from tasks.tile_transforms import gather, gather_spread, scatter, scatter_pooled

C = 32
RNG = np.random.default_rng(3)
PAIRED = [[1.0, 2.0, -2.0, 0.5], [1.0, 2.0, 2.0, -0.5], [0.0, 1.0, -1.0, 0.0]]
"""Rows, and columns, that differ in signs alone."""
MATRICES = pytest.mark.parametrize(
    "matrix", [RNG.normal(size=(3, 4)).tolist(), PAIRED], ids=["any", "paired"]
)


def padded(map_NHWC, side, stride, offset, tiles):
    """The map with enough zeros around it for all its tiles, and where it begins there."""
    before = -offset
    need = [(count - 1) * stride + side for count in tiles]
    after = [max(0, n - before - size) for n, size in zip(need, map_NHWC.shape[1:3], strict=True)]
    return np.pad(map_NHWC, ((0, 0), (before, after[0]), (before, after[1]), (0, 0)))


def tiles_of(map_NHWC, side, stride, offset, tiles):
    """(N, rows, columns, side, side, C)."""
    wide = padded(map_NHWC.astype(np.float64), side, stride, offset, tiles)
    rows = [[wide[:, stride * y :][:, :side, stride * x :][:, :, :side] for x in range(tiles[1])]
            for y in range(tiles[0])]  # fmt: skip
    return np.moveaxis(np.array(rows), 2, 0)


def planes_of(matrix, tiles):
    made = np.einsum("pi,nyxijc,qj->pqnyxc", matrix, tiles, matrix)
    return made.reshape(made.shape[0] * made.shape[1], -1, C)


@MATRICES
@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize(("size", "tiles"), [((5, 6), (3, 3)), ((1, 2), (1, 1)), ((8, 3), (4, 2))])
def test_planes_are_products_on_both_sides_of_every_tile(matrix, rectified, size, tiles):
    map_NHWC = torch.randn(2, *size, C)
    count = 2 * tiles[0] * tiles[1]
    planes = torch.full((9, count + 1, C), 5.0)
    run = gather(matrix, 2, -1, rectified=rectified)
    run(map_NHWC, planes, torch.zeros(C), 2, *size, *tiles, C, planes.stride(0))
    source = np.maximum(map_NHWC.numpy(), 0.0) if rectified else map_NHWC.numpy()
    expected = planes_of(np.array(matrix), tiles_of(source, 4, 2, -1, tiles))
    np.testing.assert_allclose(planes[:, :count].numpy(), expected, atol=1e-4)  # sums of 16 products up to 10
    assert (planes[:, count:] == 5.0).all()


@MATRICES
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("size", "tiles"), [((5, 6), (3, 3)), ((1, 2), (1, 1)), ((8, 3), (4, 2))])
def test_tiles_that_overlap_are_added_up_and_what_is_outside_is_dropped(matrix, masked, size, tiles):
    matrix = np.array(matrix).T
    planes = torch.randn(9, 2 * tiles[0] * tiles[1], C)
    made, gate = torch.full((2, *size, C), float("nan")), torch.randn(2, *size, C)
    run = scatter(matrix.tolist(), 2, -1, masked=masked)
    sizes = (2, *size, *tiles, C, planes.stride(0))
    run(made, planes, torch.empty(C), torch.zeros(C), *[gate] * masked, *sizes)
    pieces = np.einsum(
        "ip,pqnyxc,jq->nyxijc", matrix, planes.numpy().astype(np.float64).reshape(3, 3, 2, *tiles, C), matrix
    )
    wide = padded(np.zeros((2, *size, C)), 4, 2, -1, tiles)
    for y in range(tiles[0]):
        for x in range(tiles[1]):
            wide[:, 2 * y : 2 * y + 4, 2 * x : 2 * x + 4] += pieces[:, y, x]
    expected = wide[:, 1 : size[0] + 1, 1 : size[1] + 1] * ((gate.numpy() > 0) if masked else 1.0)
    np.testing.assert_allclose(made.numpy(), expected, atol=2e-4)


def test_a_bias_is_added_where_tiles_do_not_overlap():
    planes, bias, made = torch.zeros(4, 4, C), torch.randn(C), torch.empty(1, 3, 4, C)
    run = scatter(np.eye(2).tolist(), 2, 0)
    run(made, planes, torch.empty(C), bias, 1, 3, 4, 2, 2, C, planes.stride(0))
    assert torch.equal(made, bias.expand_as(made))


@pytest.mark.parametrize("size", [(4, 6), (2, 2), (5, 4), (7, 9)])
def test_pooling_and_its_adjoint_are_pytorchs(size):
    """Of maps that tiles give exactly: the matrix is the identity."""
    tiles = [-(-n // 4) for n in size]
    pooled_size = [n // 2 for n in size]
    z_NCHW = torch.randint(-3, 4, (2, C, *size)).float().requires_grad_()
    wide = np.pad(
        z_NCHW.detach().permute(0, 2, 3, 1).numpy(),
        ((0, 0), (0, 4 * tiles[0] - size[0]), (0, 4 * tiles[1] - size[1]), (0, 0)),
    )
    count = 2 * tiles[0] * tiles[1]
    squares = wide.reshape(2, tiles[0], 4, tiles[1], 4, C).transpose(2, 4, 0, 1, 3, 5)
    planes = torch.from_numpy(squares.reshape(16, count, C).copy())
    made, winners = (torch.empty(2, *pooled_size, C) for _ in range(2))
    sizes = (2, *pooled_size, *tiles, C, planes.stride(0))
    scatter_pooled(np.eye(4).tolist(), 4)(made, planes, torch.empty(C), torch.zeros(C), winners, *sizes)
    expected = torch.nn.functional.max_pool2d(z_NCHW, 2).relu()
    assert torch.equal(made.permute(0, 3, 1, 2), expected)
    g = torch.randn(expected.shape)
    (slope,) = torch.autograd.grad(expected, z_NCHW, g)
    spread = torch.empty(16, count, C)
    gather_spread(np.eye(4).tolist(), 4)(
        g.permute(0, 2, 3, 1).contiguous(), spread, torch.zeros(C), winners, *sizes
    )
    back = spread.numpy().reshape(4, 4, 2, *tiles, C).transpose(2, 3, 0, 4, 1, 5).reshape(wide.shape)
    np.testing.assert_array_equal(back[:, : size[0], : size[1]], slope.permute(0, 2, 3, 1).numpy())
