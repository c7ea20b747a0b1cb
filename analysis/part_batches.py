"""The parts of a table, read a batch at a time: small ones together, of large ones a few columns."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pyarrow as pa

from espalier.orchestrator.store.files import Files, Misplaced
from espalier.orchestrator.store.parquet_parts import (
    OtherSchema,
    PartError,
    check_size,
    decode,
    decode_together,
)
from espalier.orchestrator.store.part_columns import PartColumns, open_columns
from espalier.tasks.plain_text import printable
from espalier.tasks.tables.schemas import SCHEMAS

BATCH_BYTES = 2**20
"""Of files, below which parts are read together."""
AT_ONCE_BYTES = 16 * 2**20
"""Of files, which take several times as much when they are decoded, that are read ahead."""
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


Read = tuple[list[pa.Table | PartColumns], dict[str, int | None]]
"""Tables, or a large part's columns, and the rows of each part that they are made of; None of one that is
gone."""


def in_turn(read: Callable[[Batch], Read], batches: Sequence[Batch], workers: int) -> Iterator[Read]:
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


def decoded_ahead(columns: Iterator[pa.Table], pool: ThreadPoolExecutor) -> Iterator[pa.Table]:
    """The columns in order, the next ones decoded while those before are put into the frame."""
    waiting = pool.submit(next, columns, None)
    while (found := waiting.result()) is not None:
        waiting = pool.submit(next, columns, None)
        yield found


def read_batch(files: Files, batch: Batch, name: str, left_out: Container[str] | None) -> Read:
    """The parts of a batch, of large ones as yet no column.

    Raises:
        ValueError: A part is damaged or does not have its table's columns; it names the part.
    """
    if len(batch) > 1:
        with suppress(OSError, PartError):  # which part it is will be found below
            table, rows = decode_together(name, [files.read(path) for path in batch])
            return [table.replace_schema_metadata(None)], dict(zip(batch, rows, strict=True))
        left_out = None  # of small parts all columns at once
    read = {path: _read_part(files, path, size, name, left_out) for path, size in batch.items()}
    counts = {path: None if part is None else len(part) for path, part in read.items()}
    return [part for part in read.values() if part is not None], counts


def _read_part(
    files: Files, path: str, size: int, name: str, left_out: Container[str] | None
) -> pa.Table | PartColumns | None:
    """The rows of a part, of a large one as yet undecoded; None if it is gone, since another has its rows."""
    with part_named(files, path, name):
        check_size(size)
        try:
            data = files.read(path)
        except FileNotFoundError:
            return None
        part = None if left_out is None else open_columns(name, data, left_out)
        return decode(name, data).replace_schema_metadata(None) if part is None else part


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
