"""A large part's columns, decoded a few at a time: never a whole part in memory beside what is made of it."""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from espalier.orchestrator.store.files import Files
from espalier.orchestrator.store.parquet_parts import (
    PartError,
    PartFile,
    check_footer,
    check_size,
    check_swelling,
    is_small,
    text_bytes,
    told,
)
from espalier.tasks.parquet_pages import PageError, footer_bytes, places
from espalier.tasks.tables.schemas import SCHEMAS
from espalier.tasks.thrift_structs import Bytes

TOGETHER = 4
"""Columns that are decoded at once: what is given up by one bunch is what the next one takes."""
TAIL_BYTES = 2**16
"""At a file's end, that are read first: the footer of most parts."""
APART_BYTES = 2**16
"""Between two ranges of a file, from which on they are read one by one."""


@dataclass(frozen=True, eq=False)
class PartColumns:
    """A part that has been looked at and not yet decoded.

    Attributes:
        rows: What its footer counts, and each column has.
        columns: The columns, a few at once; texts are dictionaries. It raises `PartError` where a page is not
            what was written.
    """

    rows: int
    columns: Iterator[pa.Table]

    def __len__(self) -> int:
        return self.rows


def open_columns(
    table: str, data: Bytes, left_out: Collection[str], first: Sequence[str] = (), *, absent: bool = False
) -> PartColumns | None:
    """The columns of a part but for some, of which the checksums alone are looked at.

    None of a part that has other columns than its table, or is small: those are read by `decode`.

    Args:
        table: The part's table.
        data: The part.
        left_out: The columns that are not decoded.
        first: Columns that come before all others, all at once.
        absent: Whether what is left out is not in `data` either (`read_columns`), and not looked at.

    Raises:
        PartError: No Parquet file, or too large to be a part.
    """
    schema = SCHEMAS[table]
    with told():
        file = PartFile(data)
        if not file.schema_arrow.equals(schema, check_metadata=False):
            return None
        rows, pages = check_footer(file)
        if is_small(rows, pages):
            return None
        out = [name for name in schema.names if name in left_out]
        check_swelling(data, pages, *(((), out) if absent else (out, ())))
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    file = PartFile(data, metadata=file.metadata, read_dictionary=texts)
    rest = [name for name in schema.names if name not in left_out and name not in first]
    bunches = [[*first]] * bool(first) + [rest[at : at + TOGETHER] for at in range(0, len(rest), TOGETHER)]
    return PartColumns(rows, _decoded(file, rows, [[*map(schema.names.index, each)] for each in bunches]))


def _decoded(file: PartFile, rows: int, bunches: list[list[int]]) -> Iterator[pa.Table]:
    text = 0
    for bunch in bunches:
        with told():
            found = file.reader.read_all(column_indices=bunch, use_threads=False)
            found.validate(full=True)
        if found.num_rows != rows:
            raise PartError(f"{found.num_rows} rows, where the footer counts {rows}")
        text += sum(map(text_bytes, found.columns))
        check_size(text)
        yield found


def read_columns(files: Files, path: str, size: int, names: Collection[str]) -> Bytes:
    """A file of which the footer and the pages of some columns are read, with zeros in the place of the rest.

    What is never written to takes no memory: the zeros are as good as none.

    Raises:
        FileNotFoundError: There is no such file.
        PageError: Its end is no footer, or it tells of what lies outside of the file.
    """
    (tail,) = files.read_ranges(path, [(max(0, size - TAIL_BYTES), size)])
    if (wanted := footer_bytes(tail)) > len(tail):
        (tail,) = files.read_ranges(path, [(max(0, size - wanted), size)])
    if len(tail) > size:
        raise PageError("it is longer than its listing says")
    ranges = _joined(places(tail, size, names))
    data = mmap.mmap(-1, size)
    data[size - len(tail) :] = tail
    for (first, end), found in zip(ranges, files.read_ranges(path, ranges), strict=True):
        if len(found) != end - first:
            raise PageError("it is cut short")
        data[first:end] = found
    return data


def _joined(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same ranges in order, those that lie close together as one."""
    joined = list[tuple[int, int]]()
    for first, end in sorted(ranges):
        if joined and first - joined[-1][1] < APART_BYTES:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((first, end))
    return joined
