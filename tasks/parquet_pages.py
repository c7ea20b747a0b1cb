"""Whether the pages of a Parquet file are no larger than its footer says, before any is decompressed.

A reader makes room for what the header of each page claims, up to 2 GiB, whatever the footer has told. The
footer and the headers are Thrift structures in the compact protocol
(https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md), the fields are those of
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift. They are read here, since
pyarrow tells of a page nothing, and of a damaged column it ends the process instead of raising.

What a writer would not write is refused: fields out of order or twice, numbers that do not fit. So nothing
can be read in one way here and in another by pyarrow.
"""

from __future__ import annotations

import zlib
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

import numpy as np

Bytes = bytes | memoryview
Shape = dict[int, Any]
"""The fields of a structure that are wanted, by their number: a kind of number or text, a `Shape`, or a list
of one of them."""

TAIL, LARGEST_FOOTER = 8, 2**24
DEEPEST, LONGEST_VARINT = 16, 10
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
BITS = {I16: 16, I32: 32, I64: 64}
FIXED = {TRUE: 0, FALSE: 0, BYTE: 1, DOUBLE: 8}
"""Bytes of the kinds that always have as many."""
DATA_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 = 0, 2, 3

COLUMN: Shape = {3: [BINARY], 5: I64, 6: I64, 7: I64, 9: I64, 11: I64}
FOOTER: Shape = {4: [{1: [{3: COLUMN}], 2: I64, 3: I64}]}
PAGE: Shape = {1: I32, 2: I32, 3: I32, 4: I32, 5: {1: I32}, 7: {1: I32}, 8: {1: I32}}

ZSTD_SIGN = b"\xb5\x2f\xfd"
"""In the first bytes of all that zstd decompresses, in each of its versions (RFC 8878, 3.1.1)."""
BROTLI = 4
RATIO = 1032
"""How many times what it takes on disk a page may have when it is decompressed, but for those two: deflate's,
the largest (https://zlib.net/zlib_tech.html)."""


class PageError(ValueError):
    """A Parquet file is not what its footer says."""


@dataclass(frozen=True)
class Chunk:
    """Where the pages of a column are, in one group of rows."""

    name: str
    start: int
    end: int
    values: int
    size: int  # of all pages when they are decompressed, headers included


def may_swell(data: bytes, limit: int) -> bool:
    """Whether a page of a file could take more than `limit` bytes, whatever its headers claim.

    Of small files no more than this needs to be asked, and it takes a hundredth of the time to read them.
    """
    return len(data) * RATIO > limit or ZSTD_SIGN in data or _may_name_brotli(_footer(data))


def _may_name_brotli(footer: Bytes) -> bool:
    """Whether there is what a field of 32 bits begins with, followed by what can be Brotli, or the codec's
    number, which is 4 as well: a form in which a field has its number in full.
    """
    code = np.frombuffer(footer, np.uint8)
    return bool((((code[:-1] & 15) == I32) & ((code[1:] & 127) == 2 * BROTLI)).any())


def check_pages(data: Bytes, unread: Container[str] = ()) -> None:
    """Refuse a file with pages that take more than the footer says, or that are not where it says.

    Args:
        data: The whole file.
        unread: Columns that will not be read: the checksums of their pages are looked at here.

    Raises:
        PageError: What is wrong with which column.
    """
    try:
        footer, _ = _struct(_footer(data), 0, FOOTER)
        for group in footer.get(4, ()):
            chunks = [_chunk(column.get(3, {}), len(data)) for column in group.get(1, ())]
            if sum(chunk.size for chunk in chunks) > group.get(2, 0):
                raise PageError("its columns are larger than their group of rows is said to be")
            for chunk in chunks:
                _check_chunk(data, chunk, chunk.name in unread)
    except IndexError:
        raise PageError("it is cut short, or tells of what lies outside of it") from None


def _footer(data: Bytes) -> Bytes:
    length = int.from_bytes(data[-TAIL : -TAIL + 4], "little")
    if not 0 < length <= min(len(data) - TAIL, LARGEST_FOOTER):
        raise PageError(f"its footer would take {length} bytes")
    return data[len(data) - TAIL - length : len(data) - TAIL]


def _chunk(column: dict[int, Any], whole: int) -> Chunk:
    path, values, size, stored, data_page = (column.get(number) for number in (3, 5, 6, 7, 9))
    if path is None or None in (values, size, stored, data_page):
        raise PageError("a column lacks its sizes")
    start = min(data_page, column.get(11) or data_page)
    if not (0 < start <= start + stored <= whole and size >= 0):
        raise PageError("a column lies outside of it")
    return Chunk(
        ".".join(bytes(part).decode(errors="replace") for part in path), start, start + stored, values, size
    )


def _check_chunk(data: Bytes, chunk: Chunk, verify: bool) -> None:
    place, size, values = chunk.start, 0, 0
    while place < chunk.end:
        page, begin = _struct(data, place, PAGE)
        kind, unpacked, stored = (page.get(number, -1) for number in (1, 2, 3))
        if unpacked < 0 or stored < 0:
            raise PageError(f"a page of column {chunk.name!r} has no size")
        size += begin - place + unpacked
        if size > chunk.size:
            raise PageError(
                f"the pages of column {chunk.name!r} take {size} bytes, where the footer says {chunk.size}"
            )
        values += _values(page, kind, unpacked, chunk.name)
        place = begin + stored
        if verify and 4 in page and zlib.crc32(data[begin:place]) != page[4] & 0xFFFFFFFF:
            raise PageError(f"the checksum of a page of column {chunk.name!r} does not fit (CRC)")
    if place != chunk.end or values != chunk.values:
        raise PageError(f"the pages of column {chunk.name!r} are not those that the footer tells of")


def _values(page: dict[int, Any], kind: int, unpacked: int, name: str) -> int:
    """How many values of the column a page has; a dictionary has none."""
    if kind == DICTIONARY_PAGE:
        if not 0 <= page.get(7, {}).get(1, -1) <= unpacked:
            raise PageError(f"the dictionary of column {name!r} has more entries than bytes")
        return 0
    if kind not in (DATA_PAGE, DATA_PAGE_V2):
        return 0
    count = page.get(5 if kind == DATA_PAGE else 8, {}).get(1, -1)
    if count < 0:
        raise PageError(f"a page of column {name!r} does not say how many values it has")
    return count


def _struct(data: Bytes, place: int, shape: Shape, depth: int = 0) -> tuple[dict[int, Any], int]:
    """The wanted fields of the structure at a place, and the place after it."""
    _check_depth(depth)
    fields: dict[int, Any] = {}
    last = 0
    while head := data[place]:
        place += 1
        kind, number = head & 15, last + (head >> 4)
        if number == last:
            number, place = _signed(data, place, I16)
        if number <= last:
            raise PageError("its fields are out of order")
        last = number
        wanted = shape.get(number)
        if wanted is None:
            place = _after(data, place, kind, depth)
        else:
            fields[number], place = _wanted(data, place, kind, wanted, depth)
    return fields, place + 1


def _wanted(data: Bytes, place: int, kind: int, wanted: Any, depth: int) -> tuple[Any, int]:
    """A value, and the place after it."""
    if kind != {dict: STRUCT, list: LIST}.get(type(wanted), wanted):
        raise PageError("a field is of another type than it should be")
    if kind == STRUCT:
        return _struct(data, place, wanted, depth + 1)
    if kind == LIST:
        return _items(data, place, wanted[0], depth + 1)
    if kind == BINARY:
        length, place = _length(data, place)
        return data[place : place + length], place + length
    return _signed(data, place, kind)


def _items(data: Bytes, place: int, wanted: Any, depth: int) -> tuple[list[Any], int]:
    (kind,), count, place = _kinds(data, place, LIST)
    found = []
    for _ in range(count):
        value, place = _wanted(data, place, kind, wanted, depth)
        found.append(value)
    return found, place


def _after(data: Bytes, place: int, kind: int, depth: int) -> int:
    """The place after a value that is not wanted."""
    if kind in (I16, I32, I64):
        while data[place] > 127:
            place += 1
        return place + 1
    if kind == STRUCT:
        return _struct(data, place, {}, depth + 1)[1]
    if kind == BINARY:
        return sum(_length(data, place))
    if kind in (LIST, SET, MAP):
        return _after_items(data, place, kind, depth + 1)
    if kind in FIXED:
        return place + FIXED[kind]
    raise PageError(f"it has a value of the unknown type {kind}")


def _after_items(data: Bytes, place: int, kind: int, depth: int) -> int:
    _check_depth(depth)
    kinds, count, place = _kinds(data, place, kind)
    for _ in range(count):
        for each in kinds:  # a truth is a byte where it is an item, and none where it is a field
            place = place + 1 if each in (TRUE, FALSE) else _after(data, place, each, depth)
    return place


def _kinds(data: Bytes, place: int, kind: int) -> tuple[tuple[int, ...], int, int]:
    """Of what kinds the items of a list, a set or a map are, how many there are, and where they begin."""
    if kind == MAP:
        count, place = _length(data, place)
        return ((data[place] >> 4, data[place] & 15), count, place + 1) if count else ((), 0, place)
    head, place = data[place], place + 1
    if head >> 4 < 15:
        return (head & 15,), head >> 4, place
    count, place = _length(data, place)
    return (head & 15,), count, place


def _check_depth(depth: int) -> None:
    if depth > DEEPEST:
        raise PageError("its structures are nested too deeply")


def _length(data: Bytes, place: int) -> tuple[int, int]:
    """A number of bytes, or of items that have a byte each at least, and the place after it."""
    number, place = _varint(data, place)
    if place + number > len(data):
        raise PageError("it tells of what lies outside of it")
    return number, place


def _signed(data: Bytes, place: int, kind: int) -> tuple[int, int]:
    number, place = _varint(data, place)
    if number >> BITS[kind]:
        raise PageError("a number does not fit its type")
    return (number >> 1) ^ -(number & 1), place


def _varint(data: Bytes, place: int) -> tuple[int, int]:
    byte = data[place]
    if byte < 128:  # most are short
        return byte, place + 1
    number = byte & 127
    for count in range(1, LONGEST_VARINT):
        byte = data[place + count]
        number |= (byte & 127) << 7 * count
        if byte < 128:
            return number, place + count + 1
    raise PageError("a number is too long")
