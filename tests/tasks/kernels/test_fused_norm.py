"""BN with what follows it, against PyTorch's in float64."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from espalier.tasks.kernels import fused_norm
from espalier.tasks.networks.batch_norm import EPSILON, MOMENTUM
from espalier.tasks.spec import Layer, Shortcut

ENDS = pytest.mark.parametrize("ends", ["plain", "relu", "pooled"])
LAYER = Layer("conv", 16, 3, 1, batch_norm=True)


def followed(z, ends):
    z = F.max_pool2d(z, 2) if ends == "pooled" else z
    return z if ends == "plain" else z.relu()


def tensors(images, channels, size, mean=0.5, spread=2.0):
    generator = torch.Generator().manual_seed(images + channels)
    z = torch.randn(images, channels, *size, generator=generator) * spread + mean
    return z, *(torch.randn(channels, generator=generator) for _ in range(2))


def close(found, expected, tolerance=1e-5):
    return (found - expected).norm() <= tolerance * expected.norm()


def in_training(run, values, statistics, g):
    leaves = [value.detach().requires_grad_() for value in values]
    made = run(*leaves, *statistics)
    return [made.detach(), *torch.autograd.grad(made, leaves, g.to(made.dtype)), *statistics]


def plain(ends):
    def run(z, weight, bias, mean, var):
        made = F.batch_norm(z, mean, var, weight, bias, training=True, momentum=MOMENTUM, eps=EPSILON)
        return followed(made, ends)

    return run


@ENDS
@pytest.mark.parametrize(
    ("images", "channels", "size"),
    [
        (2, 4, (2, 2)),
        (64, 8, (32, 32)),
        (37, 24, (6, 4)),
        (5, 16, (40, 30)),
        (64, 48, (4, 4)),
        (1, 16, (2, 6)),
    ],
)
def test_results_gradients_and_moved_statistics_are_pytorchs(images, channels, size, ends):
    """To 1e-5 of their norms: sums of 1,024 numbers in float32 are off by 1e-6 or so."""
    values = tensors(images, channels, size)
    statistics = [torch.full((channels,), 0.3), torch.full((channels,), 1.7)]
    g = torch.randn(followed(values[0], ends).shape)
    expected = in_training(
        plain(ends), [value.double() for value in values], [value.double() for value in statistics], g
    )
    found = in_training(
        lambda *given: fused_norm.trained(*given, ends), values, [value.clone() for value in statistics], g
    )
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.dtype == torch.float32
        assert close(mine, theirs)


@ENDS
def test_a_mean_a_thousand_times_the_spread_costs_three_digits_and_no_more(ends):
    values = tensors(16, 16, (8, 8), mean=1e3, spread=1.0)
    statistics = [torch.zeros(16), torch.ones(16)]
    g = torch.randn(followed(values[0], ends).shape)
    expected = in_training(
        plain(ends), [value.double() for value in values], [value.double() for value in statistics], g
    )
    found = in_training(lambda *given: fused_norm.trained(*given, ends), values, statistics, g)
    for mine, theirs in zip(found, expected, strict=True):
        assert close(mine, theirs, 1e-3 if ends == "plain" else 2e-2)  # a ReLU's side may change


@ENDS
def test_with_stored_statistics_it_is_pytorchs_too(ends):
    z, weight, bias = tensors(6, 16, (8, 6))
    mean, var = torch.randn(16), torch.rand(16) + 0.1
    wide = [value.double() for value in (mean, var, weight, bias)]
    expected = followed(F.batch_norm(z.double(), *wide, eps=EPSILON), ends)
    assert close(fused_norm.stored(z, weight, bias, mean, var, ends), expected)


@ENDS
def test_nan_stays(ends):
    z, weight, bias = tensors(2, 16, (4, 4))
    z[1, 2, 1, 1] = float("nan")
    made = fused_norm.stored(z, weight, bias, torch.zeros(16), torch.ones(16), ends)
    assert made[1, 2].isnan().sum() == 1
    assert made.isnan().sum() == 1
    assert fused_norm.trained(z, weight, bias, torch.zeros(16), torch.ones(16), ends)[:, 2].isnan().all()


def test_it_is_for_large_maps_whose_relu_follows_at_once():
    assert fused_norm.suits(LAYER, (16, 16)) == "relu"
    assert fused_norm.suits(replace(LAYER, pool=2), (16, 16)) == "pooled"
    assert fused_norm.suits(replace(LAYER, pool=2), (17, 16)) == "relu"
    assert fused_norm.suits(replace(LAYER, pool=3), (16, 16)) == "relu"
    for other in ({"activation": "tanh"}, {"batch_norm": False}, {"shortcut": Shortcut(0)}, {"out": 18}):
        assert fused_norm.suits(replace(LAYER, **other), (16, 16)) is None, other
    assert fused_norm.suits(LAYER, (8, 8)) is None


@pytest.mark.parametrize("size", [(64, 64), (8, 8), (30, 1100)])
def test_statistics_of_numbers_of_one_sign_do_not_drift_with_their_number(size):
    """A constant's variance is rounding alone; added up in one go, 65,536 times 7.3 is off by percents."""
    images = 65_536 // (size[0] * size[1]) + 1
    z = torch.full((images, 16, *size), 7.3)
    mean, var = torch.zeros(16), torch.zeros(16)
    fused_norm.trained(z, torch.ones(16), torch.zeros(16), mean, var, "plain")
    assert (mean / MOMENTUM - 7.3).abs().max() < 7.3 * 2e-5
    assert var.max() / MOMENTUM < (7.3 * 4e-5) ** 2


def test_what_the_kernels_cannot_take_is_refused_by_name():
    given = [torch.ones(6)] * 2 + [torch.ones(6)] * 2
    for z, ends, match in (
        (torch.zeros(2, 6, 4, 4), "relu", r"\(2, 6, 4, 4\), relu: channels are multiples of 4"),
        (torch.zeros(2, 8, 5, 4), "pooled", r"\(2, 8, 5, 4\), pooled: .* sizes even if pooled"),
        (torch.zeros(0, 8, 4, 4), "relu", r"\(0, 8, 4, 4\)"),
        (torch.zeros(1, 8, 1, 1), "relu", r"several numbers of each channel, found \(1, 8, 1, 1\)"),
    ):
        with pytest.raises(ValueError, match=match):
            fused_norm.trained(z, *given, ends)
    with pytest.raises(TypeError, match="float64"):
        fused_norm.trained(torch.zeros(2, 8, 4, 4).double(), *given, "relu")


def test_an_infinite_variance_stays_infinite_as_in_pytorch():
    z, mean, var = torch.randn(2, 16, 4, 4), torch.zeros(16), torch.full((16,), float("inf"))
    fused_norm.trained(z, torch.ones(16), torch.zeros(16), mean, var, "relu")
    assert var.isinf().all()
