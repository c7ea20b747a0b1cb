"""Layouts change nothing but the order of sums."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from espalier.tasks.networks.layout import laid


@pytest.mark.parametrize("channels", [1, 3])
def test_maps_of_images_with_channels_last_are_so_too(channels):
    """PyTorch would take images of one channel for channels first, and copy every map of the next layer."""
    images, weight = torch.randn(2, channels, 6, 5), torch.randn(4, channels, 3, 3)
    expected = F.conv2d(images, weight, padding=1)
    found = F.conv2d(laid(images, "channels_last"), laid(weight, "channels_last"), padding=1)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected)


def test_what_is_laid_out_anew_has_the_same_numbers():
    for shape in ((3, 1, 4, 5), (3, 2, 4, 5), (3, 4), (3,)):
        value = torch.randn(shape)
        assert torch.equal(laid(value, "channels_last"), value)
        assert laid(value, "contiguous") is value
