"""How images, maps and weights lie in memory (`tasks.spec.Layout`): it decides the speed of convs on CPUs."""

from __future__ import annotations

import torch
from torch import Tensor

from espalier.tasks.spec import Layout


def laid(value: Tensor, layout: Layout) -> Tensor:
    """Images or weights (four axes) with their channels last in memory where the layout wants it."""
    if layout != "channels_last" or value.dim() != 4:
        return value
    last = value.contiguous(memory_format=torch.channels_last)
    if last.shape[1] > 1:
        return last
    # With one channel both orders are one: PyTorch goes on channels first unless the strides say otherwise.
    _, _, height, width = last.shape
    return last.as_strided(last.shape, (height * width, 1, width, 1))


def for_convs(images: Tensor) -> Tensor:
    """Images as PyTorch's convs read them fastest: on a CPU with their channels last."""
    return laid(images, "channels_last") if images.device.type == "cpu" else images


def in_rows(value: Tensor) -> Tensor:
    """(N, C, H, W) as (N, H, W, C), contiguous: itself where its channels lie last."""
    return value.permute(0, 2, 3, 1).contiguous()
