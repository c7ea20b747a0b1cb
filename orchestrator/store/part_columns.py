"""A large part's columns, decoded a few at a time: never a whole part in memory beside what is made of it."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass

import pyarrow as pa

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
from espalier.tasks.tables.schemas import SCHEMAS

TOGETHER = 4
"""Columns that are decoded at once: what is given up by one bunch is what the next one takes."""


@dataclass(frozen=True, eq=False)
class PartColumns:
    """A part that has been looked at and not yet decoded.

    Attributes:
        rows: What its footer counts, and each column has.
        columns: The columns in their order, a few at once; texts are dictionaries. It raises `PartError`
            where a page is not what was written.
    """

    rows: int
    columns: Iterator[pa.Table]

    def __len__(self) -> int:
        return self.rows


def open_columns(table: str, data: bytes, left_out: Container[str]) -> PartColumns | None:
    """The columns of a part but for some, of which the checksums alone are looked at.

    None of a part that has other columns than its table, or is small: those are read by `decode`.

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
        check_swelling(data, pages, [name for name in schema.names if name in left_out])
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    file = PartFile(data, metadata=file.metadata, read_dictionary=texts)
    wanted = [number for number, name in enumerate(schema.names) if name not in left_out]
    return PartColumns(rows, _decoded(file, rows, wanted))


def _decoded(file: PartFile, rows: int, wanted: list[int]) -> Iterator[pa.Table]:
    text = 0
    for first in range(0, len(wanted), TOGETHER):
        with told():
            found = file.reader.read_all(column_indices=wanted[first : first + TOGETHER], use_threads=False)
            found.validate(full=True)
        if found.num_rows != rows:
            raise PartError(f"{found.num_rows} rows, where the footer counts {rows}")
        text += sum(map(text_bytes, found.columns))
        check_size(text)
        yield found
