"""What a measure finds: a value for each pair of nets, its permuted values, and why a value is missing.

Legend: S nets, n permutations.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from espalier.tasks.measures.calibration import Calibrated, calibrate

Kind = Literal["similarity", "distance"]
Null = Literal["images", "labels"]
Pair = tuple[int, int]


@dataclass
class Found:
    """Values (S, S), symmetric, NaN where undefined; the diagonal compares each net with itself.

    Attributes:
        kind: Whether large values mean alike (`similarity`) or different (`distance`).
        null: What is permuted: the `images` of the second net (is there anything in common?) or the
            `labels`, which net a channel is from (are they draws of one distribution?).
        value_SS: The values.
        best_SS: The value farthest from the null that there is, for `calibrated`.
        nulls: Permuted values (n,) of pairs (s, t), s < t. Those of `images` are by the same permutations
            at every layer.
        reasons: For pairs (s, t), s <= t, without a value: why, in a part of a sentence.
        notes: The same for pairs with a value and without a p-value, or without a further value.
        extra: Further values (S, S) by name, without a null.
    """

    kind: Kind
    null: Null
    value_SS: Tensor
    best_SS: Tensor
    nulls: dict[Pair, Tensor] = field(default_factory=dict)
    reasons: dict[Pair, str] = field(default_factory=dict)
    notes: dict[Pair, str] = field(default_factory=dict)
    extra: dict[str, Tensor] = field(default_factory=dict)

    @property
    def large_is_extreme(self) -> bool:
        """Whether the alternative to the null is a larger value: not so for a distance of permuted images."""
        return self.kind == "similarity" or self.null == "labels"

    def put(self, left: int, right: int, value: float, best: float | None = None) -> None:
        """Set the value of a pair, on both sides of the diagonal."""
        self.value_SS[left, right] = self.value_SS[right, left] = value
        if best is not None:
            self.best_SS[left, right] = self.best_SS[right, left] = best

    def calibrated(self) -> Calibrated:
        """Mean and standard deviation of the null, p-value and calibrated value, (S, S); NaN without null."""
        columns = Calibrated(*(torch.full_like(self.value_SS, math.nan) for _ in Calibrated._fields))
        for pairs in self._by_count():
            x, y = torch.tensor(pairs).T
            null_nP = torch.stack([self.nulls[pair] for pair in pairs], 1)
            found = calibrate(self.value_SS[x, y], null_nP, self.best_SS[x, y], self.large_is_extreme)
            for column, value_P in zip(columns, found, strict=True):
                column[x, y] = column[y, x] = value_P
        return columns

    def _by_count(self) -> list[list[Pair]]:
        """The pairs by the number of their permutations."""
        grouped: dict[int, list[Pair]] = defaultdict(list)
        for pair, null_n in self.nulls.items():
            grouped[len(null_n)].append(pair)
        return list(grouped.values())


def name_in(pair: Pair, net: int) -> str:
    """What a reason calls a net of a pair: its number in a tile says nothing to a reader of the table.

    >>> name_in((3, 7), 7)
    'the target net'
    """
    if pair[0] == pair[1]:
        return "the net"
    return "the source net" if net == pair[0] else "the target net"


def nothing(kind: Kind, null: Null, nets: int, best: float = math.nan) -> Found:
    """A table of S nets with no value yet."""
    empty_SS = torch.full((nets, nets), math.nan, dtype=torch.float64)
    return Found(kind, null, empty_SS, torch.full_like(empty_SS, best))
