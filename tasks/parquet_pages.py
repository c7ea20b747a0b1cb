"""Whether the pages of a Parquet file are no larger than its footer says, before any is decompressed.

A reader makes room for what the header of each page claims, up to 2 GiB, whatever the footer has told. Both
are read here, since pyarrow tells of pages nothing, and of a damaged column it ends the process instead of
raising. The fields are those of
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
"""

from __future__ import annotations

import zlib
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from espalier.tasks.thrift_structs import BINARY, I32, I64, Bytes, Shape, ThriftError, struct

TAIL, LARGEST_FOOTER = 8, 2**24
DATA_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 = 0, 2, 3

COLUMN: Shape = {3: [BINARY], 5: I64, 6: I64, 7: I64, 9: I64, 11: I64}
FOOTER: Shape = {4: [{1: [{3: COLUMN}]}]}
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
    size: int  # of all pages when they are decompressed


def may_swell(data: Bytes, limit: int) -> bool:
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


def check_pages(data: Bytes, unread: Container[str] = (), absent: Container[str] = ()) -> int:
    """The bytes that all columns take, of a file whose pages are what the footer tells of them.

    Args:
        data: The whole file.
        unread: Columns that will not be read: the checksums of their pages are looked at here.
        absent: Columns that will not be read either, and whose pages are not looked at.

    Raises:
        PageError: A page takes more than the footer says, or is not where it says.
    """
    with _told():
        whole = 0
        for chunk in _chunks(_footer(data), len(data)):
            if chunk.name not in absent:
                _check_chunk(data, chunk, chunk.name in unread)
            whole += chunk.size
        return whole


def footer_bytes(tail: bytes) -> int:
    """How many bytes the footer of a file takes with what follows it, by the last bytes of the file.

    Raises:
        PageError: More than a footer may.
    """
    length = int.from_bytes(tail[-TAIL : -TAIL + 4], "little")
    if not 0 < length <= LARGEST_FOOTER:
        raise PageError(f"its footer would take {length} bytes")
    return length + TAIL


def places(tail: bytes, size: int, names: Container[str]) -> list[tuple[int, int]]:
    """Where some columns are in a file: first byte and the one after the last, group by group.

    Args:
        tail: The file's last bytes, the footer among them.
        size: Bytes of the whole file.
        names: The columns.

    Raises:
        PageError: The footer is none, or tells of what lies outside of the file.
    """
    with _told():
        return [(each.start, each.end) for each in _chunks(_footer(tail), size) if each.name in names]


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except IndexError:
        raise PageError("it is cut short, or tells of what lies outside of it") from None
    except ThriftError as error:
        raise PageError(str(error)) from None


def _footer(data: Bytes) -> bytes:
    length = int.from_bytes(data[-TAIL : -TAIL + 4], "little")
    if not 0 < length <= min(len(data) - TAIL, LARGEST_FOOTER):
        raise PageError(f"its footer would take {length} bytes")
    return data[len(data) - TAIL - length : len(data) - TAIL]


@lru_cache(maxsize=8)
def _chunks(footer: bytes, whole: int) -> tuple[Chunk, ...]:
    """Those of all columns; kept for a moment, since who reads some of a file asks twice."""
    found, _ = struct(footer, 0, FOOTER)
    columns = (column for group in found.get(4, ()) for column in group.get(1, ()))
    return tuple(_chunk(column.get(3, {}), whole) for column in columns)


def _chunk(column: dict[int, Any], whole: int) -> Chunk:
    try:
        path, values, size, stored, data_page = (column[number] for number in (3, 5, 6, 7, 9))
    except KeyError:
        raise PageError("a column lacks its sizes") from None
    name = ".".join(part.decode(errors="replace") for part in path)
    if not values:  # nothing of it is read, and it may be anywhere
        return Chunk(name, 0, 0, 0, max(0, size))
    start = min(data_page, column.get(11) or data_page)
    if not (0 < start <= start + stored <= whole and size >= 0):
        raise PageError("a column lies outside of it")
    return Chunk(name, start, start + stored, values, size)


def _check_chunk(data: Bytes, chunk: Chunk, verify: bool) -> None:
    place, size, values = chunk.start, 0, 0
    while place < chunk.end:
        page, begin = struct(data, place, PAGE)
        kind, unpacked, stored = (page.get(number, -1) for number in (1, 2, 3))
        if unpacked < 0 or stored < 0:
            raise PageError(f"a page of column {chunk.name!r} has no size")
        size += unpacked
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
