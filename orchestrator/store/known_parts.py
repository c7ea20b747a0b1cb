"""What is known of a table's parts by having read or written them, and what that asks for next."""

from __future__ import annotations

from espalier.orchestrator.store.files import TABLES, Files
from espalier.orchestrator.store.merging import TOGETHER, Bucket, bucket
from espalier.orchestrator.store.part_ranges import partition
from espalier.orchestrator.store.remembered_parts import KnownPart, remember

NEW_PARTS, NEW_BYTES, NEW_SHARE = 64, 16 * 2**20, 8
"""What is known is written down once so many parts, or so many bytes, are new, or one part in so many if that
is more: a start after a crash reads no more than that."""


class KnownParts:
    """The known parts of one table in `files`."""

    def __init__(self, files: Files, table: str) -> None:
        self._files, self._table = files, table
        self._known: dict[str, KnownPart] = {}
        self._bytes = self._new_bytes = 0
        self._new: set[str] = set()  # of which nothing is written down
        self._unsettled = 0  # of them, those that could not be when the others were
        self._buckets: dict[Bucket, set[str]] = {}
        self._full: list[Bucket] = []

    def add(self, name: str, part: KnownPart, new: bool = True) -> None:
        """Take note of a part; `new` if it is not written down."""
        self._known[name] = part
        self._bytes += part.stamp.size
        if new:
            self._new.add(name)
            self._new_bytes += part.stamp.size
        if (place := bucket(self._table, part.stamp.size, part.ranges)) is not None:
            self._buckets.setdefault(place, set()).add(name)
            if len(self._buckets[place]) == TOGETHER:
                self._full.append(place)

    def forget(self, name: str) -> None:
        """The part is gone, or is no longer what it was."""
        self._new.discard(name)
        if part := self._known.pop(name, None):
            self._bytes -= part.stamp.size

    def clear(self) -> None:
        """All parts are gone."""
        for name in list(self._known):
            self.forget(name)
        self._buckets, self._full = {}, []

    def to_merge(self) -> list[str]:
        """The names of parts that should become one; each is named once."""
        if not self._full:
            return []
        place = self._full.pop()
        names = sorted(self._buckets[place])
        self._buckets[place] = set(names[TOGETHER:])
        if len(names) >= 2 * TOGETHER:
            self._full.append(place)
        return [name for name in names[:TOGETHER] if name in self._known]

    def partition(self, name: str) -> tuple[int, ...] | None:
        """The width and epoch of all rows of a part; None if they have several, or it is not known."""
        part = self._known.get(name)
        return partition(self._table, part.ranges) if part else None

    def write_down_if_due(self) -> None:
        """Write down what is known, where enough of it is new."""
        parts = max(NEW_PARTS, len(self._known) // NEW_SHARE)
        size = max(NEW_BYTES, self._bytes // NEW_SHARE)
        if len(self._new) < self._unsettled + parts and self._new_bytes < size:
            return
        listed = self._files.stamps(f"{TABLES}/{self._table}")
        sure = {
            name: part
            for name, part in self._known.items()
            if listed.get(name) == part.stamp and self._files.settled(part.stamp)
        }
        remember(self._files, self._table, sure)
        self._new -= sure.keys()
        self._unsettled, self._new_bytes = len(self._new), 0
