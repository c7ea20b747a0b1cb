"""The sizes that the pages of a Parquet file tell of themselves, read without decompressing any.

A reader allocates what a page's header says, whatever the file's footer promised. Headers are structs of
Thrift's compact protocol (parquet-format, `PageHeader`: field 2 is `uncompressed_page_size`, field 3
`compressed_page_size`; thrift, `thrift-compact-protocol.md`).
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow.parquet as pq

RATIO = 22
"""What Snappy makes of a byte at most: 64 bytes of three, and so 21.3."""
_PLAIN = ("UNCOMPRESSED", "SNAPPY")
_TRUE, _FALSE, _BYTE, _I32, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, 5, 7, 8, 12
_VARINTS = (4, _I32, 6)
_WIDTHS = {_BYTE: 1, _DOUBLE: 8}


class HeaderError(ValueError):
    """A page's header is none, or says something else than the footer."""


def may_swell(file: pq.FileMetaData, size: int, limit: int) -> bool:
    """Whether the pages of a file of `size` bytes may become more than `limit`, whatever they are."""
    groups = map(file.row_group, range(file.num_row_groups))
    codecs = {group.column(number).compression for group in groups for number in range(group.num_columns)}
    return RATIO * size > limit or not codecs <= {*_PLAIN}


def check_pages(file: pq.FileMetaData, data: bytes) -> None:
    """Hold the headers of all pages to what the footer says of their columns.

    Raises:
        HeaderError: A page is larger than its column, or there is no header where one belongs.
    """
    for group in map(file.row_group, range(file.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            told = column.total_uncompressed_size
            starts = [column.data_page_offset]
            if column.has_dictionary_page and column.dictionary_page_offset:
                starts.append(column.dictionary_page_offset)
            found = sum(_sizes(data, min(starts), min(starts) + column.total_compressed_size))
            if found > told:
                raise HeaderError(f"pages of {found} bytes in a column of {told} by the footer")


def _sizes(data: bytes, start: int, end: int) -> Iterator[int]:
    """The uncompressed size of each page that lies between two places."""
    if not 0 <= start <= end <= len(data):
        raise HeaderError("a column that lies outside the file")
    while start < end:
        header = _Header(data, start, end)
        try:
            sizes = header.sizes()
        except IndexError:
            raise HeaderError("the header of a page is cut off") from None
        yield sizes[0]
        start = header.at + sizes[1]


class _Header:
    """Reads one page's header; `at` is where it goes on."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self._data, self.at, self._end = data, at, end

    def sizes(self) -> tuple[int, int]:
        """Bytes of the page uncompressed and compressed."""
        found: dict[int, int] = {}
        for field, kind in self._fields():
            if field not in (2, 3):
                self._skip(kind)
                continue
            number = self._varint()
            if kind != _I32 or field in found or number & 1 or number >= 2**32:
                raise HeaderError("the header of a page has no size where one belongs")
            found[field] = number // 2  # zigzag, and not negative
        if len(found) < 2:
            raise HeaderError("the header of a page lacks its size")
        return found[2], found[3]

    def _fields(self) -> Iterator[tuple[int, int]]:
        """Number and type of each field of a struct; whoever asks for the next has read the value."""
        field = 0
        while first := self._byte():
            if first >> 4:
                field += first >> 4
            else:
                number = self._varint()
                field = number >> 1 ^ -(number & 1)
            yield field, first & 15

    def _skip(self, kind: int) -> None:
        if kind in (_TRUE, _FALSE):
            return
        if kind in _WIDTHS:
            self.at += _WIDTHS[kind]
        elif kind in _VARINTS:
            self._varint()
        elif kind == _BINARY:
            length = self._varint()
            self.at += length
        elif kind == _STRUCT:
            for _, inner in self._fields():
                self._skip(inner)
        else:  # lists, sets and maps, of which no page's header has any
            raise HeaderError("the header of a page holds what none does")

    def _varint(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number
            if shift >= 70:
                raise HeaderError("the header of a page holds a number without end")

    def _byte(self) -> int:
        if self.at >= self._end:
            raise IndexError
        self.at += 1
        return self._data[self.at - 1]
