"""The result tables of a sweep folder as pandas frames, every page's checksum verified."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from shlex import quote

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa

from espalier.analysis.frames import FrameBuilder
from espalier.orchestrator.planning.kinds.registry import know_tables
from espalier.orchestrator.store.files import TABLES, Files, Misplaced
from espalier.orchestrator.store.parquet_parts import (
    OtherSchema,
    PartError,
    check_size,
    decode,
    decode_together,
)
from espalier.orchestrator.store.places import open_files
from espalier.tasks.plain_text import printable
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


def load(folder: str | os.PathLike[str]) -> Tables:
    """Read all tables of a sweep folder, finished or still running.

    Args:
        folder: The sweep's folder: a local path, or any URL that fsspec opens (`s3://...`).

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: A part is damaged or does not have its table's columns; the error names it.
    """
    filesystem, root = fsspec.url_to_fs(os.fspath(folder))
    if not filesystem.isdir(root):
        raise FileNotFoundError(
            f"no sweep folder at '{folder}'; `espalier new {quote(str(folder))}` makes one"
        )
    know_tables()
    files = open_files(os.fspath(folder))
    frames = {name: _read_table(files, name) for name in SCHEMAS}
    named = {name: frames.pop(name) for name in Tables.__dataclass_fields__ if name in frames}
    return Tables(**named, more=frames)


def _read_table(files: Files, name: str) -> pd.DataFrame:
    sizes = files.sizes(f"{TABLES}/{name}")
    parts = {f"{TABLES}/{name}/{part}": sizes[part] for part in sizes if part.endswith(".parquet")}
    builder, rows = FrameBuilder(SCHEMAS[name]), list[int]()
    cores = os.cpu_count() or 1
    workers = 8 * cores if "://" in files.root else cores  # on object storage the time is the round trips
    batches = list(_batches(parts, -(-len(parts) // (4 * workers))))
    for tables, counts in _in_turn(lambda batch: _read_batch(files, batch, name), batches, workers):
        rows += counts
        read = sum(list(parts.values())[: len(rows)])
        builder.expect(round(1.05 * sum(rows) * sum(parts.values()) / read))
        while tables:  # each given up once it is in the frame, before another large one is read
            builder.add(tables.pop(0))
    return _each_once(builder.frame(), rows, ROW_IDENTITY.get(name, ()))


BATCH_BYTES = 2**20
"""Of files, below which parts are read together."""
AT_ONCE_BYTES = 16 * 2**20
"""Of files, which take several times as much when they are decoded, that are read ahead."""
Batch = dict[str, int]
"""Parts that follow each other, and their bytes."""


def _batches(parts: Mapping[str, int], at_most: int) -> Iterator[Batch]:
    """Runs of small parts, and each large one by itself."""
    batch: Batch = {}
    for path, size in parts.items():
        if batch and (len(batch) == at_most or sum(batch.values()) + size > BATCH_BYTES):
            yield batch
            batch = {}
        batch[path] = size
    if batch:
        yield batch


Read = tuple[list[pa.Table], list[int]]
"""Tables, and the rows of each part that they are made of."""


def _in_turn(read: Callable[[Batch], Read], batches: Sequence[Batch], workers: int) -> Iterator[Read]:
    """The batches in order, some read ahead."""
    largest = max([1, *(sum(batch.values()) for batch in batches)])
    ahead = max(1, min(8 * workers, AT_ONCE_BYTES // largest))
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Read]] = deque()
        for batch in batches:
            waiting.append(pool.submit(read, batch))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _read_batch(files: Files, batch: Batch, name: str) -> Read:
    if len(batch) > 1:
        with suppress(OSError, PartError):  # which part it is will be found below
            table, rows = decode_together(name, [files.read(path) for path in batch])
            return [table.replace_schema_metadata(None)], rows
    tables = [_read_part(files, path, size, name) for path, size in batch.items()]
    return tables, [table.num_rows for table in tables]


def _read_part(files: Files, path: str, size: int, name: str) -> pa.Table:
    schema, place = SCHEMAS[name], printable(f"{files.root}/{path}")
    try:
        check_size(size)
        part = decode(name, files.read(path), shared=True)
    except OtherSchema as error:
        told = _at_odds(error.found, schema)
        raise ValueError(f"{place} is not a part of table '{name}': {told}; {_CURE}") from error
    except (OSError, PartError) as error:
        found = error.what if isinstance(error, Misplaced) else str(error).strip().split("\n")[0]
        raise ValueError(f"cannot read {place}: {found}; {_CURE}") from error
    return part.replace_schema_metadata(None)


_CURE = "move it away, and `espalier run FOLDER` recomputes its rows"


def _at_odds(found: pa.Schema, wanted: pa.Schema) -> str:
    missing = [field.name for field in wanted if field.name not in found.names]
    extra = [field.name for field in found if field.name not in wanted.names]
    kinds = [
        f"{field.name} is {found.field(field.name).type}, not {field.type}"
        for field in wanted
        if field.name in found.names and found.field(field.name).type != field.type
    ]
    return f"columns missing {missing}, unknown {extra}, of another type {kinds}"


def _each_once(frame: pd.DataFrame, part_rows: list[int], identity: tuple[str, ...]) -> pd.DataFrame:
    """Keep each piece of work from the first part that holds it.

    While parts are being merged, a reader can see a row both in its own part and in the merged one.
    """
    if not identity or len(part_rows) < 2:
        return frame
    part = pd.Series(np.repeat(np.arange(len(part_rows)), part_rows), index=frame.index)
    first = part.groupby([frame[column] for column in identity]).transform("min")
    once = (part == first).to_numpy()
    if once.all():  # a copy of all rows would take as much memory again
        return frame
    return frame.take(np.flatnonzero(once)).reset_index(drop=True)
