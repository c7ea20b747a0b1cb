"""Permutations of images that are cheap to apply all at once: shifts along random circles.

All N shifts of a sequence are one Fourier transform. So images are laid on a circle in a random order, the
second net's images are shifted along it, and the statistic of every shift comes from one transform. Where
more permutations are wanted than one circle has, the second net's images are dealt anew first, once for each
further circle.

The test is exact. Composed with the (unknown, under the null uniform) order of the second net's images, each
circle is an independent uniform left coset of the group of shifts, and the order that was observed is a
uniform member of one of them. So its statistic is as likely to have any rank among all as any other's; a
random choice of the others keeps that (Hemerik & Goeman 2018 on tests by subgroups and random subsets).

Legend: N images; n permutations; r a circle, k a shift.
"""

from __future__ import annotations

import torch
from torch import Tensor

from espalier.tasks.seeds import stream


class ImageOrders:
    """`permutations` ways to permute `images` images: the same ones for every layer, net and measure.

    Attributes:
        base_N: The order in which the images lie on the circle.
        circles: The second net's order on each circle (N,), as places on the first.
        chosen_n2: Circle and shift of each permutation; (0, 0), which changes nothing, is not among them.

    Raises:
        ValueError: Fewer than 4 images, or no permutation.

    >>> orders = ImageOrders(5, 6)
    >>> len(orders.circles), orders.chosen_n2.shape
    (2, torch.Size([6, 2]))
    """

    def __init__(self, images: int, permutations: int) -> None:
        if images < 4:
            raise ValueError(f"{images} images: a debiased comparison of samples needs 4 or more")
        if permutations < 1:
            raise ValueError(f"{permutations} permutations: a p-value needs 1, and 19 to reach 0.05")
        count = -(-(permutations + 1) // images)
        name = ("similarity images", images)
        self.base_N = torch.randperm(images, generator=stream(*name, "base"))
        self.circles = [torch.arange(images)] + [
            torch.randperm(images, generator=stream(*name, "circle", number)) for number in range(1, count)
        ]
        others = torch.randperm(images * count - 1, generator=stream(*name, "chosen", count)) + 1
        self.chosen_n2 = torch.stack([others // images, others % images], 1)[:permutations]

    @property
    def images(self) -> int:
        """N."""
        return len(self.base_N)

    def orders_nN(self, permutations: int | None = None) -> Tensor:
        """The first permutations themselves: image `orders[j, i]` of the second net stands beside image i."""
        chosen_n2 = self.chosen_n2[:permutations]
        place_N = torch.empty_like(self.base_N)
        place_N[self.base_N] = torch.arange(self.images)
        shifted_nN = (place_N + chosen_n2[:, 1:]) % self.images
        return self.base_N[torch.stack(self.circles)[chosen_n2[:, :1], shifted_nN]]

    def circle_orders(self, permutations: int | None = None) -> list[Tensor]:
        """The second net's images along each circle that the first permutations use."""
        used = int(self.chosen_n2[:permutations, 0].max()) + 1
        return [self.base_N[circle_N] for circle_N in self.circles[:used]]

    def pick(self, shifted: list[Tensor], permutations: int | None = None) -> Tensor:
        """The first permutations (n, ...) from what all shifts give, a tensor (N, ...) for each circle."""
        chosen_n2 = self.chosen_n2[:permutations]
        return torch.stack([shifted[r][k] for r, k in chosen_n2.tolist()])
