"""Frames from the rows of many parts: texts as categories, and never two copies of a whole table.

Names in a table repeat themselves (a net's key stands in thousands of rows), so that a text is a number into
a sorted list of the texts of its axis. Columns of one axis, such as `source_net` and `target_net`, share
their list: they can be compared, joined and sorted like texts.
"""

from __future__ import annotations

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
        self._arrays: dict[str, list[Any]] = {name: [] for name in schema.names}
        self._texts: dict[str, dict[str, int]] = defaultdict(dict)

    def add(self, part: pa.Table) -> None:
        """Take the rows of a part; its texts may be plain, or dictionaries."""
        self._waiting.append(part)
        self._rows += part.num_rows
        if self._rows >= CHUNK_ROWS:
            self._flush()

    def frame(self) -> pd.DataFrame:
        """All rows, in the order in which they came."""
        self._flush()
        order = {axis: _sorted(texts) for axis, texts in self._texts.items()}
        columns: dict[str, Any] = {}
        for field in self._schema:
            arrays = self._arrays.pop(field.name)  # freed column by column
            if pa.types.is_string(field.type):
                columns[field.name] = _categorical(arrays, *order.get(axis_of(field.name), _sorted({})))
            else:
                columns[field.name] = _whole(arrays, field.type)
        return pd.DataFrame(columns, copy=False)

    def _flush(self) -> None:
        if not self._waiting:
            return
        chunk = pa.concat_tables(self._waiting)
        self._waiting, self._rows = [], 0
        for name in self._schema.names:
            self._arrays[name].append(self._values(name, chunk.column(name)))

    def _values(self, name: str, column: pa.ChunkedArray) -> Any:
        kind = self._schema.field(name).type
        if pa.types.is_string(kind):
            return self._codes(self._texts[axis_of(name)], column)
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            return column.to_numpy()
        return column.to_pandas()

    def _codes(self, known: dict[str, int], column: pa.ChunkedArray) -> NDArray[np.int32]:
        """Numbers of texts, -1 for none; new texts get the next ones."""
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        parts = []
        for chunk in column.chunks:
            texts = chunk.dictionary.to_pylist()
            places = np.array([known.setdefault(text, len(known)) for text in texts] + [-1], np.int32)
            parts.append(places[chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False)])
        return np.concatenate(parts) if parts else np.empty(0, np.int32)


def _whole(arrays: list[Any], kind: pa.DataType) -> Any:
    """The pieces of a column as one."""
    if not arrays:
        return pa.array([], kind).to_pandas()
    return (
        np.concatenate(arrays) if isinstance(arrays[0], np.ndarray) else pd.concat(arrays, ignore_index=True)
    )


def _categorical(
    codes: list[NDArray[np.int32]], categories: list[str], places: NDArray[np.int32]
) -> pd.Categorical:
    whole = np.concatenate([np.empty(0, np.int32), *codes])
    return pd.Categorical.from_codes(
        _narrow(places[whole], len(categories)), dtype=pd.CategoricalDtype(categories)
    )


def _sorted(texts: dict[str, int]) -> tuple[list[str], NDArray[np.int32]]:
    """The texts in order, and for the number of each its place there; -1 stays -1."""
    ordered = sorted(texts)
    places = np.full(len(texts) + 1, -1, np.int32)
    places[[texts[text] for text in ordered]] = np.arange(len(ordered), dtype=np.int32)
    return ordered, places


def _narrow(codes: NDArray[np.int32], categories: int) -> NDArray[Any]:
    """Codes in the smallest type that holds them, as pandas keeps them."""
    return codes.astype(np.min_scalar_type(-max(1, categories)), copy=False)
