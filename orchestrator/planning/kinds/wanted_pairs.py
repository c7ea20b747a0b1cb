"""The ordered pairs of a sweep as columns: a million are a few arrays, and no Python object each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
from numpy.typing import NDArray

from espalier.orchestrator.planning.tile_load import distinct
from espalier.orchestrator.planning.units import Mask, Units
from espalier.tasks.grafting.pair_table import PairTable
from espalier.tasks.spec import GraftOptions, Pair, Snapshot, blob_name


@dataclass(frozen=True)
class WantedPair:
    """One ordered pair of the sweep."""

    key: str
    source: Snapshot
    target: Snapshot
    null: str
    options: GraftOptions

    @property
    def reads(self) -> tuple[Snapshot, ...]:
        """The two nets."""
        return self.source, self.target


@dataclass(frozen=True, eq=False)
class WantedPairs(Units[WantedPair]):
    """Pairs (P) that read like a sequence of `WantedPair`.

    Attributes:
        table: Their keys, nulls, and indices of source and target into `snapshots`.
        chosen: Indices (P) into `options`.
        snapshots: Among them all that the pairs read, each once.
        blobs: Names of their checkpoints.
        options: Each once.
    """

    table: PairTable
    chosen: NDArray[np.int16]
    snapshots: Sequence[Snapshot]
    blobs: Sequence[str]
    options: tuple[GraftOptions, ...]

    @classmethod
    def of(cls, pairs: Iterable[WantedPair]) -> WantedPairs:
        """The same pairs as columns."""
        if isinstance(pairs, WantedPairs):
            return pairs
        some = list(pairs)
        nets = {snap.key: snap for pair in some for snap in pair.reads}
        place = {key: number for number, key in enumerate(nets)}
        options = tuple(dict.fromkeys(pair.options for pair in some))
        table = PairTable.of(
            Pair(pair.key, place[pair.source.key], place[pair.target.key], pair.null) for pair in some
        )
        chosen = np.array([options.index(pair.options) for pair in some], np.int16)
        return cls(table, chosen, tuple(nets.values()), [blob_name(key) for key in nets], options)

    def __len__(self) -> int:
        """P."""
        return len(self.table)

    @overload
    def __getitem__(self, place: int) -> WantedPair: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[WantedPair, ...]: ...

    def __getitem__(self, place: int | slice) -> WantedPair | tuple[WantedPair, ...]:
        """One pair, or those of a slice."""
        if isinstance(place, slice):
            return tuple(self.that(np.arange(len(self))[place]))
        return self[place : place + 1 or None][0]

    def __iter__(self) -> Iterator[WantedPair]:
        """Every pair in order."""
        for pair, code in zip(self.table, self.chosen.tolist(), strict=True):
            source, target = self.snapshots[pair.source], self.snapshots[pair.target]
            yield WantedPair(pair.key, source, target, pair.null, self.options[code])

    @property
    def keys(self) -> NDArray[np.bytes_]:
        """Their content keys (P), 24 bytes each."""
        return self.table.keys

    def that(self, which: Mask | NDArray[np.intp]) -> WantedPairs:
        """Some of the pairs, by a mask or by their places."""
        return replace(self, table=self.table.that(which), chosen=self.chosen[which])

    def reading(self, chosen: Callable[[Snapshot], bool]) -> Mask:
        """Which of them (P) have a source or a target that is `chosen`."""
        flags = np.array([chosen(snap) for snap in self.snapshots], np.bool_)
        return flags[self.table.sources] | flags[self.table.targets]

    @property
    def reads(self) -> frozenset[str]:
        """Keys of all their sources and targets."""
        return frozenset(self.snapshots[place].key for place in self.used.tolist())

    @property
    def used(self) -> NDArray[np.integer]:
        """Indices of their sources and targets, each once, in order."""
        return distinct(np.concatenate([self.table.sources, self.table.targets]), len(self.snapshots))
