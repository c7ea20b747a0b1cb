"""Frames from the rows of many parts: texts as categories, and never two copies of a whole table.

Names in a table repeat themselves (a net's key stands in thousands of rows), so that a text is a number into
a sorted list of the texts of its axis. Columns of one axis, such as `source_net` and `target_net`, share
their list: they can be compared, joined and sorted like texts.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

CHUNK_ROWS = 50_000
"""Rows that are put together at once: small parts share the cost of a column."""

RELEASE_ROWS = 100_000
"""Rows after which the memory of their parts goes back to the system. It would be used again, and to get a
page anew takes longer than to fill it."""

FEW_TEXTS = 1000
"""Below which texts are not compared with those that are known before all have come."""

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
        self._rows, self._used, self._expected = 0, 0, 0
        self._numbers = {field.name: Growing() for field in schema if _grows(field.type)}
        self._others: dict[str, list[pd.Series]] = {
            field.name: [] for field in schema if not _grows(field.type)
        }
        self._texts: dict[str, Texts] = {}

    @property
    def columns(self) -> list[str]:
        """The names of what each part must have."""
        return self._schema.names

    def expect(self, rows: int) -> None:
        """Make room for so many rows at once; where more come, the columns grow."""
        self._expected = rows

    def add(self, part: pa.Table) -> None:
        """Take the rows of a part; its texts may be plain, or dictionaries."""
        if self._waiting and self._waiting[0].schema != part.schema:
            self._flush()
        self._waiting.append(part)
        self._rows += part.num_rows
        del part  # if it is large, each of its columns is given up once it is in the frame
        if self._rows >= CHUNK_ROWS:
            self._flush()

    def add_columns(self, columns: Iterable[pa.Table]) -> None:
        """Take a part of which a few columns come at a time."""
        self._flush()
        for some in columns:
            for name, column in zip(some.column_names, some.columns, strict=True):
                self._take(name, column)

    def frame(self) -> pd.DataFrame:
        """All rows, in the order in which they came; the builder is empty afterwards."""
        self._flush()
        pa.default_memory_pool().release_unused()  # of all parts, before categories take theirs
        order = {axis: self._texts.pop(axis).in_order() for axis in list(self._texts)}
        columns: dict[str, Any] = {}
        for name, kind in zip(self._schema.names, self._schema.types, strict=True):
            if not _grows(kind):
                empty = _series(pa.chunked_array([], kind))
                columns[name] = pd.concat(self._others.pop(name) or [empty], ignore_index=True)
                continue
            values = self._numbers.pop(name).whole()  # freed column by column, where it is copied
            if pa.types.is_string(kind):
                values = _categorical(values, *(order.get(axis_of(name)) or Texts().in_order()))
            elif not len(values):
                values = pa.array([], kind).to_numpy()
            columns[name] = values
        return pd.DataFrame(columns, copy=False)

    def _flush(self) -> None:
        if not self._waiting:
            return
        chunk = pa.concat_tables(self._waiting).combine_chunks()
        self._used += self._rows
        self._waiting, self._rows = [], 0
        columns = dict(zip(chunk.column_names, chunk.columns, strict=True))
        del chunk
        for name in self._schema.names:
            self._take(name, columns.pop(name))
        if self._used >= RELEASE_ROWS:
            self._used = 0
            pa.default_memory_pool().release_unused()

    def _take(self, name: str, column: pa.ChunkedArray) -> None:
        """Put the next rows of a column into the frame."""
        kind = self._schema.field(name).type
        if not _grows(kind):
            self._others[name].append(_series(column))
        elif pa.types.is_string(kind):
            texts = self._texts.setdefault(axis_of(name), Texts())
            dictionaries = pa.types.is_dictionary(column.type)
            for chunk in (column if dictionaries else column.dictionary_encode()).chunks:
                self._numbers[name].extend(texts.codes(chunk), self._expected)
        else:
            self._numbers[name].extend(column.to_numpy(), self._expected)


_NO_TEXTS = pa.array([], pa.string())


class Texts:
    """The texts of one axis, each with a number; one that comes in several parts may have several.

    What a part holds is compared with what is known once as much has come together as is known: the texts
    are not looked through for each part.
    """

    def __init__(self) -> None:
        self._known, self._count = _NO_TEXTS, 0
        self._places: list[NDArray[np.int32]] = []  # of each number, in `known`
        self._new: list[pa.StringArray] = []

    def codes(self, column: pa.DictionaryArray) -> NDArray[Any]:
        """The numbers of a column's texts, -1 for none."""
        begin = self._count
        self._count += len(column.dictionary)
        self._new.append(column.dictionary)
        if sum(map(len, self._new)) > max(FEW_TEXTS, len(self._known)):
            self._look_through()
        indices = _filled(column.indices)
        codes = np.add(indices, begin, dtype=_code_type(self._count), casting="unsafe")
        if column.null_count:
            codes[indices < 0] = -1
        return codes

    def in_order(self) -> tuple[pd.Index, NDArray[np.int32]]:
        """The texts in their order, and of each number the place there; -1 stays -1."""
        self._look_through()
        order = pc.call_function("array_sort_indices", [self._known]).to_numpy()
        place = np.empty(len(order), np.int32)
        place[order] = np.arange(len(order), dtype=np.int32)
        places = np.concatenate([place[each] for each in self._places] + [np.array([-1], np.int32)])
        return pd.Index(self._known.take(pa.array(order)).to_pandas(), dtype="str"), places

    def _look_through(self) -> None:
        for texts in [pa.concat_arrays(self._new)] if self._new else []:
            self._known, places = _numbered(self._known, texts)
            self._places.append(places)
        self._new = []


def _numbered(known: pa.StringArray, texts: pa.StringArray) -> tuple[pa.StringArray, NDArray[np.int32]]:
    """All that is known with `texts` among it, and the place of each text there.

    In Arrow's memory, where a text takes a third of what it takes as an object of Python.
    """
    places = _filled(_index_in(texts, known)).astype(np.int32)
    missing = places < 0
    if missing.any():
        others = texts.filter(pa.array(missing))
        new = others.unique()
        places[missing] = len(known) + _filled(_index_in(others, new))
        known = pa.concat_arrays([known, new])
    return known, places


def _index_in(texts: pa.StringArray, among: pa.StringArray) -> pa.Int32Array:
    return pc.call_function("index_in", [texts], pc.SetLookupOptions(among))


def _filled(places: pa.Int32Array) -> NDArray[Any]:
    return places.fill_null(-1).to_numpy(zero_copy_only=False)


class Growing:
    """An array that grows at its end, and takes no more memory than what was put into it.

    Its room is doubled when it is full. What is not written to is not in memory yet, and what is given up
    goes back to the system at once: both hold of mapped memory, and not of what `malloc` gives.
    """

    def __init__(self) -> None:
        self._room, self._rows = np.empty(0, np.int8), 0

    def extend(self, values: NDArray[Any], expected: int = 0) -> None:
        """Append values, with room for `expected` at least; the type becomes one that holds both."""
        rows = self._rows + len(values)
        kind = np.promote_types(self._room.dtype, values.dtype) if self._rows else values.dtype
        if rows > len(self._room) or kind != self._room.dtype:
            full = rows > len(self._room)
            room = _mapped(max(rows, expected, 2 * len(self._room)) if full else len(self._room), kind)
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


def _categorical(codes: NDArray[Any], categories: pd.Index, places: NDArray[np.int32]) -> pd.Categorical:
    kind = pd.CategoricalDtype(categories)
    return pd.Categorical.from_codes(places.astype(_code_type(len(categories)))[codes], dtype=kind)


def _code_type(categories: int) -> np.dtype[Any]:
    """The smallest type of codes, as pandas keeps them."""
    return np.min_scalar_type(-max(1, categories))
