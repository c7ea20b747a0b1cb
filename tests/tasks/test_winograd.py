"""Convolutions by minimal filtering are PyTorch's in float64, with their gradients, to float32's rounding."""

import pytest
import torch
import torch.nn.functional as F

from tasks import winograd

TOLERANCE = 1e-5
"""Of a result's norm: float32 rounds to 6e-8, which tiles of 4 x 4 amplify some tens of times."""


def close(found, expected):
    return (found - expected).norm() <= TOLERANCE * expected.norm()


def with_gradients(run, tensors, g):
    leaves = [value.detach().requires_grad_() for value in tensors]
    z = run(*leaves)
    return [z.detach(), *torch.autograd.grad(z, leaves, g.to(z.dtype))]


def plain(rectified, pooled):
    def run(h, weight, bias):
        z = F.conv2d(h.relu() if rectified else h, weight, bias, padding=1)
        return F.max_pool2d(z, 2).relu() if pooled else z

    return run


@pytest.mark.parametrize("pooled", [False, True], ids=["", "pooled"])
@pytest.mark.parametrize("rectified", [False, True], ids=["", "rectified"])
@pytest.mark.parametrize("size", [(2, 2), (2, 5), (3, 4), (4, 4), (7, 6), (8, 8), (13, 5), (28, 28)])
def test_a_conv_and_its_gradients_are_pytorchs(size, rectified, pooled):
    images = 3 if size[0] > 8 else 13  # more tiles than are in use at once
    generator = torch.Generator().manual_seed(5)
    h = torch.randn(images, 32, *size, generator=generator)
    weight = torch.randn(48, 32, 3, 3, generator=generator) / 288**0.5
    bias = torch.randn(48, generator=generator)
    wide = [value.double() for value in (h, weight, bias)]
    g = torch.randn(plain(rectified, pooled)(h, weight, bias).shape, generator=generator)
    expected = with_gradients(plain(rectified, pooled), wide, g)
    for lay in (torch.channels_last, torch.contiguous_format):
        found = with_gradients(
            lambda *leaves: winograd.conv(*leaves, rectified=rectified, pooled=pooled),
            [h.contiguous(memory_format=lay), weight.contiguous(memory_format=lay), bias],
            g,
        )
        assert found[0].is_contiguous(memory_format=torch.channels_last)
        for mine, theirs in zip(found, expected, strict=True):
            assert mine.shape == theirs.shape
            assert close(mine, theirs)


def test_of_equal_numbers_the_first_of_a_square_wins_as_in_pytorch():
    h, weight, bias = torch.randn(2, 32, 8, 8), torch.zeros(32, 32, 3, 3), torch.ones(32)
    g = torch.randn(2, 32, 4, 4)
    expected = with_gradients(plain(False, True), [value.double() for value in (h, weight, bias)], g)
    found = with_gradients(lambda *leaves: winograd.conv(*leaves, pooled=True), (h, weight, bias), g)
    assert all(close(mine, theirs) for mine, theirs in zip(found, expected, strict=True) if theirs.norm())


def test_an_image_needs_no_gradient():
    h, weight = torch.randn(2, 32, 8, 8), torch.randn(32, 32, 3, 3, requires_grad=True)
    z = winograd.conv(h, weight, torch.zeros(32))
    (found,) = torch.autograd.grad(z.square().sum(), weight)
    (expected,) = torch.autograd.grad(F.conv2d(h, weight, padding=1).square().sum(), weight)
    assert close(found, expected)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("rectified", [False, True])
def test_nan_is_seen_by_all_that_reads_it(rectified, pooled):
    h = torch.zeros(2, 32, 8, 8)
    h[1, 3, 4, 4] = float("nan")
    z = winograd.conv(h, torch.randn(32, 32, 3, 3), torch.zeros(32), rectified=rectified, pooled=pooled)
    assert not z[0].isnan().any()
    square = slice(2, 3) if pooled else slice(3, 6)
    assert z[1, :, square, square].isnan().all()


def test_results_have_the_same_bits_again_and_in_every_batch_that_is_cut_alike():
    h, weight, bias = torch.randn(40, 32, 14, 14), torch.randn(32, 32, 3, 3), torch.randn(32)
    whole = winograd.conv(h, weight, bias)
    assert torch.equal(winograd.conv(h, weight, bias), whole)
    at_once = winograd.TILES_AT_ONCE // 16
    assert torch.equal(winograd.conv(h[at_once : 2 * at_once], weight, bias), whole[at_once : 2 * at_once])


def test_second_derivatives_are_refused_rather_than_wrong():
    h = torch.randn(1, 32, 4, 4, requires_grad=True)
    z = winograd.conv(h, torch.randn(32, 32, 3, 3), torch.zeros(32))
    (slope,) = torch.autograd.grad(z.square().sum(), h, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_what_the_kernels_cannot_take_is_refused_by_name():
    bias = torch.zeros(32)
    for h, weight in (
        (torch.zeros(2, 24, 4, 4), torch.zeros(32, 24, 3, 3)),
        (torch.zeros(2, 32, 4, 4), torch.zeros(8, 32, 3, 3)),
        (torch.zeros(0, 32, 4, 4), torch.zeros(32, 32, 3, 3)),
    ):
        with pytest.raises(ValueError, match="channels are multiples of 16 here"):
            winograd.conv(h, weight, bias)
    with pytest.raises(TypeError, match="float64 on cpu"):
        winograd.conv(torch.zeros(2, 32, 4, 4).double(), torch.zeros(32, 32, 3, 3).double(), bias)
