"""Which small parts of a table become one, and how: while a sweep runs, beside its readers.

The merged part is published first, and says in its metadata which files it replaces, by name and SHA-256;
then those are removed. A reader that meets both keeps the rows of one; a start that finds both, since a
crash came between, removes what the merged part has. The same steps serve a folder and an object store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

import pyarrow as pa

from espalier.orchestrator.store.parquet_parts import merged_metadata
from espalier.orchestrator.store.part_ranges import Ranges, partition, partition_columns
from espalier.tasks.tables.schemas import ROW_IDENTITY, SCHEMAS

MERGED = "merged-"
"""How the name of a part begins that replaces others."""
REPLACES = b"espalier.replaces"
TOGETHER = 64
"""Parts that are merged at once, and so the most of one partition and size that stay small."""
LEVELS = (2**16, 2**20)
"""Bytes on disk: parts below the first are merged with each other, then those below the second."""
GROUP_BYTES = 4 * 2**20
"""In memory, of which partitions that are smaller share a part when a table is compacted."""

Bucket = tuple[int, tuple[int, ...] | None]


def bucket(table: str, size: int, found: Ranges) -> Bucket | None:
    """The parts that a part of so many bytes may be merged with; None for a large one."""
    level = sum(size >= limit for limit in LEVELS)
    return (level, partition(table, found)) if level < len(LEVELS) else None


def merged(table: str, parts: Mapping[str, tuple[bytes, pa.Table]]) -> pa.Table:
    """The rows of some parts, given by name as bytes and rows, with what they replace in the metadata."""
    rows = together(table, [rows for _, rows in parts.values()])
    replaces = {name: hashlib.sha256(data).hexdigest() for name, (data, _) in parts.items()}
    metadata = {**(rows.schema.metadata or {}), REPLACES: json.dumps(replaces).encode()}
    return ordered(table, rows).replace_schema_metadata(metadata)


def replaced(rows: pa.Table) -> dict[str, str]:
    """The files that a merged part replaces: name to SHA-256; none of any other part."""
    try:
        found = json.loads((rows.schema.metadata or {}).get(REPLACES, b"{}"))
    except ValueError:
        return {}
    return {str(name): str(digest) for name, digest in found.items()} if isinstance(found, dict) else {}


def together(table: str, parts: Iterable[pa.Table]) -> pa.Table:
    """The rows of parts in turn, and what their metadata says, but not what they replace."""
    parts = list(parts)
    metadata = merged_metadata(part.schema.metadata for part in parts)
    metadata.pop(REPLACES, None)
    shared = SCHEMAS[table].with_metadata(metadata)
    return pa.concat_tables([part.cast(shared) for part in parts]) if parts else shared.empty_table()


def ordered(table: str, rows: pa.Table) -> pa.Table:
    """Rows by partition, then identity, then every other column: the same rows give the same bytes."""
    first = [*partition_columns(table), *ROW_IDENTITY.get(table, ())]
    order = [*first, *(name for name in rows.column_names if name not in first)]
    return rows.sort_by([(name, "ascending") for name in order])


def groups(table: str, rows: pa.Table) -> list[pa.Table]:
    """Ordered rows cut where the partition changes; small partitions stay together."""
    columns = [rows.column(name).to_pylist() for name in partition_columns(table)]
    keys = list(zip(*columns, strict=True)) if columns else []
    row_bytes, start, cut = max(1, rows.nbytes // max(1, rows.num_rows)), 0, list[pa.Table]()
    for row in range(1, len(keys)):
        if keys[row] != keys[row - 1] and (row - start) * row_bytes >= GROUP_BYTES:
            cut.append(rows.slice(start, row - start))
            start = row
    return [*cut, rows.slice(start)]
