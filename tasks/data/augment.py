"""Images as a net in training sees them: as they are, or each a random crop, flipped half of the time.

`crop_flip` (He et al. 2016, and Gu et al. 2020): a border of 4 zeros, which is the mean colour of
normalised images, a crop of the image's own size at any of the 9 x 9 places, mirrored left to right with
probability 1/2. Every image draws anew in every epoch, from a stream named by the order of the images and
the epoch: nets with a shared order see the same crops, and there is no state to resume.

Legend: N training images, B of them in a batch, C channels, H rows, W columns.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from espalier.tasks.seeds import stream
from espalier.tasks.spec import Augment, NetSpec

BORDER = 4
_CHUNK = 1024  # images cropped at once: bounds the copies with borders


class Draws(NamedTuple):
    """For each training image, where its crop begins in the bordered image, and whether it is flipped."""

    row_N: Tensor
    column_N: Tensor
    flip_N: Tensor

    def of(self, batch: Tensor) -> Draws:
        """The draws of some images."""
        return Draws(*(drawn[batch] for drawn in self))


def draws(net: NetSpec, epoch: int, images: int) -> Draws | None:
    """What `images` training images go through in `epoch` (from 1); None if they stay as they are."""
    if net.recipe.augment == "none":
        return None
    return _drawn(images, stream("augment", *net.order, epoch))


def view(x_NCHW: Tensor, augment: Augment, number: int = 0) -> Tensor:
    """All images, each as drawn for the view of that `number`: what grafts are fitted on."""
    if augment == "none":
        return x_NCHW
    drawn = _drawn(len(x_NCHW), stream("graft augment", len(x_NCHW), number))
    parts = torch.arange(len(x_NCHW)).split(_CHUNK)
    return torch.cat([crop_flip(x_NCHW[part], drawn.of(part)) for part in parts])


def _drawn(images: int, generator: torch.Generator) -> Draws:
    row_N, column_N = torch.randint(2 * BORDER + 1, (2, images), generator=generator)
    return Draws(row_N, column_N, torch.rand(images, generator=generator) < 0.5)


def training_batch(x_NCHW: Tensor, batch: Tensor, drawn: Draws | None) -> Tensor:
    """The images (B, C, H, W) at the places `batch` (B,) of the training images, as drawn for the epoch."""
    x_BCHW = x_NCHW[batch]
    return x_BCHW if drawn is None else crop_flip(x_BCHW, drawn.of(batch))


def crop_flip(x_BCHW: Tensor, drawn: Draws) -> Tensor:
    """Each image's crop, mirrored where so drawn."""
    images, _, height, width = x_BCHW.shape
    device = x_BCHW.device
    row_B, column_B, flip_B = (values.to(device) for values in drawn)
    along_W = torch.arange(width, device=device)
    seen_BW = torch.where(flip_B[:, None], along_W.flip(0), along_W) + column_B[:, None]
    seen_BH = torch.arange(height, device=device) + row_B[:, None]
    bordered = F.pad(x_BCHW, (BORDER,) * 4)
    every_B = torch.arange(images, device=device)[:, None, None]
    # Indices on both sides of a full slice put their axes first: (B, H, W, C).
    return bordered[every_B, :, seen_BH[:, :, None], seen_BW[:, None, :]].permute(0, 3, 1, 2).contiguous()
