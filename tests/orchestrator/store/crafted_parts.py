"""Parts whose pages claim other sizes than their footer, as a stranger might craft them."""

from __future__ import annotations

import struct
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.orchestrator.store.test_sweep_store import make

I16, I32, I64, DOUBLE, BINARY, LIST, STRUCT = 4, 5, 6, 7, 8, 9, 12
LARGEST = 2**31 - 1
CODECS = {"none": 0, "snappy": 1, "gzip": 2, "brotli": 4, "zstd": 6}
BLOCK = 2**17
Field = tuple[int, Any]
"""The kind of a field, and its value: of a list (kind of its items, items), of a structure its fields."""


def read(data: bytes, place: int) -> tuple[dict[int, Field], int]:
    """The fields of a Thrift structure, and the place after it."""
    fields, number = dict[int, Field](), 0
    while head := data[place]:
        place, number, kind = place + 1, number + (head >> 4), head & 15
        value, place = _value(data, place, kind)
        fields[number] = kind, value
    return fields, place + 1


def _value(data: bytes, place: int, kind: int) -> tuple[Any, int]:
    if kind in (1, 2):
        return None, place
    if kind in (I16, I32, I64):
        number, place = _varint(data, place)
        return (number >> 1) ^ -(number & 1), place
    if kind == BINARY:
        length, place = _varint(data, place)
        return data[place : place + length], place + length
    if kind == STRUCT:
        return read(data, place)
    assert kind == LIST
    count, of, place = data[place] >> 4, data[place] & 15, place + 1
    if count == 15:
        count, place = _varint(data, place)
    items = []
    for _ in range(count):
        item, place = _value(data, place, of)
        items.append(item)
    return (of, items), place


def _varint(data: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (data[place] & 127) << shift
        shift, place = shift + 7, place + 1
        if data[place - 1] < 128:
            return number, place


def written(fields: dict[int, Field]) -> bytes:
    """A Thrift structure of fields in their order."""
    found, last = b"", 0
    for number, (kind, value) in fields.items():
        found += bytes([(number - last) << 4 | kind]) + _bytes(kind, value)
        last = number
    return found + b"\0"


def _bytes(kind: int, value: Any) -> bytes:
    if kind in (1, 2):
        return b""
    if kind in (I16, I32, I64):
        return varint(value << 1 if value >= 0 else (-value << 1) - 1)
    if kind == BINARY:
        return varint(len(value)) + value
    if kind == STRUCT:
        return written(value)
    of, items = value
    head = bytes([len(items) << 4 | of]) if len(items) < 15 else bytes([240 | of]) + varint(len(items))
    return head + b"".join(_bytes(of, item) for item in items)


def varint(number: int) -> bytes:
    """Seven bits a byte, the last without the high bit."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def footer(data: bytes) -> tuple[dict[int, Field], int]:
    """The fields of a file's footer, and where it begins."""
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    return read(data, start)[0], start


def with_footer(data: bytes, fields: dict[int, Field]) -> bytes:
    """Pages, and a footer after them."""
    last = written(fields)
    return data + last + len(last).to_bytes(4, "little") + b"PAR1"


def part(codec: str = "snappy", version: str = "1.0", dictionary: bool = False, rows: int = 2) -> bytes:
    """A sound part of table `grafts`."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        make("grafts", ["a", "b"]).slice(0, rows),
        sink,
        compression=codec,
        data_page_version=version,
        use_dictionary=dictionary,
        write_page_checksum=True,
        store_schema=False,
    )
    return sink.getvalue().to_pybytes()


def columns(fields: dict[int, Field]) -> list[dict[int, Field]]:
    """The metadata of the columns of the first group of rows."""
    (group, *_) = fields[4][1][1]
    return [column[3][1] for column in group[1][1][1]]


def crafted(
    data: bytes, page: int = 0, claims: int = LARGEST, payload: bytes | None = None, codec: str | None = None
) -> bytes:
    """A part whose first column has a page, its first or its second, that claims so many bytes.

    Args:
        data: A sound part.
        page: Of the column's pages, which one.
        claims: Bytes when it is decompressed.
        payload: What it is decompressed from; what it was, if None.
        codec: What all pages of the column are said to be compressed by.
    """
    fields, end = footer(data)
    column = columns(fields)[0]
    place = start = column[11][1] if 11 in column else column[9][1]
    pages, offsets = b"", list[int]()
    while place < start + column[7][1]:
        header, begin = read(data, place)
        place = begin + header[3][1]
        content = data[begin:place]
        if len(offsets) == page:
            content = content if payload is None else payload
            header = {**header, 2: (I32, claims), 3: (I32, len(content))}
            header.pop(4, None)
            header = dict(sorted(header.items()))
        offsets.append(end + len(pages))
        pages += written(header) + content
    if 11 in column:
        column[11] = I64, offsets[0]
    column[9] = I64, offsets[-1]
    column[7] = I64, len(pages)
    if codec:
        column[4] = I32, CODECS[codec]
    return with_footer(data[:end] + pages, fields)


def zeros(size: int) -> bytes:
    """So many zeros for zstd (RFC 8878, 3.1.1.2.2): four bytes say a block of 128 KiB."""
    blocks = b""
    for start in range(0, size, BLOCK):
        count = min(BLOCK, size - start)
        blocks += (count << 3 | 1 << 1 | (start + count == size)).to_bytes(3, "little") + b"\0"
    return b"\x28\xb5\x2f\xfd" + bytes([0b10100000]) + struct.pack("<I", size) + blocks
