"""A conv that is compared on the way, against PyTorch's in float64."""

import pytest
import torch
import torch.nn.functional as F

from espalier.tasks.kernels.compared_conv import Filters, compared
from espalier.tasks.kernels.tiling import outputs_of

CASES = [(size, pooled) for size in ((1, 3), (2, 2), (7, 6), (14, 14)) for pooled in (False, size[0] > 1)]


@pytest.mark.parametrize(("size", "pooled"), sorted(set(CASES)), ids=str)
@pytest.mark.parametrize("rectified", [False, True])
def test_what_is_made_and_what_it_differs_by_are_pytorchs(size, pooled, rectified):
    generator = torch.Generator().manual_seed(1)
    h, own = (torch.randn(9, channels, *size, generator=generator) for channels in (32, 48))
    weight = torch.randn(48, 32, 3, 3, generator=generator) / 17
    bias = torch.randn(48, generator=generator)
    filters = Filters.of(weight, bias, outputs_of(*size))
    made, square_C = compared(h, filters, own, rectified=rectified, pooled=pooled)
    wide = h.double().relu() if rectified else h.double()
    z = F.conv2d(wide, weight.double(), bias.double(), padding=1)
    wanted = F.max_pool2d(z.relu(), 2) if pooled else z
    assert made.shape == wanted.shape
    assert (made - wanted).norm() <= 3e-6 * wanted.norm()
    square = (z - own.double()).square().sum((0, 2, 3))
    assert square_C.dtype == torch.float64
    torch.testing.assert_close(square_C, square, rtol=1e-5, atol=0.0)


def test_a_map_compared_with_itself_differs_by_rounding_alone():
    h = torch.randn(20, 32, 9, 9)
    weight, bias = torch.randn(32, 32, 3, 3) / 17, torch.zeros(32)
    own = F.conv2d(h, weight, bias, padding=1)
    _, square_C = compared(h, Filters.of(weight, bias, 4), own)
    assert square_C.sum() <= 1e-11 * own.square().sum()
