"""The Gram matrix from explicit rows: those of a dense layer, or the patches of a strided conv.

While there are fewer rows than columns, the rows are the smaller form: M x D numbers instead of D x D, and
the eigendecomposition of `U U^T` instead of that of `U^T U` (1,000 rows of 6,272: one second instead of
two minutes). Legend: as in `tasks.grafting.gram`.
"""

from __future__ import annotations

import torch
from torch import Tensor

TOGETHER = 1024
"""Rows that wait for one product: each reads and writes all D x D numbers, however few rows it has."""


class RowSums:
    """The rows while they are fewer than D, then the running sum of `U^T U` and rows that wait for it."""

    def __init__(self) -> None:
        self._rows: list[Tensor] = []
        self._gram_DD: Tensor | None = None

    def add(self, rows_MD: Tensor) -> None:
        """Add rows in float64."""
        self._rows.append(rows_MD)
        waiting, dim = sum(len(rows) for rows in self._rows), rows_MD.shape[1]
        if waiting >= (dim if self._gram_DD is None else min(dim, TOGETHER)):
            self._sum_up()

    def _sum_up(self) -> None:
        rows_MD = self._waiting_MD()
        if self._gram_DD is None:
            self._gram_DD = rows_MD.T @ rows_MD
        else:
            self._gram_DD.addmm_(rows_MD.T, rows_MD)
        self._rows = []

    def _waiting_MD(self) -> Tensor:
        if len(self._rows) > 1:
            self._rows = [torch.cat(self._rows)]
        return self._rows[0]

    def few_MD(self) -> Tensor | None:
        """All rows, if they are fewer than D."""
        return self._waiting_MD() if self._gram_DD is None else None

    def gram_DD(self) -> Tensor:
        """`U^T U` so far."""
        few_MD = self.few_MD()
        if few_MD is not None:
            return few_MD.T @ few_MD
        if self._rows:
            self._sum_up()
        assert self._gram_DD is not None
        return self._gram_DD
