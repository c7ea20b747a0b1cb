"""The best of a pair's layers against the best of each permutation, where layers are permuted alike.

The largest of many layers' values is large by chance too, and so are the largest of permuted ones (Gröger,
Wen, Brbić 2026, arXiv 2602.14486, algorithm 2). Legend: n permutations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from espalier.tasks.measures.calibration import Calibrated, calibrate


@dataclass
class BestLayer:
    """Which of the layers that were added has the best value; one layer's permuted values are held.

    Permutation k must be the same for all layers (`tasks.measures.image_orders`). Where a layer has fewer of
    them, they are the first ones of the others, and those alone count.

    Attributes:
        larger: Whether the largest value is the best, or the smallest.
        layer: The layer that has it; of equals the first. 0 where none was added.
    """

    larger: bool
    layer: int = 0
    _value: float = math.nan
    _null_n: Tensor = field(default_factory=lambda: torch.empty(0))

    def add(self, layer: int, value: float, null_n: Tensor) -> None:
        """Add a layer's value and its permuted ones; a layer where any of them is not finite is left out."""
        if not (math.isfinite(value) and bool(null_n.isfinite().all())):
            return
        if not self.layer:
            self.layer, self._value, self._null_n = layer, value, null_n
            return
        if value > self._value if self.larger else value < self._value:
            self.layer, self._value = layer, value
        count = min(len(null_n), len(self._null_n))
        choose = torch.maximum if self.larger else torch.minimum
        self._null_n = choose(self._null_n[:count], null_n[:count])

    def calibrated(self, best: float) -> Calibrated:
        """The best value against the best of each permutation; `best` is the farthest that there is."""
        return calibrate(torch.tensor(self._value, dtype=torch.float64), self._null_n, best, self.larger)
