"""The parts of one table: verified, published, read and merged."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import count

import numpy as np
import pyarrow as pa

from espalier.orchestrator.store.files import TABLES, Files, Misplaced, Stamp, printable
from espalier.orchestrator.store.inventory import Inventory
from espalier.orchestrator.store.known_parts import KnownParts
from espalier.orchestrator.store.merging import MERGED, groups, merged, ordered, replaced, together
from espalier.orchestrator.store.parquet_parts import PartError, check_size, decode, encode, pieces
from espalier.orchestrator.store.part_ranges import ranges
from espalier.orchestrator.store.remembered_parts import KnownPart, recall

KEPT_BYTES = 16 * 2**20
"""On disk, up to which a table that was scanned need not be read again."""
PART_BYTES = 128 * 2**20
"""In memory, that a part takes at most that others were merged into."""
MOST_LISTINGS = 100
"""Of a folder whose parts are merged while it is read."""


class TableParts:
    """The parts of a table in `files`; what they hold is counted in `inventory`, problems are told there."""

    def __init__(self, files: Files, table: str, inventory: Inventory) -> None:
        self._files, self._table, self._inventory = files, table, inventory
        self._folder = f"{TABLES}/{table}"
        self._kept: dict[str, pa.Table] = {}  # parts that the scan has read, for `read`
        self._known = KnownParts(files, table)
        self._replaced: dict[str, str] = {}  # by merged parts: name to SHA-256
        self._share_rows = False  # some merged parts do, so that one replaced another

    def scan(self, repair: bool, everything: bool = False) -> None:
        """Verify the parts that are not as they were when they were verified last (or `everything`)."""
        told = len(self._inventory.problems)
        for _ in range(MOST_LISTINGS):
            if self._scan(repair, everything):
                break
            # Parts that were merged meanwhile are gone, and others have their rows; or some of those that
            # were looked at do not count: begin anew.
            self._inventory.forget(self._table)
            if not repair:  # else what was put aside is not met again
                del self._inventory.problems[told:]
            self._known, self._kept, self._replaced = KnownParts(self._files, self._table), {}, {}
        if repair:
            self._known.write_down_if_due()

    def _scan(self, repair: bool, everything: bool) -> bool:
        """Look at all that is listed; False if that has to begin anew."""
        earlier = {} if everything else recall(self._files, self._table)
        listed = self._files.stamps(self._folder)
        keep = sum(stamp.size for stamp in listed.values()) <= KEPT_BYTES
        trusted = {name: part for name, part in earlier.items() if listed.get(name) == part.stamp}
        rest = [name for name in listed if name not in trusted]
        first = [name for name in rest if name.startswith(MERGED)]
        if not self._scan_merged({name: listed[name] for name in first}, repair, keep):
            return False
        unsure = trusted.keys() & self._replaced.keys()
        self._trust({name: part for name, part in trusted.items() if name not in unsure})
        last = [*sorted(unsure), *(name for name in rest if not name.startswith(MERGED))]
        return all(self._scan_part(name, listed[name], repair, keep) for name in last)

    def _scan_merged(self, listed: Mapping[str, Stamp], repair: bool, keep: bool) -> bool:
        """Look at merged parts; False if that has to begin anew.

        One may have replaced another that is still there, since a merge was cut off or goes on now, and whose
        name comes first. Only then what each replaces is read before any of them counts.
        """
        if self._share_rows:
            self._learn_replaced(listed)
        counted = set[str]()
        for name, stamp in listed.items():
            if not self._scan_part(name, stamp, repair, keep):
                return False
            if name not in self._replaced:
                counted.add(name)
            if not self._share_rows and counted & self._replaced.keys():
                self._share_rows = True
                return False
        return True

    def _learn_replaced(self, names: Iterable[str]) -> None:
        """Take note of what some merged parts replace; what cannot be read is told when it is scanned."""
        for name in names:
            with suppress(PartError, FileNotFoundError):
                self._replaced |= replaced(self._read(f"{self._folder}/{name}")[1])

    def _trust(self, parts: dict[str, KnownPart]) -> None:
        for name, part in parts.items():
            self._known.add(name, part, new=False)
        rows = sum(part.rows for part in parts.values())
        codes = np.concatenate([np.empty(0, "S1"), *(part.codes for part in parts.values())])
        self._inventory.count_codes(self._table, rows, codes)

    def _scan_part(self, name: str, stamp: Stamp, repair: bool, keep: bool) -> bool:
        """Take note of a part's rows; False if it is gone, or shares rows and may have been replaced."""
        path = f"{self._folder}/{name}"
        try:
            data, rows = self._read(path, stamp.size)
        except FileNotFoundError:
            return False
        except PartError as error:
            self._put_aside(path, str(error), "its rows will be computed again", repair)
            return True
        self._replaced |= replaced(rows)
        fresh = self._inventory.fresh(self._table, rows)
        if self._is_replaced(name, data):
            if repair:
                self._files.remove(path)
        elif fresh.num_rows < rows.num_rows:
            if name.startswith(MERGED) and not self._share_rows:
                self._share_rows = True
                return False
            self._part_with(path, fresh, repair)
        else:
            self._count(name, stamp if self._files.settled(stamp) else None, rows)
            if keep:
                self._kept[name] = rows
        return True

    def _part_with(self, path: str, fresh: pa.Table, repair: bool) -> None:
        """Of a part that repeats pieces of others only the fresh rows stay."""
        if repair:
            # they are published before the part goes: a crash repeats this step
            self.publish(f"rest-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}", fresh)
        else:
            self._inventory.count(self._table, fresh)
        self._put_aside(path, "some of its rows are in other parts too", "each was kept once", repair)

    def _is_replaced(self, name: str, data: bytes) -> bool:
        return name in self._replaced and hashlib.sha256(data).hexdigest() == self._replaced[name]

    def _read(self, path: str, size: int = 0) -> tuple[bytes, pa.Table]:
        """Bytes and rows of a part whose file is listed with so many bytes."""
        try:
            check_size(size)
            data = self._files.read(path)
        except Misplaced as error:
            raise PartError(error.what) from error
        return data, decode(self._table, data)

    def _put_aside(self, path: str, what: str, cure: str, repair: bool) -> None:
        place = f"moved to {printable(self._files.quarantine(path))}" if repair else "left in place"
        self._inventory.problems.append(f"{printable(path)}: {what}; {place}; {cure}")

    def _count(self, name: str, stamp: Stamp | None, rows: pa.Table) -> None:
        """Take note of rows that are there now, in a part of that name; without a stamp it is not known."""
        codes = self._inventory.count(self._table, rows)
        if stamp is not None and codes is not None:
            self._known.add(name, KnownPart(stamp, rows.num_rows, ranges(rows), codes))

    def publish(self, part_name: str, rows: pa.Table) -> int:
        """Write the rows of `rows` that are not there, as a part of that name or of the next free one."""
        for number in count(1):
            fresh = self._inventory.fresh(self._table, rows)
            if not fresh.num_rows:
                return 0
            name = f"{part_name}-{number}.parquet" if number > 1 else f"{part_name}.parquet"
            path = f"{self._folder}/{name}"
            if self._files.publish(path, encode(self._table, fresh)):
                self._count(name, self._files.stamp(path), fresh)
                return fresh.num_rows
            # A crash, or an error after the last step, left it: what it holds need not be written.
            self._absorb(path)
        raise AssertionError("unreachable: count() does not end")

    def _absorb(self, path: str) -> None:
        try:
            rows = self._read(path)[1]
        except PartError as error:
            self._put_aside(path, str(error), "its rows will be computed again", repair=True)
        else:
            self._inventory.count(self._table, self._inventory.fresh(self._table, rows))

    def tidy(self) -> None:
        """Merge some parts, and write down what is known, where enough of either has come together."""
        if names := self._known.to_merge():
            self._merge(names)
        self._known.write_down_if_due()

    def _merge(self, names: list[str]) -> int:
        """Publish one part of the rows of these, or of as many as it may have; then remove them.

        Gives how many of the names need not be looked at again.
        """
        sources, size = dict[str, tuple[bytes, pa.Table]](), 0
        for name in names:
            try:
                data, rows = self._read(f"{self._folder}/{name}")
            except (PartError, FileNotFoundError):  # changed by somebody: the next start says so
                self._forget(name)
                continue
            size += rows.nbytes
            if size > PART_BYTES:
                break
            sources[name] = data, rows
        if len(sources) < 2:
            return 1
        rows = merged(self._table, sources)
        data = encode(self._table, rows)
        name = f"{MERGED}{_digest(data)}.parquet"
        self._files.publish(f"{self._folder}/{name}", data)
        for source in sources:
            self._forget(source)
            self._files.remove(f"{self._folder}/{source}")
        self._know_own(name, rows)
        return len(sources)

    def _forget(self, name: str) -> None:
        self._kept.pop(name, None)
        self._known.forget(name)

    def _know_own(self, name: str, rows: pa.Table) -> None:
        """Take note of a part that we wrote, whose rows count already."""
        codes = self._inventory.codes(self._table, rows)
        if codes is not None:
            stamp = self._files.stamp(f"{self._folder}/{name}")
            self._known.add(name, KnownPart(stamp, rows.num_rows, ranges(rows), codes))

    def read(self, skip_broken: bool = False) -> pa.Table:
        """All rows, part by part in the order of their names; see `Store.read_table`."""
        found, listed = dict[str, pa.Table | None](), dict[str, Stamp]()
        for _ in range(MOST_LISTINGS):
            listed = self._files.stamps(self._folder)
            for name in sorted(listed.keys() - found.keys(), key=lambda name: not name.startswith(MERGED)):
                try:
                    found[name] = self._rows(name, listed[name], skip_broken)
                except FileNotFoundError:
                    continue  # merged meanwhile: look again
            if found.keys() >= listed.keys():
                break
        parts = {name: rows for name, rows in found.items() if rows is not None and name in listed}
        return together(
            self._table, [parts[name] for name in sorted(parts) if not self._is_replaced_now(name)]
        )

    def _is_replaced_now(self, name: str) -> bool:
        """Whether a part that was read is one that another, which was read after it, replaces."""
        if name not in self._replaced:
            return False
        with suppress(PartError, FileNotFoundError):
            return self._is_replaced(name, self._read(f"{self._folder}/{name}")[0])
        return True  # it is gone since, so that the other one has its rows

    def _rows(self, name: str, stamp: Stamp, skip_broken: bool) -> pa.Table | None:
        """The rows of a part; None if others have them, or it is broken and may be skipped."""
        if name in self._kept:
            return self._kept[name]
        try:
            data, rows = self._read(f"{self._folder}/{name}", stamp.size)
        except PartError as error:
            if skip_broken:
                return None
            place = f"{self._files.root}/{self._folder}/{printable(name)}"
            raise PartError(f"{place}: {error}; `espalier run` moves it away") from error
        self._replaced |= replaced(rows)
        return None if self._is_replaced(name, data) else rows

    def compact(self, part_bytes: int) -> int:
        """See `Store.compact`; gives the number of files afterwards."""
        if not self._files.swaps:
            return self._merge_all()
        parted = groups(self._table, ordered(self._table, self.read()))
        cut = [piece for group in parted for piece in pieces(self._table, group, part_bytes)]
        encoded = [encode(self._table, piece) for piece in cut]
        files = {f"compact-{_digest(data)}.parquet": data for data in encoded}
        if sorted(files) != self._files.list(self._folder):
            self._files.swap(self._folder, files)
            self._known.clear()
            self._kept = {}
            for name, piece in zip(files, cut, strict=True):
                self._know_own(name, piece)
        return len(files)

    def _merge_all(self) -> int:
        """Merge all parts of one width and epoch, where no folder can be swapped."""
        parted: dict[tuple[int, ...] | None, list[str]] = {}
        for name in self._files.list(self._folder):
            parted.setdefault(self._known.partition(name), []).append(name)
        for names in parted.values():
            while len(names) > 1:
                names = names[self._merge(names) :]
        return len(self._files.list(self._folder))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
