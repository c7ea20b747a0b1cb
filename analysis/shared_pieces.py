"""Pieces of work whose rows were read twice: while parts are merged, and where two sweeps share work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

STUDY = "study"
"""Names a study, of which the trials belong together: those of two folders are never mixed."""


@dataclass(frozen=True)
class ReadPart:
    """A part that was read.

    Attributes:
        sweep: Number of the folder, in the order in which they were given.
        rows: How many of its rows are in the frame.
        listed: Whether it was still there when the last parts were read. If not, another one has its rows.
        merged: Whether it was made of other parts.
    """

    sweep: int
    rows: int
    listed: bool = True
    merged: bool = False


class Pieces:
    """The pieces of work of the parts that were read, each once a part; nothing is kept of their rows."""

    def __init__(self, identity: Sequence[str]) -> None:
        self._identity = list(identity)
        self._found: list[pa.Table] = []

    def add(self, rows: pa.Table, counts: Sequence[int] = ()) -> None:
        """Take note of the pieces of a part, or of several that follow each other, of so many rows each."""
        if not self._identity or not rows.num_rows:
            return
        columns = [(name, _distinct_texts(rows.column(name))) for name in self._identity]
        if len(counts) < 2 and len(columns) == 1 and (texts := columns[0][1]) is not None:
            self._found.append(pa.table({self._identity[0]: texts}))
            return
        plain = {name: _plain(rows.column(name)) for name in self._identity}
        numbers = pa.array(np.repeat(np.arange(len(counts)), counts)) if counts else pa.nulls(rows.num_rows)
        found = pa.table({**plain, "_part": numbers.cast(pa.int64())})
        each = found.group_by([*self._identity, "_part"], use_threads=False).aggregate([])
        self._found.append(each.select(self._identity))

    def repeated(self) -> bool:
        """Whether a piece is in two parts."""
        if not self._found:
            return False
        every = pa.concat_tables(self._found)
        if len(self._identity) == 1:
            return len(every.column(0).unique()) < every.num_rows
        return every.group_by(self._identity, use_threads=False).aggregate([]).num_rows < every.num_rows


def _distinct_texts(column: pa.ChunkedArray) -> pa.Array | None:
    """The texts of a column of dictionaries, each once; None of any other column."""
    if not pa.types.is_dictionary(column.type):
        return None
    return pa.chunked_array([chunk.dictionary for chunk in column.chunks], column.type.value_type).unique()


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def sweep_numbers(parts: Sequence[ReadPart]) -> NDArray[np.int64]:
    """Of each row of a frame, the number of the sweep that it is from."""
    return np.repeat([part.sweep for part in parts], [part.rows for part in parts]).astype(np.int64)


def each_once(
    frame: pd.DataFrame, parts: Sequence[ReadPart], identity: Sequence[str], *, apart: bool
) -> NDArray[np.bool_]:
    """Of each row of a frame whether it is kept: every piece of work from the first part that holds it.

    While parts are being merged, a reader can see a row both in its own part and in the merged one.

    Args:
        frame: The rows, the columns that name a piece of work among them.
        parts: The parts that they were read from, in turn.
        identity: The columns that name a piece of work; without any, rows that are alike in all are one.
        apart: Whether what two sweeps share is kept in each.
    """
    part = np.repeat(np.arange(len(parts)), [one.rows for one in parts])
    sweep = pd.Series(sweep_numbers(parts), index=frame.index, name="_sweep")
    once = np.array([one.listed for one in parts], np.bool_)[part]
    several = len({one.sweep for one in parts}) > 1
    if not identity:
        if any(one.merged for one in parts) or several:
            once &= ~(frame.assign(_sweep=sweep) if apart else frame).duplicated().to_numpy()
        return once
    by = [frame[name] for name in identity]
    once &= _is_first(pd.Series(part, frame.index), once, [*by, sweep] if apart else by)
    if several and not apart and identity[0] == STUDY:
        once &= _is_first(sweep, once, [frame[STUDY]])
    return once


def _is_first(number: pd.Series, once: NDArray[np.bool_], by: Sequence[pd.Series]) -> NDArray[np.bool_]:
    """Whether a row has the least number of the rows that are kept and alike in `by`."""
    kept = number.where(once, len(once) + 1)
    return (kept == kept.groupby(list(by), observed=True, dropna=False).transform("min")).to_numpy()
