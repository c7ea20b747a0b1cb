"""Products by taps equal those of the unfolded patches, whatever the kernel, the map and the layout."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn.grad import conv2d_weight

from espalier.tasks.grafting.layer_input import LayerInput
from espalier.tasks.grafting.tap_products import BLOCK, padded_rows, tap_cross, tap_outputs
from espalier.tasks.spec import Layer

MAPS = [(1, 1), (1, 5), (2, 2), (7, 4), (16, 16)]


def drawn(*size, seed=0):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", MAPS)
@pytest.mark.parametrize(("kernel", "padding"), [(1, 0), (3, 1), (5, 2), (3, 2), (2, 1)])
def test_the_products_are_those_of_the_patches(kernel, padding, size):
    h = drawn(3, 4, *size)
    z = F.conv2d(h, drawn(5, 4, kernel, kernel, seed=1), padding=padding)
    patches_NDP = F.unfold(h.double(), kernel, padding=padding)
    wanted = torch.einsum("nop,ndp->od", z.double().flatten(2), patches_NDP)
    found = tap_cross(padded_rows(h, kernel, padding), z, kernel)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", MAPS)
@pytest.mark.parametrize(("kernel", "padding"), [(1, 0), (3, 1), (5, 2), (3, 2), (2, 1)])
def test_the_outputs_are_those_of_the_convolution(kernel, padding, size):
    h, weight, bias = drawn(3, 4, *size).double(), drawn(5, 4, kernel, kernel, seed=1).double(), drawn(5)
    wanted = F.conv2d(h, weight, bias.double(), padding=padding)
    found = tap_outputs(padded_rows(h, kernel, padding), weight.flatten(1).T, bias.double(), kernel)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_more_rows_than_a_block_and_any_layout_in_memory():
    h, z = drawn(8, 3, 20, 20), drawn(8, 2, 20, 20, seed=1)
    assert BLOCK < 8 * 22 * 22
    wanted = conv2d_weight(h.double(), (2, 3, 3, 3), z.double(), padding=1).flatten(1)
    for layout in (torch.contiguous_format, torch.channels_last):
        ones = (h.contiguous(memory_format=layout), z.contiguous(memory_format=layout))
        torch.testing.assert_close(tap_cross(padded_rows(ones[0], 3, 1), ones[1], 3), wanted)


def test_a_narrow_layer_goes_by_taps_and_a_strided_one_by_its_patches():
    for stride in (1, 2):
        layer = Layer("conv", 6, kernel=3, padding=1, stride=stride)
        h = drawn(4, 5, 8, 8)
        z = F.conv2d(h, drawn(6, 5, 3, 3, seed=1), padding=1, stride=stride)
        read = LayerInput(layer, h, "float32")
        wanted = conv2d_weight(h.double(), (6, 5, 3, 3), z.double(), padding=1, stride=stride).flatten(1)
        torch.testing.assert_close(read.cross_CD(z), wanted, rtol=1e-12, atol=1e-12)
        weight, bias = drawn(6, 5, 3, 3, seed=2).double(), drawn(6, seed=3).double()
        wanted = F.conv2d(h.double(), weight, bias, padding=1, stride=stride)
        found = read.predict(weight.flatten(1).T, bias)
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
