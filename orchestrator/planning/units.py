"""The units of a kind of work as a sequence that also answers for all of them at once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from espalier.tasks.spec import Snapshot

Mask = NDArray[np.bool_]


class Unit(Protocol):
    """The least piece of work of a kind: it has a key, and all of its rows are made together."""

    @property
    def key(self) -> str:
        """Its content key."""
        ...

    @property
    def reads(self) -> tuple[Snapshot, ...]:
        """The snapshots that it is computed from."""
        ...


U = TypeVar("U", bound=Unit)


class Units(Sequence[U]):
    """Some units (P) in order. Where there are millions, a kind keeps them as columns of its own."""

    @property
    @abstractmethod
    def keys(self) -> NDArray[np.bytes_]:
        """Their content keys (P)."""

    @abstractmethod
    def that(self, which: Mask) -> Units[U]:
        """Those where the mask (P) is true."""

    @abstractmethod
    def reading(self, chosen: Callable[[Snapshot], bool]) -> Mask:
        """Which of them (P) read a snapshot that is `chosen`."""

    @property
    @abstractmethod
    def reads(self) -> frozenset[str]:
        """Keys of all snapshots that any of them reads."""


class UnitList(Units[U]):
    """Units as a list of objects, for kinds that have few."""

    def __init__(self, units: Sequence[U]) -> None:
        self._units = list(units)

    def __len__(self) -> int:
        """P."""
        return len(self._units)

    @overload
    def __getitem__(self, place: int) -> U: ...

    @overload
    def __getitem__(self, place: slice) -> list[U]: ...

    def __getitem__(self, place: int | slice) -> Any:
        """One unit, or those of a slice."""
        return self._units[place]

    @property
    def keys(self) -> NDArray[np.bytes_]:
        """Their content keys (P)."""
        return np.array([unit.key.encode() for unit in self._units], np.bytes_)

    def that(self, which: Mask) -> UnitList[U]:
        """Those where the mask (P) is true."""
        return UnitList([self._units[place] for place in np.flatnonzero(which).tolist()])

    def reading(self, chosen: Callable[[Snapshot], bool]) -> Mask:
        """Which of them (P) read a snapshot that is `chosen`."""
        return np.array([any(chosen(snap) for snap in unit.reads) for unit in self._units], np.bool_)

    @property
    def reads(self) -> frozenset[str]:
        """Keys of all snapshots that any of them reads."""
        return frozenset(snap.key for unit in self._units for snap in unit.reads)


def as_units(units: Sequence[U]) -> Units[U]:
    """The same units, which may be a plain list, as `Units`."""
    return units if isinstance(units, Units) else UnitList(units)
