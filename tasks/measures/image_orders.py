"""Permutations of images that are cheap to apply all at once: shifts along random circles.

All shifts of a sequence are one Fourier transform. So images are laid on a circle in a random order, the
second net's images are shifted along it, and the statistic of every shift comes from one transform. Where
more permutations are wanted than one circle has, the second net's images are dealt anew first, once for each
further round. With several `groups` each has a circle of its own, and all are shifted together: images then
change places within their group alone.

The test is exact. Composed with the order of the second net's images that was observed (uniform, under the
null, among those that keep the groups), each round is an independent uniform left coset of the group of
shifts, and the observed order is a uniform member of one of them. So its statistic is as likely to have any
rank among all as any other's; a random choice of the others keeps that (Hemerik & Goeman 2018 on tests by
subgroups and by random subsets).

Legend: N images, G groups of m; n permutations; r a round, k a shift.
"""

from __future__ import annotations

import torch
from torch import Tensor

from espalier.tasks.seeds import stream


class ImageOrders:
    """`permutations` ways to permute `images` images: the same ones for every layer and net.

    Attributes:
        groups: G, a divisor of N.
        base_N: The images in the order in which they lie on the circles, group by group.
        rounds: The second net's order in each round (N,), as places in `base_N`.
        chosen_n2: Round and shift of each permutation; (0, 0), which changes nothing, is not among them.

    Raises:
        ValueError: Fewer than 4 images, no permutation, or groups of different sizes.

    >>> orders = ImageOrders(5, 6)
    >>> len(orders.rounds), orders.chosen_n2.shape
    (2, torch.Size([6, 2]))
    """

    def __init__(self, images: int, permutations: int, groups: int = 1) -> None:
        if images < 4:
            raise ValueError(f"{images} images: a debiased comparison of samples needs 4 or more")
        if permutations < 1:
            raise ValueError(f"{permutations} permutations: a p-value needs 1, and 19 to reach 0.05")
        if images % groups:
            raise ValueError(f"{groups} groups of {images} images would have different sizes")
        self.groups, size = groups, images // groups
        count = -(-(permutations + 1) // size)
        name = ("similarity images", images, groups)
        self.base_N = torch.randperm(images, generator=stream(*name, "base"))
        self.rounds = [torch.arange(images)] + [
            _dealt_anew(groups, size, stream(*name, "round", number)) for number in range(1, count)
        ]
        others = torch.randperm(size * count - 1, generator=stream(*name, "chosen", count)) + 1
        self.chosen_n2 = torch.stack([others // size, others % size], 1)[:permutations]

    @property
    def images(self) -> int:
        """N."""
        return len(self.base_N)

    @property
    def size(self) -> int:
        """Images of a group, which is the number of shifts."""
        return self.images // self.groups

    @property
    def group_N(self) -> Tensor:
        """The group of each image."""
        group_N = torch.empty_like(self.base_N)
        group_N[self.base_N] = torch.arange(self.images) // self.size
        return group_N

    def orders_nN(self, permutations: int | None = None) -> Tensor:
        """The first permutations themselves: image `orders[j, i]` of the second net stands beside image i."""
        chosen_n2 = self.chosen_n2[:permutations]
        place_N = torch.empty_like(self.base_N)
        place_N[self.base_N] = torch.arange(self.images)
        first_N, along_N = place_N // self.size * self.size, place_N % self.size
        shifted_nN = first_N + (along_N + chosen_n2[:, 1:]) % self.size
        return self.base_N[torch.stack(self.rounds)[chosen_n2[:, :1], shifted_nN]]

    def round_orders(self, permutations: int | None = None) -> list[Tensor]:
        """The second net's images along the circles in each round that the first permutations use."""
        used = int(self.chosen_n2[:permutations, 0].max()) + 1
        return [self.base_N[order_N] for order_N in self.rounds[:used]]

    def pick(self, shifted: list[Tensor], permutations: int | None = None) -> Tensor:
        """The first permutations (n, ...) from what all shifts give, a tensor (m, ...) for each round."""
        chosen_n2 = self.chosen_n2[:permutations]
        return torch.stack([shifted[r][k] for r, k in chosen_n2.tolist()])


def circles(images: int, shifts: int) -> int:
    """The most circles of one size, on which all of so many images lie, with so many shifts or more.

    >>> circles(1000, 200), circles(360, 200), circles(1009, 200)
    (5, 1, 1)
    """
    return max((number for number in range(1, images // shifts + 1) if images % number == 0), default=1)


def _dealt_anew(groups: int, size: int, generator: torch.Generator) -> Tensor:
    """Places (N,) in a random order within each group."""
    orders = [torch.randperm(size, generator=generator) + size * group for group in range(groups)]
    return torch.cat(orders)
