"""Parts of a table: rows to the bytes of one Parquet file and back, every page checked.

A table's schema and the identity of its rows are those of `tasks.tables.schemas`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from espalier.tasks.parquet_pages import check_pages, may_swell
from espalier.tasks.plain_text import printable
from espalier.tasks.tables.schemas import ROW_IDENTITY, SCHEMAS, completed
from espalier.tasks.thrift_structs import Bytes

Identity = tuple[Any, ...]

SMALL_BYTES = 2**20
"""In memory, below which a part is small: as a job writes them."""
SMALL: dict[str, Any] = {"compression": "snappy", "write_statistics": False, "store_schema": False}
LARGE: dict[str, Any] = {"compression": "zstd"}
"""How parts are written. Of a small one most of the bytes, and of the time to read it, would be what stands
beside the rows: dictionaries, statistics, the schema a second time as Arrow's, and a zstd begun anew for
every page."""
PART_LIMIT = 2**30
"""Bytes that a part may take in memory, and on disk: eight times what `espalier compact` makes at most."""
NUMBER_BYTES = 8
"""Of a number, a truth or the place of a text, at most; bytes of a fixed number are as many."""


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
    said = rows.schema.metadata
    schema, small = SCHEMAS[table].with_metadata(said), rows.nbytes < SMALL_BYTES
    # Numbers seldom repeat, so that a dictionary of them is larger than they are; counts of images as well.
    texts: Any = [field.name for field in schema if not _is_numbers(field.type)]
    with pq.ParquetWriter(
        sink,
        schema,
        use_dictionary=not small and texts,
        write_page_checksum=True,
        **(SMALL if small else LARGE),
    ) as writer:
        writer.write_table(rows.cast(schema))
        if small and said:  # a large part has them with its Arrow schema
            writer.add_key_value_metadata(said)
    return sink.getvalue().to_pybytes()


def _is_numbers(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_fixed_size_binary(kind)


def decode(table: str, data: bytes) -> pa.Table:
    """The rows of a part, every page checked.

    Raises:
        PartError: Empty, torn, changed, not Parquet, of another schema, or too large to be a part.
    """
    with told():
        rows = _read_bounded(table, data)
        rows.validate(full=True)
        return rows


def decode_together(table: str, parts: Iterable[bytes]) -> tuple[pa.Table, list[int]]:
    """The rows of many small parts, and how many each has, checked as by `decode`.

    What is done once for all costs a tenth of what it costs part by part.

    Raises:
        PartError: One of them, it does not say which, is not a whole part.
    """
    with told():
        read = [_read_bounded(table, data) for data in parts]
        rows = pa.concat_tables(read).combine_chunks()
        rows.validate(full=True)  # the reader has made sure of all but that texts are UTF-8
        return rows, [part.num_rows for part in read]


@contextmanager
def told() -> Iterator[None]:
    """Whatever a file that is no whole part makes Arrow raise, as `PartError`."""
    try:
        yield
    except PartError:
        raise
    except (pa.ArrowException, OSError, ValueError, LookupError, RecursionError, MemoryError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise PartError(f"no whole Parquet file ({printable(first)[:300]})") from error


class PartFile(pq.ParquetFile):
    """A Parquet file whose columns are not asked for by name, so that no index of their names is made."""

    def __init__(self, data: Bytes, **options: Any) -> None:
        super().__init__(
            pa.BufferReader(pa.py_buffer(data)), page_checksum_verification=True, pre_buffer=False, **options
        )

    def _build_nested_paths(self) -> defaultdict[str, list[int]]:
        return defaultdict(list)


def _read_bounded(table: str, data: bytes) -> pa.Table:
    """The rows, once the footer says that they are few enough."""
    if not data:
        raise PartError("the file is empty")
    file = PartFile(data)
    schema = file.schema_arrow
    if not (whole := schema.equals(SCHEMAS[table], check_metadata=False)):
        _check_schema(table, completed(table, schema.empty_table()).schema)
    rows, pages = check_footer(file)
    check_swelling(data, pages)
    if is_small(rows, pages):
        # Its few KB are decoded faster by one thread than by handing them around.
        found = file.read(use_threads=False)
    else:
        texts = [field.name for field in schema if pa.types.is_string(field.type)]
        # As dictionaries texts take no more than in the file, and tell what they will take as they are.
        found = PartFile(data, read_dictionary=texts).read(use_threads=False)
        check_size(sum(map(text_bytes, found.columns)))
        found = found.cast(schema)
    if found.num_rows != rows:
        raise PartError(f"{found.num_rows} rows, where the footer counts {rows}")
    return found if whole else completed(table, found)


def check_footer(file: pq.ParquetFile) -> tuple[int, int]:
    """The rows and the bytes of all pages, by the footer alone, before anything is decoded.

    A text that rows share counts once, as in the file.

    Raises:
        PartError: Too many rows or bytes for a part.
    """
    rows = pages = 0
    # Groups alone: of a damaged column `group.column` ends the process, where `read` raises (pyarrow 26).
    for group in map(file.metadata.row_group, range(file.metadata.num_row_groups)):
        rows += max(0, group.num_rows)
        pages += max(0, group.total_byte_size)
    if rows != file.metadata.num_rows:
        raise PartError(f"{rows} rows in its groups, where the footer counts {file.metadata.num_rows}")
    check_size(rows * _row_bytes(file.schema_arrow) + pages)
    return rows, pages


def is_small(rows: int, pages: int) -> bool:
    """Whether a part is within the limit even if every row had the longest text."""
    return rows * pages <= PART_LIMIT


def check_swelling(data: Bytes, pages: int, unread: Container[str] = (), absent: Container[str] = ()) -> None:
    """Refuse a part whose pages take more than its footer says; see `check_pages`.

    A small one need not be looked at: no page of it can take a quarter of what a part may, and it is
    decompressed and decoded in a few copies.
    """
    if unread or absent or may_swell(data, PART_LIMIT // 4):
        found = check_pages(data, unread, absent)
        if found > pages:
            raise PartError(f"its columns take {found} bytes, where the footer says {pages}")


def check_size(size: int) -> None:
    """Refuse a part of so many bytes, on disk or in memory, if that is too many."""
    if size > PART_LIMIT:
        limit = PART_LIMIT / 2**30
        raise PartError(
            f"its rows would take {size / 2**30:.3g} GiB of memory, and a part may take {limit:g}"
        )


def _row_bytes(schema: pa.Schema) -> int:
    """What a row takes at most, but for what its texts say."""
    fixed = pa.types.is_fixed_size_binary
    return sum(kind.byte_width if fixed(kind) else NUMBER_BYTES for kind in schema.types)


def text_bytes(column: pa.ChunkedArray) -> int:
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
    if rows.group_by(rows.column_names, use_threads=False).aggregate([]).num_rows < rows.num_rows:
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
