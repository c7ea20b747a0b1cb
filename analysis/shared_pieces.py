"""Pieces of work whose rows were read twice: while parts are merged, and where two sweeps share work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
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
    """The pieces of work of the parts that were read, by 64 bits each; nothing is kept of their rows.

    Two pieces may have the same bits, and would then be taken for one that is in two parts: of two million
    pieces in one of ten million readings, which then takes longer.
    """

    def __init__(self, identity: Sequence[str]) -> None:
        self._identity = list(identity)
        self._found: list[NDArray[np.uint64]] = []

    def add(self, rows: pa.Table, counts: Sequence[int] = ()) -> None:
        """Take note of the pieces of a part, or of several that follow each other, of so many rows each."""
        if not self._identity:
            return
        if len(self._identity) == 1 and len(counts) < 2:
            self._found.append(_distinct_bits(rows.column(self._identity[0])))
        else:
            mixed = sum((_bits(rows.column(name), place) for place, name in enumerate(self._identity)), _NONE)
            parts = np.split(np.broadcast_to(mixed, rows.num_rows), np.cumsum(counts)[:-1])
            self._found += [np.unique(bits) for bits in parts]

    def repeated(self) -> bool:
        """Whether a piece is in two parts."""
        every = np.sort(np.concatenate([np.empty(0, np.uint64), *self._found]))
        return bool((every[1:] == every[:-1]).any())


_NONE = np.zeros((), np.uint64)
_FACTORS = np.random.default_rng(0).integers(0, 2**63, 64, np.uint64) * np.uint64(2) + np.uint64(1)


def _distinct_bits(column: pa.ChunkedArray) -> NDArray[np.uint64]:
    """The bits of a column's values, each once."""
    if not pa.types.is_dictionary(column.type):
        return np.unique(_bits(column))
    found = _mixed([_of_texts(each.dictionary) for each in column.chunks])
    return found if len(column.chunks) == 1 else np.unique(found)  # a dictionary has each once


def _bits(column: pa.ChunkedArray, place: int = 0) -> NDArray[np.uint64]:
    """64 bits of each value, which are others in another place; the same however it is stored."""
    if pa.types.is_integer(column.type):
        return _mixed([column.fill_null(-1).to_numpy().astype(np.int64).view(np.uint64)], place)
    plain = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    return _mixed(
        [_of_texts(each.dictionary)[each.indices.fill_null(0).to_numpy()] for each in plain.chunks], place
    )


def _mixed(bits: Sequence[NDArray[np.uint64]], place: int = 0) -> NDArray[np.uint64]:
    whole = np.concatenate([np.empty(0, np.uint64), *bits])
    return (whole ^ (whole >> np.uint64(32))) * _FACTORS[-1 - place]


def _of_texts(texts: pa.StringArray) -> NDArray[np.uint64]:
    """64 bits of each text: its words of eight bytes, each times a number of its own."""
    raw_RB = _bytes_of(texts)
    width = -(-raw_RB.shape[1] // 8)
    if raw_RB.shape[1] < 8 * width:
        raw_RB = np.pad(raw_RB, ((0, 0), (0, 8 * width - raw_RB.shape[1])))
    word_RW = raw_RB.view("<u8")
    return ((word_RW ^ (word_RW >> np.uint64(29))) * np.resize(_FACTORS, width)).sum(axis=1, dtype=np.uint64)


def _bytes_of(texts: pa.StringArray) -> NDArray[np.uint8]:
    """The bytes of texts, a row each, zeros after the shorter ones; a view of keys, all of one length."""
    lengths = pc.call_function("binary_length", [texts]).fill_null(0).to_numpy(zero_copy_only=False)
    if len(texts) and lengths.min() == lengths.max() > 0:
        start = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset]
        return np.frombuffer(texts.buffers()[2], np.uint8, lengths.sum(), start).reshape(len(texts), -1)
    raw = np.array([text.encode() for text in texts.fill_null("").to_pylist()], "S")
    return raw.view(np.uint8).reshape(len(texts), raw.dtype.itemsize)


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
    by = [pd.Series(frame[name]) for name in identity]
    once &= _is_first(pd.Series(part, frame.index), once, [*by, sweep] if apart else by)
    if several and not apart and identity[0] == STUDY:
        once &= _is_first(sweep, once, [pd.Series(frame[STUDY])])
    return once


def _is_first(number: pd.Series, once: NDArray[np.bool_], by: Sequence[pd.Series]) -> NDArray[np.bool_]:
    """Whether a row has the least number of the rows that are kept and alike in `by`."""
    kept = number.where(once, len(once) + 1)
    return (kept == kept.groupby(list(by), observed=True, dropna=False).transform("min")).to_numpy()
