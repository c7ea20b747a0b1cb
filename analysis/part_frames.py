"""One table of some folders as a frame: part after part, every piece of work once, while it grows too."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from espalier.analysis.frames import FrameBuilder
from espalier.analysis.part_batches import decoded_ahead, in_batches, in_turn, part_named, read_batch
from espalier.analysis.row_filters import met, parts_to_open
from espalier.analysis.shared_pieces import STUDY, Pieces, ReadPart, each_once, sweep_numbers
from espalier.analysis.sweep_folders import Sweeps
from espalier.analysis.wanted_columns import SWEEP, Wanted
from espalier.orchestrator.store.files import Files
from espalier.orchestrator.store.merging import MERGED
from espalier.orchestrator.store.part_columns import PartColumns
from espalier.orchestrator.store.table_parts import MOST_LISTINGS
from espalier.tasks.tables.schemas import SCHEMAS


def read_table(sweeps: Sweeps, asked: Wanted, *, apart: bool) -> pd.DataFrame:
    """The rows of a table, its columns in their order.

    In most folders no piece of work is in two parts, which 64 bits of each piece's name tell. Where one is,
    all is read once more, with the columns of its name.

    Args:
        sweeps: The folders.
        asked: What of the table.
        apart: Whether what two sweeps share is kept in each.
    """
    studies = len(sweeps.files) > 1 and not apart and asked.identity[:1] == (STUDY,)
    if asked.identity and not studies:
        reading = Reading(asked, apart=apart)
        if reading.add_all(sweeps, listings=1) and not reading.repeated():
            return _shown(reading.frame(), reading.parts(), sweeps, asked)
    reading = Reading(asked.with_identity(), apart=apart)
    reading.add_all(sweeps, MOST_LISTINGS)
    frame, parts = reading.frame(), reading.parts()
    if len(parts) > 1:
        once = each_once(frame, parts, asked.identity, apart=apart)
        if not once.all():  # a copy of all rows would take as much memory again
            frame = frame.take(np.flatnonzero(once)).reset_index(drop=True)
            parts = _counted(parts, once)
    return _shown(frame, parts, sweeps, asked)


def _counted(parts: Sequence[ReadPart], once: NDArray[np.bool_]) -> list[ReadPart]:
    """The parts, with the numbers of those rows that are kept."""
    ends = np.cumsum(np.concatenate([[0], once]))[np.cumsum([0, *(part.rows for part in parts)])]
    return [replace(part, rows=int(rows)) for part, rows in zip(parts, np.diff(ends), strict=True)]


def _shown(frame: pd.DataFrame, parts: Sequence[ReadPart], sweeps: Sweeps, asked: Wanted) -> pd.DataFrame:
    for name in [name for name in frame.columns if name not in asked.shown]:
        del frame[name]
    if sweeps.several:
        names = pd.CategoricalDtype([*sweeps.files])
        frame.insert(0, SWEEP, pd.Categorical.from_codes(sweep_numbers(parts), dtype=names))
    return frame


class Reading:
    """One way through the parts of a table in some folders."""

    def __init__(self, asked: Wanted, *, apart: bool) -> None:
        self._asked, self._apart = asked, apart
        self._builder = FrameBuilder(pa.schema([SCHEMAS[asked.table].field(name) for name in asked.kept]))
        self._pieces: dict[int, Pieces] = {}
        self._rows: dict[tuple[int, str], int] = {}
        self._listed: set[tuple[int, str]] = set()

    def add_all(self, sweeps: Sweeps, listings: int) -> bool:
        """Read all parts, what comes in the place of those that are gone by then too; False if some were."""
        whole = True
        for sweep, files in enumerate(sweeps.files.values()):
            whole &= self._add(sweep, files, listings)
        return whole

    def frame(self) -> pd.DataFrame:
        """All rows that were read, in the order of folders and parts."""
        return self._builder.frame()

    def parts(self) -> list[ReadPart]:
        """The parts that were read, in that order."""
        return [
            ReadPart(part[0], rows, part in self._listed, MERGED in part[1])
            for part, rows in self._rows.items()
        ]

    def repeated(self) -> bool:
        """Whether a piece of work is in two parts."""
        return any(pieces.repeated() for pieces in self._pieces.values())

    def _add(self, sweep: int, files: Files, listings: int) -> bool:
        asked, gone = self._asked, list[str]()
        listed = parts_to_open(files, asked.table, asked.filters)
        for _ in range(listings):
            parts = {path: size for path, size in listed.items() if (sweep, path) not in self._rows}
            gone = self._add_parts(sweep, files, parts)
            if not gone:
                break
            for path in gone:
                del self._rows[sweep, path]
            listed = parts_to_open(files, asked.table, asked.filters)
        self._listed |= {(sweep, path) for path in listed}
        return not gone

    def _add_parts(self, sweep: int, files: Files, parts: Mapping[str, int]) -> list[str]:
        """Put parts into the frame. Gives those that are gone by now."""
        asked, gone = self._asked, list[str]()
        cores = os.cpu_count() or 1
        workers = 8 * cores if "://" in files.root else cores  # of objects the time is the round trips
        batches = list(in_batches(parts, -(-len(parts) // (4 * workers))))
        before, whole, done = sum(self._rows.values()), sum(parts.values()), 0
        read = in_turn(lambda batch: read_batch(files, batch, asked), batches, workers, asked.share)
        # one thread decodes, so that the memory that a column gave up is what the next one takes
        with ThreadPoolExecutor(1) as decoding:
            for batch, (found, counts) in zip(batches, read, strict=True):
                gone += [path for path, count in counts.items() if count is None]
                self._rows |= {(sweep, path): count or 0 for path, count in counts.items()}
                done += sum(batch.values())
                rows = sum(self._rows.values())
                self._builder.expect(before + round(1.05 * (rows - before) * whole / max(1, done)))
                if isinstance(found, PartColumns):  # given up once it is in the frame
                    (path,) = batch
                    with part_named(files, path, asked.table):
                        self._rows[sweep, path] = self._add_columns(sweep, found, decoding)
                else:
                    self._add_rows(sweep, found, [count for count in counts.values() if count is not None])
        return gone

    def _add_rows(self, sweep: int, tables: list[pa.Table], counts: Sequence[int]) -> None:
        """Put rows into the frame: a table of each part, or one of several parts of so many rows."""
        together = counts if len(tables) == 1 else ()
        while tables:  # each given up once it is in the frame, before another large one is read
            rows = tables.pop(0)
            self._pieces_of(sweep).add(rows, together)
            self._builder.add(rows.select(self._builder.columns))

    def _pieces_of(self, sweep: int) -> Pieces:
        return self._pieces.setdefault(sweep if self._apart else 0, Pieces(self._asked.identity))

    def _add_columns(self, sweep: int, part: PartColumns, decoding: ThreadPoolExecutor) -> int:
        """Put the rows of a large part that meet the conditions into the frame. Gives their number."""
        columns = decoded_ahead(part.columns, decoding)
        if not self._asked.first:
            self._builder.add_columns(columns)
            return len(part)
        first = next(columns)
        kept_R = met(first, self._asked.filters)
        if not (rows := int(np.count_nonzero(kept_R))):
            return 0
        self._pieces_of(sweep).add(first)
        mask = None if rows == len(part) else pa.array(kept_R)
        self._builder.add_columns(self._kept(some, mask) for some in chain([first], columns))
        return rows

    def _kept(self, some: pa.Table, mask: pa.Array | None) -> pa.Table:
        some = some.select([name for name in some.column_names if name in self._asked.kept])
        return some if mask is None else some.filter(mask)
