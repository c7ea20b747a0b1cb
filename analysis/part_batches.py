"""The parts of a table, read a batch at a time: small ones together, of large ones a few columns."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import chain

import numpy as np
import pyarrow as pa

from espalier.analysis.row_filters import met
from espalier.analysis.wanted_columns import Wanted
from espalier.orchestrator.store.files import Files, Misplaced
from espalier.orchestrator.store.parquet_parts import (
    OtherSchema,
    PartError,
    check_size,
    decode,
    decode_together,
)
from espalier.orchestrator.store.part_columns import PartColumns, open_columns, read_columns
from espalier.tasks.plain_text import printable
from espalier.tasks.tables.schemas import SCHEMAS

BATCH_BYTES = 2**20
"""Of files, below which parts are read together."""
AT_ONCE_BYTES = 16 * 2**20
"""Of files, which take several times as much when they are decoded, that are read ahead."""
SPARSE_BYTES = 2**20
"""Of files, from which on columns that are not asked for are not read: of smaller ones it takes longer to ask
for some bytes than to read them all."""
Batch = dict[str, int]
"""Parts that follow each other, and their bytes."""


def in_batches(parts: Mapping[str, int], at_most: int) -> Iterator[Batch]:
    """Runs of small parts, and each large one by itself."""
    batch: Batch = {}
    for path, size in parts.items():
        if batch and (len(batch) == at_most or sum(batch.values()) + size > BATCH_BYTES):
            yield batch
            batch = {}
        batch[path] = size
    if batch:
        yield batch


Read = tuple[list[pa.Table] | PartColumns, dict[str, int | None]]
"""Tables, one of all parts or one of each, or a large part's columns; and the rows of each part that they are
made of, None of one that is gone."""


def in_turn(
    read: Callable[[Batch], Read], batches: Sequence[Batch], workers: int, share: float = 1.0
) -> Iterator[Read]:
    """The batches in order, some read ahead; `share` is about how much of each part is read."""
    largest = max([1, *(round(share * sum(batch.values())) for batch in batches)])
    ahead = max(1, min(8 * workers, AT_ONCE_BYTES // largest))
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Read]] = deque()
        for batch in batches:
            waiting.append(pool.submit(read, batch))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def decoded_ahead(columns: Iterator[pa.Table], pool: ThreadPoolExecutor) -> Iterator[pa.Table]:
    """The columns in order, the next ones decoded while those before are put into the frame."""
    waiting = pool.submit(next, columns, None)
    while (found := waiting.result()) is not None:
        waiting = pool.submit(next, columns, None)
        yield found


def read_batch(files: Files, batch: Batch, asked: Wanted) -> Read:
    """The parts of a batch: of small ones the rows that are asked for, of large ones as yet no column.

    Raises:
        ValueError: A part is damaged or does not have its table's columns; it names the part.
    """
    if len(batch) > 1:
        with suppress(OSError, PartError):  # which part it is will be found below
            table, rows = decode_together(asked.table, [files.read(path) for path in batch])
            table, counts = _kept(table, rows, asked)
            return [table], dict(zip(batch, counts, strict=True))
    read = {path: _read_part(files, path, size, asked, whole=len(batch) > 1) for path, size in batch.items()}
    counts = {path: None if part is None else len(part) for path, part in read.items()}
    for part in read.values():
        if isinstance(part, PartColumns):
            return part, counts
    return [part for part in read.values() if isinstance(part, pa.Table)], counts


def _read_part(
    files: Files, path: str, size: int, asked: Wanted, *, whole: bool
) -> pa.Table | PartColumns | None:
    """The rows of a part, of a large one as yet undecoded; None if it is gone, since another has its rows."""
    with part_named(files, path, asked.table):
        check_size(size)
        sparse = not (whole or asked.verified or size < SPARSE_BYTES)
        try:
            if sparse and (part := _without_the_rest(files, path, size, asked)) is not None:
                return part
            data = files.read(path)
        except FileNotFoundError:
            return None
        part = None if whole else _begun(open_columns(asked.table, data, asked.left_out, asked.first), asked)
        return _kept(decode(asked.table, data), (), asked)[0] if part is None else part


def _without_the_rest(files: Files, path: str, size: int, asked: Wanted) -> PartColumns | None:
    """A large part of which the columns that are asked for alone are read; None of any other part."""
    columns = [name for name in SCHEMAS[asked.table].names if name not in asked.left_out]
    with suppress(ValueError):  # what is wrong with the file is told by who reads it whole
        data = read_columns(files, path, size, columns)
        return _begun(open_columns(asked.table, data, asked.left_out, asked.first, absent=True), asked)
    return None


def _begun(part: PartColumns | None, asked: Wanted) -> PartColumns | None:
    """A part whose first columns are decoded already, while the frame is made of the part before."""
    if part is None or not asked.first:
        return part
    return PartColumns(part.rows, chain([next(part.columns)], part.columns))


def _kept(rows: pa.Table, counts: Sequence[int], asked: Wanted) -> tuple[pa.Table, list[int]]:
    """The rows that meet the conditions, and how many of each of the parts that they are from."""
    rows = rows.replace_schema_metadata(None)
    if not asked.filters:
        return rows, list(counts)
    kept_R = met(rows, asked.filters)
    ends = np.cumsum(np.concatenate([[0], kept_R]))[np.cumsum([0, *counts])]
    return rows.filter(pa.array(kept_R)), np.diff(ends).tolist()


@contextmanager
def part_named(files: Files, path: str, name: str) -> Iterator[None]:
    """Whatever is wrong with a part, as a `ValueError` that names it."""
    schema, place = SCHEMAS[name], printable(f"{files.root}/{path}")
    try:
        yield
    except OtherSchema as error:
        told = _at_odds(error.found, schema)
        raise ValueError(f"{place} is not a part of table '{name}': {told}; {_CURE}") from error
    except (OSError, PartError) as error:
        found = error.what if isinstance(error, Misplaced) else str(error).strip().split("\n")[0]
        raise ValueError(f"cannot read {place}: {found}; {_CURE}") from error


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
