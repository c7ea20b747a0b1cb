"""What was verified of a table's parts, written down, so that a start reads new parts alone.

A cache in `.inventory/<table>`: a part is believed to be what it was as long as its stamp (its size, and the
moment of its last change or its ETag) is the same. What is torn, missing or of another version is as if
nothing were known, and every part is read. A bit that flips on a disk changes no stamp: it is found by who
reads the rows, since every page has a checksum, and by `espalier verify`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from espalier.orchestrator.store.files import Files, Misplaced, Stamp, StoreWriteError
from espalier.orchestrator.store.part_ranges import Ranges
from espalier.orchestrator.store.piece_set import Codes
from espalier.tasks.tables.schemas import ROW_IDENTITY, SCHEMAS

FOLDER = ".inventory"
VERSION = 1
_COLUMNS = pa.schema(
    [
        ("part", pa.string()),
        ("size", pa.int64()),
        ("mark", pa.string()),
        ("rows", pa.int64()),
        ("ranges", pa.string()),
        ("width", pa.int32()),
        ("pieces", pa.large_binary()),
    ]
)


@dataclass(frozen=True, eq=False)
class KnownPart:
    """What reading a part whole has shown: its rows, their ranges, and the codes of its pieces, each once."""

    stamp: Stamp
    rows: int
    ranges: Ranges
    codes: Codes


def remember(files: Files, table: str, parts: Mapping[str, KnownPart]) -> None:
    """Write down what is known; what cannot be written is found out anew by the next start."""
    columns = {
        "part": list(parts),
        "size": [part.stamp.size for part in parts.values()],
        "mark": [part.stamp.mark for part in parts.values()],
        "rows": [part.rows for part in parts.values()],
        "ranges": [json.dumps(part.ranges) for part in parts.values()],
        "width": [part.codes.dtype.itemsize for part in parts.values()],
        "pieces": [part.codes.tobytes() for part in parts.values()],
    }
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, _COLUMNS) as writer:
        writer.write_table(pa.table(columns, _COLUMNS))
    data = sink.getvalue().to_pybytes()
    with suppress(Misplaced, StoreWriteError):
        if table in files.irregular(FOLDER):
            files.remove(_name(table))  # a folder is put aside, a link goes
        files.replace(_name(table), _seal(table, data) + data)


def recall(files: Files, table: str) -> dict[str, KnownPart]:
    """What was written down, by the part's name; nothing if it cannot be believed."""
    try:
        data = files.read(_name(table))
    except OSError:
        return {}
    content = memoryview(data)[_SEAL_BYTES:]
    if data[:_SEAL_BYTES] != _seal(table, content):
        return {}
    found = pa.ipc.open_file(pa.py_buffer(content)).read_all()
    columns = {name: found.column(name).to_pylist() for name in _COLUMNS.names if name != "pieces"}
    pieces = [value.as_buffer() for chunk in found.column("pieces").chunks for value in chunk]
    ranges = {text: _ranges(text) for text in set(columns["ranges"])}
    return {
        name: KnownPart(
            Stamp(size, mark),
            rows,
            ranges[text],
            np.frombuffer(codes or b"", f"S{width}"),
        )
        for name, size, mark, rows, text, width, codes in zip(*columns.values(), pieces, strict=True)
    }


def _ranges(text: str) -> Ranges:
    return {column: tuple(ends) for column, ends in json.loads(text).items()}


def _name(table: str) -> str:
    return f"{FOLDER}/{table}"


_SEAL_BYTES = hashlib.sha256().digest_size


def _seal(table: str, data: bytes | memoryview) -> bytes:
    """Over the content, and over what its meaning rests on: the table's columns and identity."""
    columns = [f"{field.name}: {field.type}" for field in SCHEMAS[table]]
    meaning = json.dumps([VERSION, table, columns, ROW_IDENTITY.get(table)])
    return hashlib.sha256(meaning.encode() + hashlib.sha256(data).digest()).digest()
