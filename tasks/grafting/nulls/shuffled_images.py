"""The null `shuffled_images`: a source that sees other images, so that there is nothing to find.

A zero-padded border and the average image tell where a patch lies. Permuting the images alone therefore
leaves the fit something to find; with the positions permuted as well nothing is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.tasks.grafting.nulls.null import Null, Variant, another

if TYPE_CHECKING:
    from torch import Tensor

POSITION_ORDERS = 64
"""How many different permutations of positions the images take."""


def image_order(images: int, split: str) -> Tensor:
    """Which image the source sees in place of each; fixed by the split and its size."""
    import torch  # here, since the planner reads this file

    from espalier.tasks.seeds import stream

    return torch.randperm(images, generator=stream("shuffled_images", split, images))


def position_order(images_N: Tensor, positions: int) -> Tensor:
    """For each image a permutation (N, P) of the positions of a map, one of a fixed table's."""
    import torch

    from espalier.tasks.seeds import stream

    orders = [
        torch.randperm(positions, generator=stream("shuffled_positions", positions, number))
        for number in range(POSITION_ORDERS)
    ]
    return torch.stack(orders)[images_N % POSITION_ORDERS]


SHUFFLED_IMAGES = Null(
    "shuffled_images", another, Variant(order=image_order, positions=position_order), by_default=True
)
