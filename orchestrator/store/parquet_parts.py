"""Parts of a table: rows to the bytes of one Parquet file and back, every page checked.

A table's schema and the identity of its rows are those of `tasks.tables.schemas`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from espalier.tasks.plain_text import printable
from espalier.tasks.tables.schemas import ROW_IDENTITY, SCHEMAS, completed

Identity = tuple[Any, ...]

SMALL_BYTES = 2**20
"""In memory, below which a part is small: as a job writes them."""
SMALL: dict[str, Any] = {"compression": "snappy", "write_statistics": False}
LARGE: dict[str, Any] = {"compression": "zstd"}
"""How parts are written. Of a small one most of the bytes, and of the time to read it, would be what stands
beside the rows: dictionaries, statistics, descriptions of columns, and a zstd begun anew for every page."""
PART_LIMIT = 2**30
"""Bytes that a part may take in memory, and on disk: eight times what `espalier compact` makes at most."""
NUMBER_BYTES = 8
"""Of a number, a truth or the place of a text; no column of a table has wider ones."""


class PartError(ValueError):
    """A file in a table's folder is not a whole part of that table."""


class OtherSchema(PartError):
    """A whole Parquet file whose columns are not the table's; `found` is its schema."""

    def __init__(self, table: str, found: pa.Schema, differ: str) -> None:
        super().__init__(f"not the schema of table '{table}': {differ}")
        self.found = found


def encode(table: str, rows: pa.Table) -> bytes:
    """Rows as one Parquet part, with the table's one schema and a checksum on every page.

    What the rows' own schema metadata says (commit, versions) goes into the file.
    """
    sink = pa.BufferOutputStream()
    schema, small = SCHEMAS[table].with_metadata(rows.schema.metadata), rows.nbytes < SMALL_BYTES
    if small:
        schema = pa.schema([field.remove_metadata() for field in schema], schema.metadata)
    # Numbers seldom repeat, so that a dictionary of them is larger than they are.
    texts: Any = [field.name for field in schema if not pa.types.is_floating(field.type)]
    pq.write_table(
        rows.cast(schema),
        sink,
        use_dictionary=not small and texts,
        write_page_checksum=True,
        **(SMALL if small else LARGE),
    )
    return sink.getvalue().to_pybytes()


def decode(table: str, data: bytes, shared: bool = False) -> pa.Table:
    """The rows of a part, every page checked.

    With `shared` the texts of a large part stay what they are in the file, dictionaries: a fraction of the
    memory, and of the time.

    Raises:
        PartError: Empty, torn, changed, not Parquet, of another schema, or too large to be a part.
    """
    if not data:
        raise PartError("the file is empty")
    try:
        # Its few KB are decoded faster by one thread than by handing them around.
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        rows = _read_bounded(table, file, data, shared)
        rows.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, LookupError, RecursionError, MemoryError) as error:
        if isinstance(error, PartError):
            raise
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise PartError(f"no whole Parquet file ({printable(first)[:300]})") from error
    return completed(table, rows)


def _read_bounded(table: str, file: pq.ParquetFile, data: bytes, shared: bool) -> pa.Table:
    """The rows, once the footer says that they are few enough."""
    rows, pages = check_footer(table, file)
    if rows * pages <= PART_LIMIT:  # even if every row had the longest text
        return file.read(use_threads=False)
    texts = [field.name for field in file.schema_arrow if pa.types.is_string(field.type)]
    # As dictionaries texts take no more than in the file, and tell what they will take as they are.
    large = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True, read_dictionary=texts)
    found = large.read(use_threads=False)
    check_size(sum(map(_text_bytes, found.columns)))
    return found if shared else found.cast(file.schema_arrow)


def check_footer(table: str, file: pq.ParquetFile) -> tuple[int, int]:
    """The rows and the bytes of all pages, by the footer alone, before anything is decoded.

    A text that rows share counts once, as in the file.

    Raises:
        PartError: Another schema than the table's, or too many rows or bytes for a part.
    """
    schema = file.schema_arrow
    if not schema.equals(SCHEMAS[table], check_metadata=False):
        _check_schema(table, completed(table, schema.empty_table()).schema)
    rows = pages = 0
    # Groups alone: of a damaged column `group.column` ends the process, where `read` raises (pyarrow 26).
    for group in map(file.metadata.row_group, range(file.metadata.num_row_groups)):
        rows += max(0, group.num_rows)
        pages += max(0, group.total_byte_size)
    if rows != file.metadata.num_rows:
        raise PartError(f"{rows} rows in its groups, where the footer counts {file.metadata.num_rows}")
    check_size(rows * file.metadata.num_columns * NUMBER_BYTES + pages)
    return rows, pages


def check_size(size: int) -> None:
    """Refuse a part of so many bytes, on disk or in memory, if that is too many."""
    if size > PART_LIMIT:
        limit = PART_LIMIT / 2**30
        raise PartError(
            f"its rows would take {size / 2**30:.3g} GiB of memory, and a part may take {limit:g}"
        )


def _text_bytes(column: pa.ChunkedArray) -> int:
    """What a column of dictionaries takes as plain texts; 0 of any other."""
    if not pa.types.is_dictionary(column.type):
        return 0
    lengths = (
        pc.call_function("binary_length", [chunk.dictionary]).take(chunk.indices) for chunk in column.chunks
    )
    return sum(pc.call_function("sum", [each]).as_py() or 0 for each in lengths)


def identities(table: str, rows: pa.Table) -> list[Identity]:
    """The piece of work (`ROW_IDENTITY`) that each row belongs to."""
    return list(zip(*(rows.column(name).to_pylist() for name in ROW_IDENTITY[table]), strict=True))


def _check_schema(table: str, found: pa.Schema) -> None:
    wanted = SCHEMAS[table]
    if found.equals(wanted, check_metadata=False):
        return
    have, want = ({f"{f.name}: {f.type}" for f in schema} for schema in (found, wanted))
    differ = f"lacks {sorted(want - have)}, has instead {sorted(have - want)}"
    raise OtherSchema(table, found, differ if have != want else "another order")


def check_rows(table: str, rows: pa.Table) -> None:
    """Refuse rows that may not be committed.

    Raises:
        ValueError: No such table, another schema (`PartError`), a null identity, a row twice.
    """
    if table not in ROW_IDENTITY:
        raise ValueError(f"no table '{table}' to commit to; there are {sorted(ROW_IDENTITY)}")
    _check_schema(table, rows.schema)
    if any(rows.column(name).null_count for name in ROW_IDENTITY[table]):
        raise ValueError(f"table '{table}': {ROW_IDENTITY[table]} name the piece and may not be null")
    if rows.group_by(rows.column_names).aggregate([]).num_rows < rows.num_rows:
        raise ValueError(f"table '{table}': the same row twice in one commit")


def merged_metadata(metadata: Iterable[Mapping[bytes, bytes] | None]) -> dict[bytes, bytes]:
    """Schema metadata of several parts: under each key the distinct values, a line each."""
    values: dict[bytes, set[bytes]] = {}
    for mapping in metadata:
        for key, value in (mapping or {}).items():
            values.setdefault(key, set()).update(value.split(b"\n"))
    return {key: b"\n".join(sorted(lines)) for key, lines in sorted(values.items())}


def sorted_rows(table: str, rows: pa.Table) -> pa.Table:
    """Rows by identity, then by every other column: the same rows give the same bytes."""
    first = ROW_IDENTITY.get(table, ())
    order = [*first, *(name for name in rows.column_names if name not in first)]
    return rows.sort_by([(name, "ascending") for name in order])


def pieces(table: str, rows: pa.Table, part_bytes: int) -> Iterator[pa.Table]:
    """Runs of sorted rows, each under `part_bytes` in memory (less on disk), no piece of work cut in two."""
    step = max(1, part_bytes * rows.num_rows // max(1, rows.nbytes))
    keys = identities(table, rows) if table in ROW_IDENTITY else list(range(rows.num_rows))
    start = 0
    while start < rows.num_rows:
        end = min(start + step, rows.num_rows)
        while end < rows.num_rows and keys[end] == keys[end - 1]:
            end += 1
        yield rows.slice(start, end - start)
        start = end
