"""The pairs of a tile as columns: a million are a few arrays, and a `Pair` is made when it is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from espalier.tasks.grafting.nulls.known_nulls import NULLS
from espalier.tasks.spec import Pair


def null_names() -> tuple[str, ...]:
    """What column `null` of a pair can say, in the order of their codes."""
    return ("none", *NULLS)


@dataclass(frozen=True, eq=False)
class PairTable(Sequence[Pair]):
    """Pairs as columns of one length (P); reads like a sequence of `Pair`.

    Attributes:
        keys: Content keys (P), 24 bytes each.
        sources: Indices (P) into the tile's snapshots, as are `targets`.
        nulls: Indices (P) into `names`.
        names: Names of nulls.
    """

    keys: NDArray[np.bytes_]
    sources: NDArray[np.int32]
    targets: NDArray[np.int32]
    nulls: NDArray[np.int8]
    names: tuple[str, ...]

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> PairTable:
        """The same pairs as columns."""
        if isinstance(pairs, PairTable):
            return pairs
        some, names = list(pairs), null_names()
        return cls(
            np.array([pair.key.encode() for pair in some], np.bytes_),
            np.array([pair.source for pair in some], np.int32),
            np.array([pair.target for pair in some], np.int32),
            np.array([names.index(pair.null) for pair in some], np.int8),
            names,
        )

    def __len__(self) -> int:
        """P."""
        return len(self.keys)

    @overload
    def __getitem__(self, place: int) -> Pair: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Pair, ...]: ...

    def __getitem__(self, place: int | slice) -> Pair | tuple[Pair, ...]:
        """One pair, or those of a slice."""
        if isinstance(place, slice):
            return tuple(self._pairs(place))
        found = range(len(self))[place]
        return next(self._pairs(slice(found, found + 1)))

    def __iter__(self) -> Iterator[Pair]:
        """Every pair in order."""
        return self._pairs(slice(None))

    def _pairs(self, place: slice) -> Iterator[Pair]:
        columns = self.keys[place], self.sources[place], self.targets[place], self.nulls[place]
        for key, source, target, null in zip(*(column.tolist() for column in columns), strict=True):
            yield Pair(key.decode(), source, target, self.names[null])

    def __eq__(self, other: object) -> bool:
        """Whether the other is a sequence of the same pairs."""
        return isinstance(other, Sequence) and len(other) == len(self) and list(self) == list(other)

    def __hash__(self) -> int:
        """Of all pairs."""
        return hash(tuple(self))

    def that(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> PairTable:
        """Some of the pairs, by a mask or by their places."""
        columns = self.keys[which], self.sources[which], self.targets[which], self.nulls[which]
        return PairTable(*columns, self.names)
