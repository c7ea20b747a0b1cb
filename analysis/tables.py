"""The result tables of a sweep folder as pandas frames, every page's checksum verified."""

from __future__ import annotations

import os
from collections.abc import Container, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from shlex import quote

import numpy as np
import pandas as pd
import pyarrow as pa

from espalier.analysis.frames import FrameBuilder
from espalier.analysis.part_batches import decoded_ahead, in_batches, in_turn, part_named, read_batch
from espalier.analysis.row_filters import check_filters, meeting, of_table, parts_to_open
from espalier.orchestrator.planning.kinds.registry import know_tables
from espalier.orchestrator.store.files import Files
from espalier.orchestrator.store.merging import MERGED
from espalier.orchestrator.store.part_columns import PartColumns
from espalier.orchestrator.store.part_ranges import Filters
from espalier.orchestrator.store.places import open_files
from espalier.orchestrator.store.table_parts import MOST_LISTINGS
from espalier.tasks.tables.image_blocks import WIDE_COLUMNS
from espalier.tasks.tables.schemas import ROW_IDENTITY, SCHEMAS


@dataclass(frozen=True, eq=False)
class Tables:
    """The tables of one sweep; docs/tables.md gives each column's meaning and unit.

    A table of which nothing is written yet is a frame without rows that has the schema's columns. Tables of
    further kinds of work are in `more`, and are attributes like the others.
    """

    nets: pd.DataFrame
    grafts: pd.DataFrame
    downstream: pd.DataFrame
    curves: pd.DataFrame
    ridges: pd.DataFrame
    exchangeability: pd.DataFrame
    hybrids: pd.DataFrame
    trials: pd.DataFrame
    trial_curves: pd.DataFrame
    tuned: pd.DataFrame
    jobs: pd.DataFrame
    more: Mapping[str, pd.DataFrame] = field(default_factory=dict[str, pd.DataFrame])

    def __getattr__(self, name: str) -> pd.DataFrame:
        """A table of a further kind of work."""
        more = self.__dict__.get("more", {})
        if name not in more:
            raise AttributeError(f"there is no table '{name}'; there are {', '.join(SCHEMAS)}")
        return more[name]

    def frames(self) -> dict[str, pd.DataFrame]:
        """All tables by name."""
        named = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "more"}
        return named | dict(self.more)


def load(folder: str | os.PathLike[str], filters: Filters = (), *, image_blocks: bool = False) -> Tables:
    """Read all tables of a sweep folder, finished or still running.

    Args:
        folder: The sweep's folder: a local path, or a URL such as `s3://bucket/sweep`.
        filters: Conditions that all rows meet, as `[("target_width", ">=", 16), ("null", "==", "none")]`.
            Each holds for those tables that have its column. Of widths and epochs it is remembered which
            parts have which, so that the others are not opened.
        image_blocks: Whether `grafts` gets its columns `drop_by_block` and `fvu_by_block`: 192 bytes a row,
            which the held-out images' part of an error alone needs. Without the first the error of an
            accuracy drop is an upper bound, without the second nothing is known of that of an FVU
            (docs/method.md, section 5).

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: A part is damaged or does not have its table's columns, and the error names it; or a
            filter is none.
    """
    files = open_files(os.fspath(folder))
    if not files.is_there():
        raise FileNotFoundError(
            f"no sweep folder at '{folder}'; `espalier new {quote(str(folder))}` makes one"
        )
    know_tables()
    check_filters(filters)
    left_out = () if image_blocks else WIDE_COLUMNS
    frames = {name: _read_table(files, name, of_table(filters, name), left_out) for name in SCHEMAS}
    named = {name: frames.pop(name) for name in Tables.__dataclass_fields__ if name in frames}
    return Tables(**named, more=frames)


def _read_table(files: Files, name: str, filters: Filters, left_out: Container[str]) -> pd.DataFrame:
    kept = pa.schema([field for field in SCHEMAS[name] if field.name not in left_out])
    builder, rows = FrameBuilder(kept), dict[str, int]()
    listed = parts_to_open(files, name, filters)
    for _ in range(MOST_LISTINGS):
        parts = {path: size for path, size in listed.items() if path not in rows}
        gone = _add_parts(files, name, parts, builder, rows)
        if not gone:
            break
        for path in gone:
            del rows[path]
        listed = parts_to_open(files, name, filters)
    frame = builder.frame()
    return meeting(_each_once(frame, rows, listed, ROW_IDENTITY.get(name, ())), filters)


def _add_parts(
    files: Files, name: str, parts: Mapping[str, int], builder: FrameBuilder, rows: dict[str, int]
) -> list[str]:
    """Put parts into the builder and their numbers of rows into `rows`. Gives those that are gone by now."""
    gone = list[str]()
    cores = os.cpu_count() or 1
    workers = 8 * cores if "://" in files.root else cores  # on object storage the time is the round trips
    batches = list(in_batches(parts, -(-len(parts) // (4 * workers))))
    before, whole, done = sum(rows.values()), sum(parts.values()), 0
    left_out = [column for column in SCHEMAS[name].names if column not in builder.columns]
    read = in_turn(lambda batch: read_batch(files, batch, name, left_out), batches, workers)
    # one thread decodes, so that the memory that a column gave up is what the next one takes
    with ThreadPoolExecutor(1) as decoding:
        for batch, (tables, counts) in zip(batches, read, strict=True):
            gone += [path for path, count in counts.items() if count is None]
            rows |= {path: count or 0 for path, count in counts.items()}
            done += sum(batch.values())
            builder.expect(before + round(1.05 * (sum(rows.values()) - before) * whole / max(1, done)))
            while tables:  # each given up once it is in the frame, before another large one is read
                _add_part(files, next(iter(batch)), name, tables.pop(0), builder, decoding)
    return gone


def _add_part(
    files: Files,
    path: str,
    name: str,
    part: pa.Table | PartColumns,
    builder: FrameBuilder,
    decoding: ThreadPoolExecutor,
) -> None:
    if not isinstance(part, PartColumns):
        return builder.add(part.select(builder.columns))
    with part_named(files, path, name):
        return builder.add_columns(decoded_ahead(part.columns, decoding))


def _each_once(
    frame: pd.DataFrame, rows: Mapping[str, int], listed: Container[str], identity: tuple[str, ...]
) -> pd.DataFrame:
    """Keep each piece of work from the first part that holds it.

    While parts are being merged, a reader can see a row both in its own part and in the merged one. `rows`
    are the parts' numbers of rows; those of a part that is no longer `listed` are in one that is.
    """
    if len(rows) < 2:
        return frame
    part = pd.Series(np.repeat(np.arange(len(rows)), list(rows.values())), index=frame.index)
    once = np.array([path in listed for path in rows])[part]
    if identity:
        kept = part.where(once, len(rows))
        first = kept.groupby([frame[column] for column in identity]).transform("min")
        once &= (kept == first).to_numpy()
    elif any(MERGED in path for path in rows):
        once &= ~frame.duplicated().to_numpy()
    if once.all():  # a copy of all rows would take as much memory again
        return frame
    return frame.take(np.flatnonzero(once)).reset_index(drop=True)
