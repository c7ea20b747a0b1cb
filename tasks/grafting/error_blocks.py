"""Held-out errors by blocks of images, from which the images' part of an error bar follows (docs/method.md).

An FVU is a ratio, e / v, of two sums over the held-out images. To first order block k adds

    (e_k - FVU v_k) / v

to it, where e_k is the block's squared error and v_k its sum of squares about the target's mean over all
images. These numbers sum to 0, and a mean over pairs of them varies from block to block as the images do.

Legend: N images, K blocks, C channels.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from espalier.tasks.grafting.gram import ChannelMoments
from espalier.tasks.seeds import stream
from espalier.tasks.tables.image_blocks import BLOCKS, SHARE


@lru_cache(maxsize=4)
def blocks(images: int) -> Tensor:
    """The block of each held-out image (N,): by lot, since neighbours in a data set may be alike."""
    return torch.randperm(images, generator=stream("image blocks", images)) % BLOCKS


def image_sums(values: Tensor) -> Tensor:
    """Sum (N,) over channels and positions of (N, C) or (N, C, H, W)."""
    return values.flatten(1).sum(1)


def into_blocks(values_N: Tensor, block_N: Tensor) -> Tensor:
    """Sums over the images of each block: of (N, ...) values (K, ...), on the CPU in float64.

    `index_add` of a GPU adds in any order, and the same job must give the same bits.
    """
    total = torch.zeros(BLOCKS, *values_N.shape[1:], dtype=torch.float64)
    return total.index_add(0, block_N.cpu(), values_N.double().cpu())


def block_of(images_N: Tensor, images: int) -> Tensor:
    """The block (N,) of each of some held-out images, by their places among all."""
    return blocks(images)[images_N.cpu()]


class BlockMoments:
    """Running sums by block of a target's own output at one layer."""

    def __init__(self, channels: int) -> None:
        self._rows_K = torch.zeros(BLOCKS, dtype=torch.float64)
        self._sum_KC = torch.zeros(BLOCKS, channels, dtype=torch.float64)
        self._square_K = torch.zeros(BLOCKS, dtype=torch.float64)

    def add(self, z: Tensor, block_N: Tensor) -> None:
        """Add an output (N, C) or (N, C, H, W) of images of these blocks."""
        z, rows = z.double(), z[:, 0].numel() // max(len(z), 1)
        self._rows_K += rows * torch.bincount(block_N.cpu(), minlength=BLOCKS)
        self._sum_KC += into_blocks(z.flatten(2).sum(2) if z.dim() == 4 else z, block_N)
        self._square_K += into_blocks(image_sums(z.square()), block_N)

    def variation_K(self, mean_C: Tensor) -> Tensor:
        """By block the sum of squares about the mean of each channel, over channels."""
        mean_C = mean_C.cpu()
        return self._square_K - 2 * self._sum_KC @ mean_C + self._rows_K * mean_C.square().sum()


def error_by_block(error_K: Tensor, own: BlockMoments, output: ChannelMoments) -> bytes | None:
    """What each block of images adds to an FVU, as column `fvu_by_block` keeps it; None without variance."""
    variation_K, error_K = own.variation_K(output.mean_C), error_K.cpu()
    whole = float(output.variance_C.sum()) * output.rows
    if whole == 0:
        return None
    added_K = (error_K - error_K.sum() / variation_K.sum() * variation_K) / whole
    return added_K.numpy().astype(SHARE).tobytes()
