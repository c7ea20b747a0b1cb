"""Convolutions by minimal filtering are PyTorch's in float64, with their gradients, to float32's rounding."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F

from espalier.tasks.kernels import plane_products, winograd

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
@pytest.mark.parametrize(
    ("size", "images"),
    [
        ((2, 2), 70), ((2, 5), 30), ((3, 4), 65), ((4, 4), 1), ((7, 6), 20), ((8, 8), 13), ((13, 5), 9),
        ((28, 28), 3), ((6, 250), 2),
    ],
)  # fmt: skip
@pytest.mark.parametrize("channels", [(32, 48), (16, 32)], ids=str)
def test_a_conv_and_its_gradients_are_pytorchs(size, images, channels, rectified, pooled):
    """Of more tiles than are in work at once, which begin and end within an image, and of fewer."""
    generator = torch.Generator().manual_seed(5)
    read, written = channels
    h = torch.randn(images, read, *size, generator=generator)
    weight = torch.randn(written, read, 3, 3, generator=generator) / (9 * read) ** 0.5
    bias = torch.randn(written, generator=generator)
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


def test_where_a_relu_is_at_zero_there_is_no_gradient():
    h = torch.randint(-2, 3, (4, 32, 8, 8)).float()
    weight, bias, g = torch.randn(32, 32, 3, 3), torch.randn(32), torch.randn(4, 32, 8, 8)
    _, g_h, *_ = with_gradients(lambda *leaves: winograd.conv(*leaves, rectified=True), (h, weight, bias), g)
    assert (g_h[h <= 0] == 0).all()
    assert (g_h[h > 0] != 0).all()


def test_threads_do_not_disturb_each_other():
    def run(number):
        generator = torch.Generator().manual_seed(number)
        h = torch.randn(30, 32, 14, 14, generator=generator)
        weight, bias = torch.randn(32, 32, 3, 3, generator=generator), torch.zeros(32)
        return [winograd.conv(h, weight, bias) for _ in range(10)]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(run, range(4)))
    for number, found in enumerate(together):
        alone = run(number)[0]
        assert all(torch.equal(one, alone) for one in found)


def test_of_equal_numbers_the_first_of_a_square_wins_as_in_pytorch():
    h, weight, bias = torch.randn(2, 32, 8, 8), torch.zeros(32, 32, 3, 3), torch.ones(32)
    g = torch.randn(2, 32, 4, 4)
    expected = with_gradients(plain(False, True), [value.double() for value in (h, weight, bias)], g)
    found = with_gradients(lambda *leaves: winograd.conv(*leaves, pooled=True), (h, weight, bias), g)
    assert all(close(mine, theirs) for mine, theirs in zip(found, expected, strict=True) if theirs.norm())


def test_inputs_may_lie_in_memory_in_any_way():
    """Slices, and gradients that are one number."""
    h, weight, bias = (
        torch.randn(3, 64, 8, 8)[:, ::2],
        torch.randn(32, 32, 5, 5)[..., 1:4, :3],
        torch.randn(64)[::2],
    )
    g = torch.ones(()).expand(3, 32, 8, 8)
    found = with_gradients(winograd.conv, (h, weight, bias), g)
    expected = with_gradients(plain(False, False), [value.double() for value in (h, weight, bias)], g)
    assert all(close(mine, theirs) for mine, theirs in zip(found, expected, strict=True))


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


def test_the_gradient_of_nan_passes_the_relu_as_in_pytorch():
    h = torch.randn(2, 32, 8, 8)
    h[1, 3, 4, 4] = float("nan")
    weight, bias, g = torch.randn(32, 32, 3, 3), torch.zeros(32), torch.randn(2, 32, 8, 8)
    found = with_gradients(lambda *leaves: winograd.conv(*leaves, rectified=True), (h, weight, bias), g)
    expected = with_gradients(plain(True, False), [value.double() for value in (h, weight, bias)], g)
    assert close(found[1], expected[1])
    assert not found[1][1, 3, 4, 4].eq(0)


def test_a_weight_that_changed_before_its_gradient_is_refused():
    h, weight = torch.randn(1, 32, 4, 4), torch.randn(32, 32, 3, 3, requires_grad=True)
    z = winograd.conv(h, weight, torch.zeros(32))
    with torch.no_grad():
        weight.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_results_have_the_same_bits_again_and_in_every_batch():
    h, weight, bias = torch.randn(40, 32, 14, 14), torch.randn(32, 32, 3, 3), torch.randn(32)
    whole = winograd.conv(h, weight, bias)
    assert torch.equal(winograd.conv(h, weight, bias), whole)
    assert torch.equal(winograd.conv(h[7:20], weight, bias), whole[7:20])


def test_gradients_have_the_same_bits_again():
    tensors = torch.randn(9, 32, 14, 14), torch.randn(48, 32, 3, 3), torch.randn(48)
    g = torch.randn(9, 48, 14, 14)
    first, again = (with_gradients(winograd.conv, tensors, g) for _ in range(2))
    assert all(map(torch.equal, first, again))


def test_processors_with_fewer_registers_come_to_the_same(monkeypatch):
    tensors = torch.randn(5, 32, 7, 7), torch.randn(64, 32, 3, 3), torch.randn(64)
    g = torch.randn(5, 64, 7, 7)
    here = with_gradients(winograd.conv, tensors, g)
    monkeypatch.setattr(plane_products, "REGISTERS", 8)
    there = with_gradients(winograd.conv, tensors, g)
    assert all(close(one, other) for one, other in zip(here, there, strict=True))


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
        (torch.zeros(2, 0, 4, 4), torch.zeros(32, 0, 3, 3)),
        (torch.zeros(2, 32, 4, 4), torch.zeros(0, 32, 3, 3)),
        (torch.zeros(32, 4, 4), torch.zeros(32, 32, 3, 3)),
        (torch.zeros(2, 32, 4, 4), torch.tensor(1.0)),
        (torch.zeros(2, 16, 4, 4), torch.zeros(32, 32, 3, 3)),
        (torch.zeros(2, 32, 4, 4), torch.zeros(32, 32, 1, 1)),
        (torch.zeros(2, 32, 4, 4), torch.zeros(16, 32, 3, 3)),
        (torch.zeros(2, 32, 4, 257), torch.zeros(32, 32, 3, 3)),
    ):
        with pytest.raises(ValueError, match="channels are multiples of 16 here"):
            winograd.conv(h, weight, bias)
    with pytest.raises(ValueError, match="an image of 2 x 2 positions at least"):
        winograd.conv(torch.zeros(2, 32, 1, 4), torch.zeros(32, 32, 3, 3), bias, pooled=True)
    with pytest.raises(TypeError, match="float64 on cpu"):
        winograd.conv(torch.zeros(2, 32, 4, 4).double(), torch.zeros(32, 32, 3, 3).double(), bias)
