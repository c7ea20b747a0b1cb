"""Structures of Thrift's compact protocol, of which the wanted fields alone are kept.

The form is that of https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md. What no
writer would write is refused: fields out of order or twice, numbers that do not fit. So nothing can be read
in one way here and in another by whoever reads the same bytes next.
"""

from __future__ import annotations

import mmap
from typing import Any

Bytes = bytes | mmap.mmap
Shape = dict[int, Any]
"""The fields of a structure that are wanted, by their number: a kind of number or text, a `Shape`, or a list
of one of them."""

DEEPEST, LONGEST_VARINT = 16, 10
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
BITS = {I16: 16, I32: 32, I64: 64}
FIXED = {TRUE: 0, FALSE: 0, BYTE: 1, DOUBLE: 8}
"""Bytes of the kinds that always have as many."""


class ThriftError(ValueError):
    """The bytes are no structure that a writer would write."""


def struct(data: Bytes, place: int, shape: Shape, depth: int = 0) -> tuple[dict[int, Any], int]:
    """The wanted fields of the structure at a place, and the place after it.

    Raises:
        ThriftError: What is wrong with it.
        IndexError: It is cut short.
    """
    _check_depth(depth)
    fields: dict[int, Any] = {}
    last = 0
    while head := data[place]:
        place += 1
        kind, number = head & 15, last + (head >> 4)
        if number == last:
            number, place = _signed(data, place, I16)
        if number <= last:
            raise ThriftError("its fields are out of order")
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
        raise ThriftError("a field is of another type than it should be")
    if kind == STRUCT:
        return struct(data, place, wanted, depth + 1)
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
        return struct(data, place, {}, depth + 1)[1]
    if kind == BINARY:
        return sum(_length(data, place))
    if kind in (LIST, SET, MAP):
        return _after_items(data, place, kind, depth + 1)
    if kind in FIXED:
        return place + FIXED[kind]
    raise ThriftError(f"it has a value of the unknown type {kind}")


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
        raise ThriftError("its structures are nested too deeply")


def _length(data: Bytes, place: int) -> tuple[int, int]:
    """A number of bytes, or of items that have a byte each at least, and the place after it."""
    number, place = _varint(data, place)
    if place + number > len(data):
        raise ThriftError("it tells of what lies outside of it")
    return number, place


def _signed(data: Bytes, place: int, kind: int) -> tuple[int, int]:
    number, place = _varint(data, place)
    if number >> BITS[kind]:
        raise ThriftError("a number does not fit its type")
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
    raise ThriftError("a number is too long")
