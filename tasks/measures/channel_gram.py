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
class PairMoments:
    """Sums over the rows of nets x and y: `xy_CC` is `X^T Y`, `x_C` the column sums of X."""

    rows: int
    products: str
    xx_CC: Tensor
    yy_CC: Tensor
    xy_CC: Tensor
    x_C: Tensor
    y_C: Tensor

    @cached_property
    def centred(self) -> tuple[Tensor, Tensor, Tensor]:
        """`X^T X`, `Y^T Y` and `X^T Y` of the centred columns."""
        return (
            self.xx_CC - torch.outer(self.x_C, self.x_C) / self.rows,
            self.yy_CC - torch.outer(self.y_C, self.y_C) / self.rows,
            self.xy_CC - torch.outer(self.x_C, self.y_C) / self.rows,
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
        both = torch.cat([torch.cat([self.xx_CC, self.xy_CC], 1), torch.cat([self.xy_CC.T, self.yy_CC], 1)])
        square = both.diagonal()
        sums = square[:, None] + square
        distance = sums - 2 * both
        distance = distance.where(distance > ROUNDING[self.products] * sums, 0.0).fill_diagonal_(0.0)
        return distance / (self.rows * self.scale**2)


class ChannelGram:
    """Running sums of `F^T F` for the nets of a layer side by side, `F = [X_1 .. X_S]`, and of F itself.

    Products are float32 where both nets are wide (`tasks.spec.in_float32`), sums of them float64. Squared
    lengths of channels are float64 throughout: distances are differences of them.
    """

    def __init__(self, channels: Sequence[int], products: Literal["float32", "float64"] = "float32") -> None:
        self.channels, self.rows = tuple(channels), 0
        self._products: Literal["float32", "float64"] = products
        self.sums = [torch.zeros(count, dtype=torch.float64) for count in channels]
        self.squares = [torch.zeros(count, dtype=torch.float64) for count in channels]
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
            self.sums[net] = self.sums[net].to(values.device) + values.double().sum(0)
            self.squares[net] = self.squares[net].to(values.device) + values.double().square().sum(0)
        for start in range(0, len(flat[0]), BLOCK_ROWS):
            self._add_block([values[start : start + BLOCK_ROWS] for values in flat])

    def _add_block(self, block: Sequence[Tensor]) -> None:
        for left in range(len(block)):
            for products in ("float32", "float64"):
                rights = [net for net in range(left, len(block)) if self.type_of(left, net) == products]
                if not rights:
                    continue
                kind = torch.float32 if products == "float32" else torch.float64
                beside = torch.cat([block[net] for net in rights], 1).to(kind)
                made = (block[left].to(kind).T @ beside).double()
                for net, part in zip(rights, made.split([self.channels[n] for n in rights], 1), strict=True):
                    if (left, net) in self._blocks:
                        self._blocks[left, net] += part
                    else:
                        self._blocks[left, net] = part.clone()

    def block(self, left: int, right: int) -> Tensor:
        """`X_left^T X_right` (C_left, C_right) in float64."""
        if left > right:
            return self.block(right, left).T
        block = self._blocks[left, right]
        return block.diagonal_scatter(self.squares[left]) if left == right else block

    def pair(self, left: int, right: int) -> PairMoments:
        """What two nets, or one net twice, have to do with each other."""
        types = {self.type_of(left, left), self.type_of(right, right)}
        return PairMoments(
            self.rows,
            "float32" if "float32" in types else "float64",  # the coarsest of the three blocks
            self.block(left, left),
            self.block(right, right),
            self.block(left, right),
            self.sums[left],
            self.sums[right],
        )

    def variance_C(self, net: int) -> Tensor:
        """Variance of each channel of a net over the rows, 0 where it is rounding."""
        mean_C = self.sums[net] / self.rows
        return known_variance(mean_C, self.squares[net] / self.rows - mean_C.square())

    def finite(self, net: int) -> bool:
        """Whether all features of a net were finite numbers."""
        return bool(self.squares[net].isfinite().all())
