"""Frames from the rows of many parts: texts as categories, and never two copies of a whole table.

Names in a table repeat themselves (a net's key stands in thousands of rows), so that a text is a number into
a sorted list of the texts of its axis. Columns of one axis, such as `source_net` and `target_net`, share
their list: they can be compared, joined and sorted like texts.
"""

from __future__ import annotations

import mmap
from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

CHUNK_ROWS = 50_000
"""Rows that are put together at once: small parts share the cost of a column."""

_SIDES = ("source_", "target_")


def axis_of(column: str) -> str:
    """What a column tells of a net, whichever side of a pair it is of.

    >>> axis_of("source_net"), axis_of("net")
    ('net', 'net')
    """
    for side in _SIDES:
        column = column.removeprefix(side)
    return column


class FrameBuilder:
    """Collects parts of one table, and makes one frame of them."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._waiting: list[pa.Table] = []
        self._rows = 0
        self._numbers = {field.name: Growing() for field in schema if _grows(field.type)}
        self._others: dict[str, list[pd.Series]] = {
            field.name: [] for field in schema if not _grows(field.type)
        }
        self._texts: dict[str, dict[str, int]] = defaultdict(dict)

    def add(self, part: pa.Table) -> None:
        """Take the rows of a part; its texts may be plain, or dictionaries."""
        if self._waiting and self._waiting[0].schema != part.schema:
            self._flush()
        self._waiting.append(part)
        self._rows += part.num_rows
        if self._rows >= CHUNK_ROWS:
            self._flush()

    def frame(self) -> pd.DataFrame:
        """All rows, in the order in which they came; the builder is empty afterwards."""
        self._flush()
        order = {axis: _sorted(texts) for axis, texts in self._texts.items()}
        columns: dict[str, Any] = {}
        for name, kind in zip(self._schema.names, self._schema.types, strict=True):
            if not _grows(kind):
                empty = _series(pa.chunked_array([], kind))
                columns[name] = pd.concat(self._others.pop(name) or [empty], ignore_index=True)
                continue
            values = self._numbers.pop(name).whole()  # freed column by column, where it is copied
            if pa.types.is_string(kind):
                values = _categorical(values, *order.get(axis_of(name), _sorted({})))
            elif not len(values):
                values = pa.array([], kind).to_numpy()
            columns[name] = values
        return pd.DataFrame(columns, copy=False)

    def _flush(self) -> None:
        if not self._waiting:
            return
        chunk = pa.concat_tables(self._waiting).combine_chunks()
        self._waiting, self._rows = [], 0
        for name, kind in zip(self._schema.names, self._schema.types, strict=True):
            column = chunk.column(name)
            if not _grows(kind):
                self._others[name].append(_series(column))
            elif pa.types.is_string(kind):
                self._numbers[name].extend(self._codes(self._texts[axis_of(name)], column))
            else:
                self._numbers[name].extend(column.to_numpy())
        del chunk
        pa.default_memory_pool().release_unused()

    def _codes(self, known: dict[str, int], column: pa.ChunkedArray) -> NDArray[Any]:
        """Numbers of texts, -1 for none; new texts get the next ones."""
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        parts = []
        for chunk in column.chunks:
            texts = chunk.dictionary.to_pylist()
            places = np.array([known.setdefault(text, len(known)) for text in texts] + [-1], np.int32)
            parts.append(places[chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False)])
        return np.concatenate([np.empty(0, np.int32), *parts]).astype(_code_type(len(known)), copy=False)


class Growing:
    """An array that grows at its end, and takes no more memory than what was put into it.

    Its room is doubled when it is full. What is not written to is not in memory yet, and what is given up
    goes back to the system at once: both hold of mapped memory, and not of what `malloc` gives.
    """

    def __init__(self) -> None:
        self._room, self._rows = np.empty(0, np.int8), 0

    def extend(self, values: NDArray[Any]) -> None:
        """Append values; the type becomes one that holds both."""
        rows = self._rows + len(values)
        kind = np.promote_types(self._room.dtype, values.dtype) if self._rows else values.dtype
        if rows > len(self._room) or kind != self._room.dtype:
            full = rows > len(self._room)
            room = _mapped(max(rows, 2 * len(self._room)) if full else len(self._room), kind)
            room[: self._rows] = self._room[: self._rows]
            self._room = room
        self._room[self._rows : rows] = values
        self._rows = rows

    def whole(self) -> NDArray[Any]:
        """All values, as a view."""
        return self._room[: self._rows]


def _mapped(length: int, kind: np.dtype[Any]) -> NDArray[Any]:
    size = length * kind.itemsize
    if size < mmap.PAGESIZE:
        return np.empty(length, kind)
    return np.frombuffer(mmap.mmap(-1, size), kind)


def _grows(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_string(kind)


def _series(column: pa.ChunkedArray) -> pd.Series:
    """As pandas makes it; bytes of a fixed number stay as Arrow keeps them, without an object each."""
    if pa.types.is_fixed_size_binary(column.type):
        return pd.Series(pd.arrays.ArrowExtensionArray(column))
    return column.to_pandas()


def _categorical(codes: NDArray[Any], categories: list[str], places: NDArray[np.int32]) -> pd.Categorical:
    kind = pd.CategoricalDtype(pd.Index(categories, dtype="str"))
    return pd.Categorical.from_codes(places.astype(_code_type(len(categories)))[codes], dtype=kind)


def _sorted(texts: dict[str, int]) -> tuple[list[str], NDArray[np.int32]]:
    """The texts in order, and for the number of each its place there; -1 stays -1."""
    ordered = sorted(texts)
    places = np.full(len(texts) + 1, -1, np.int32)
    places[[texts[text] for text in ordered]] = np.arange(len(ordered), dtype=np.int32)
    return ordered, places


def _code_type(categories: int) -> np.dtype[Any]:
    """The smallest type of codes, as pandas keeps them."""
    return np.min_scalar_type(-max(1, categories))
