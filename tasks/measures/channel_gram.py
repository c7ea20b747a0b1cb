"""Second moments of all channels of several nets, from one pass: the channel Gram matrix.

Legend: n images of a batch, P positions of a map, C channels of a net; M rows, images x positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from espalier.tasks.grafting.fvu import known_variance
from espalier.tasks.spec import in_float32

BLOCK_ROWS = 4096
"""Rows of one product in float32: longer sums lose digits, shorter ones time."""

ROUNDING = {"float32": 1e-6, "float64": 1e-13}
"""Share of two channels' squared lengths below which their squared distance is rounding, by type."""


def channel_rows(h: Tensor) -> Tensor:
    """Features (n, C, H, W) or (n, C) as (n, P, C) in float32, one row for each position."""
    return h.float().flatten(2).transpose(1, 2).contiguous() if h.dim() == 4 else h.float()[:, None]


@dataclass(frozen=True)
class NetSums:
    """Sums of a net's channels over rows, as they are and less the channel's offset."""

    rows: int
    whole_C: Tensor
    offset_C: Tensor

    @property
    def shifted_C(self) -> Tensor:
        """Sums of the values less the offsets."""
        return self.whole_C - self.rows * self.offset_C


@dataclass(frozen=True)
class PairMoments:
    """Sums over the rows of nets x and y: `xy_CC` is `X^T Y`, `x_C` the column sums of X.

    Attributes:
        products: The coarsest type of the products.
        shifted: `X^T X`, `Y^T Y` and `X^T Y` of the columns less their offsets.
        x: The sums of X.
        y: The sums of Y.
    """

    rows: int
    products: str
    shifted: tuple[Tensor, Tensor, Tensor]
    x: NetSums
    y: NetSums

    @property
    def x_C(self) -> Tensor:
        """Column sums of X."""
        return self.x.whole_C

    @property
    def y_C(self) -> Tensor:
        """Column sums of Y."""
        return self.y.whole_C

    @cached_property
    def xx_CC(self) -> Tensor:
        """`X^T X`."""
        return whole(self.shifted[0], self.x, self.x)

    @cached_property
    def yy_CC(self) -> Tensor:
        """`Y^T Y`."""
        return whole(self.shifted[1], self.y, self.y)

    @cached_property
    def xy_CC(self) -> Tensor:
        """`X^T Y`."""
        return whole(self.shifted[2], self.x, self.y)

    @cached_property
    def centred(self) -> tuple[Tensor, Tensor, Tensor]:
        """`X^T X`, `Y^T Y` and `X^T Y` of the centred columns."""
        xx_CC, yy_CC, xy_CC = self.shifted
        x_C, y_C = self.x.shifted_C, self.y.shifted_C
        return (
            xx_CC - torch.outer(x_C, x_C) / self.rows,
            yy_CC - torch.outer(y_C, y_C) / self.rows,
            xy_CC - torch.outer(x_C, y_C) / self.rows,
        )

    @property
    def scale(self) -> float:
        """Root mean square of all values of both nets."""
        total = self.xx_CC.trace() + self.yy_CC.trace()
        return (total / (self.rows * (len(self.x_C) + len(self.y_C)))).sqrt().item()

    def square_distances(self) -> Tensor:
        """Mean squared difference of any two channels of both nets, in units of `scale` squared.

        (C_x + C_y, C_x + C_y), zero on the diagonal and where it is no more than rounding. Both nets must
        have some value that is not 0.
        """
        xx_CC, yy_CC, xy_CC = self.shifted
        both = torch.cat([torch.cat([xx_CC, xy_CC], 1), torch.cat([xy_CC.T, yy_CC], 1)])
        square = both.diagonal()
        squares = square[:, None] + square
        distance = squares - 2 * both
        distance = distance.where(distance > ROUNDING[self.products] * squares, 0.0)
        offset = torch.cat([self.x.offset_C, self.y.offset_C])
        total = torch.cat([self.x.shifted_C, self.y.shifted_C])
        apart = offset[:, None] - offset
        distance += apart * (2 * (total[:, None] - total) + self.rows * apart)
        return distance.clamp_min_(0.0).fill_diagonal_(0.0) / (self.rows * self.scale**2)


def whole(shifted_CC: Tensor, x: NetSums, y: NetSums) -> Tensor:
    """`X^T Y` from the product of the columns less their offsets."""
    return (
        shifted_CC
        + torch.outer(x.offset_C, y.whole_C)
        + torch.outer(x.whole_C, y.offset_C)
        - x.rows * torch.outer(x.offset_C, y.offset_C)
    )


class ChannelGram:
    """Running sums of `F^T F` for the nets of a layer side by side, `F = [X_1 .. X_S]`, and of F itself.

    Products are float32 where both nets are wide (`tasks.spec.in_float32`), sums of them float64. Squared
    lengths of channels are float64 throughout: distances are differences of them.

    Products are of values less an offset of each channel, its mean in the first batch: in float32 a mean that
    is many times the spread would else leave few digits to what is left without it.
    """

    def __init__(self, channels: Sequence[int], products: Literal["float32", "float64"] = "float32") -> None:
        self.channels, self.rows = tuple(channels), 0
        self._products: Literal["float32", "float64"] = products
        self.sums = [torch.zeros(count, dtype=torch.float64) for count in channels]
        self.squares = [torch.zeros(count, dtype=torch.float64) for count in channels]
        self._offsets: list[Tensor] = []
        self._blocks: dict[tuple[int, int], Tensor] = {}

    def type_of(self, left: int, right: int) -> str:
        """In which type two nets' products are taken: on the type, nets beside them have no influence."""
        narrow = min(self.channels[left], self.channels[right])
        return "float32" if in_float32(self._products, narrow) else "float64"

    def add(self, features: Sequence[Tensor]) -> None:
        """Add a batch: of each net, features (n, C, H, W) or (n, C) of the same images."""
        self.add_rows([channel_rows(h) for h in features])

    def add_rows(self, rows: Sequence[Tensor]) -> None:
        """The same of features (n, P, C)."""
        flat = [net.flatten(0, 1) for net in rows]
        self.rows += len(flat[0])
        for net, values in enumerate(flat):
            exact = values.double()
            self.sums[net] = self.sums[net].to(values.device) + exact.sum(0)
            self.squares[net] = self.squares[net].to(values.device) + exact.square().sum(0)
        for start in range(0, len(flat[0]), BLOCK_ROWS):
            self._add_block([values[start : start + BLOCK_ROWS] for values in flat])

    def _add_block(self, block: Sequence[Tensor]) -> None:
        if not self._offsets:  # numbers of float32, so that both types of products take the same away
            self._offsets = [(sums / self.rows).float().double() for sums in self.sums]
        kinds = {"float32": torch.float32, "float64": torch.float64}
        shifted = {name: list[Tensor]() for name in kinds}
        for left in range(len(block)):
            for products, kind in kinds.items():
                rights = [net for net in range(left, len(block)) if self.type_of(left, net) == products]
                if not rights:
                    continue
                if not shifted[products]:
                    shifted[products] = [
                        values.to(kind) - offset_C.to(kind)
                        for values, offset_C in zip(block, self._offsets, strict=True)
                    ]
                beside = torch.cat([shifted[products][net] for net in rights], 1)
                made = (shifted[products][left].T @ beside).double()
                for net, part in zip(rights, made.split([self.channels[n] for n in rights], 1), strict=True):
                    if (left, net) in self._blocks:
                        self._blocks[left, net] += part
                    else:
                        self._blocks[left, net] = part.clone()

    def block(self, left: int, right: int) -> Tensor:
        """`X_left^T X_right` (C_left, C_right) in float64."""
        return whole(self._shifted(left, right), self._sums(left), self._sums(right))

    def _shifted(self, left: int, right: int) -> Tensor:
        """The same of values less their offsets."""
        if left > right:
            return self._shifted(right, left).T
        block = self._blocks[left, right]
        if left != right:
            return block
        sums, offset_C = self.sums[left], self._offsets[left]
        return block.diagonal_scatter(self.squares[left] - offset_C * (2 * sums - self.rows * offset_C))

    def _sums(self, net: int) -> NetSums:
        return NetSums(self.rows, self.sums[net], self._offsets[net])

    def pair(self, left: int, right: int) -> PairMoments:
        """What two nets, or one net twice, have to do with each other."""
        types = {self.type_of(left, left), self.type_of(right, right)}
        return PairMoments(
            self.rows,
            "float32" if "float32" in types else "float64",  # the coarsest of the three blocks
            (self._shifted(left, left), self._shifted(right, right), self._shifted(left, right)),
            self._sums(left),
            self._sums(right),
        )

    def variance_C(self, net: int) -> Tensor:
        """Variance of each channel of a net over the rows, 0 where it is rounding."""
        mean_C = self.sums[net] / self.rows
        return known_variance(mean_C, self.squares[net] / self.rows - mean_C.square())

    def finite(self, net: int) -> bool:
        """Whether all features of a net were finite numbers."""
        return bool(self.squares[net].isfinite().all())
