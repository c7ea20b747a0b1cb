"""How images, maps and weights lie in memory (`tasks.spec.Layout`), which CPUs' convolutions are fast by.

Blocked maps are tensors of PyTorch's oneDNN kind. They exist only between a network's images and its first
dense layer, or the first operation that oneDNN lacks; weights and the images of a data set stay as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.spec import Layout


class NoBlocks(RuntimeError):
    """PyTorch was built without oneDNN."""

    hopeless = True


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


def entering(images: Tensor, layout: Layout) -> Tensor:
    """A batch of images (N, C, H, W) as a network reads it. Float64 has no blocks, and stays as it is.

    Raises:
        NoBlocks: Blocks are wanted where there is no oneDNN.
    """
    if layout != "blocked" or images.dtype == torch.float64:
        return laid(images, layout)
    if not blocks_exist():
        raise NoBlocks(
            "layout 'blocked' wants a PyTorch with oneDNN, which this one lacks: delete probes.json, and the "
            "fastest way is measured again"
        )
    return images.to_mkldnn()


def blocks_exist() -> bool:
    """Whether this PyTorch has oneDNN."""
    return torch.backends.mkldnn.is_available()


def unblocked(h: Tensor) -> Tensor:
    """A map channels first if it lies in blocks, else itself."""
    return h.to_dense() if h.is_mkldnn else h


def sum_of(one: Tensor, other: Tensor) -> Tensor:
    """Two maps added up: in blocks if both are."""
    return one + other if one.is_mkldnn == other.is_mkldnn else unblocked(one) + unblocked(other)
