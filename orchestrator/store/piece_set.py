"""The pieces of work whose rows a table has: one sorted array of short bytes, not a Python object a piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from espalier.tasks.tables.schemas import ROW_IDENTITY, SCHEMAS

Identity = tuple[Any, ...]
Codes = NDArray[np.bytes_]

SEPARATOR = "\x1f"
"""Between the columns of an identity; what it stands in itself has no short code."""
LONGEST = 64
"""Bytes of a code. An identity that is longer, or has other than printable ASCII, is kept as it is."""
RECENT = 4096
"""Pieces at least that wait in a set until they are sorted into the array."""


def coded(table: str, rows: pa.Table) -> tuple[Codes, dict[int, Identity]]:
    """For each row the code of its piece, and by row number the identities that have none (coded as b"").

    A code is the columns of `ROW_IDENTITY` as text, in that order, with `SEPARATOR` between them.
    """
    columns = [rows.column(name).combine_chunks() for name in ROW_IDENTITY[table]]
    texts = [column if pa.types.is_string(column.type) else column.cast(pa.string()) for column in columns]
    plain = pc.call_function("ascii_is_printable", [texts[0]])
    for text in texts[1:]:
        plain = pc.call_function("and_kleene", [plain, pc.call_function("ascii_is_printable", [text])])
    joined = texts[0]
    for text in texts[1:]:
        joined = pc.call_function("binary_join_element_wise", [joined, text, pa.scalar(SEPARATOR)])
    length = pc.call_function("binary_length", [joined])
    fits = pc.call_function("less_equal", [length, pa.scalar(LONGEST)])
    short = pc.call_function("and_kleene", [plain, fits]).fill_null(False)
    filled = pc.call_function("if_else", [short, joined, pa.scalar("")])
    odd = np.flatnonzero(~short.to_numpy(zero_copy_only=False))
    kept = {int(place): tuple(column[int(place)].as_py() for column in columns) for place in odd}
    return _fixed(filled), kept


def _fixed(texts: pa.Array) -> Codes:
    """ASCII texts as bytes of one width, padded with zeros."""
    width = max(1, pc.call_function("max", [pc.call_function("binary_length", [texts])]).as_py() or 0)
    padded = pc.call_function("ascii_rpad", [texts], pc.PadOptions(width, "\0"))
    data = padded.buffers()[2] or b""
    start = padded.offset * width
    return np.frombuffer(data, f"S{width}", len(padded), start) if len(padded) else np.empty(0, "S1")


def distinct(codes: Codes) -> Codes:
    """The codes in order, each once; a tenth of the time that NumPy's `unique` takes on texts."""
    codes = np.sort(codes)
    return codes[np.concatenate([codes[:1] == codes[:1], codes[1:] != codes[:-1]])]


class PieceSet(Set[Identity]):
    """The identities (`ROW_IDENTITY`) of a table's pieces, as a set of tuples; a million take 40 MB or so."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._sorted: Codes = np.empty(0, "S1")
        self._recent: set[bytes] = set()
        self._odd: set[Identity] = set()

    def __len__(self) -> int:
        return len(self._sorted) + len(self._recent) + len(self._odd)

    def __contains__(self, piece: object) -> bool:
        if not isinstance(piece, tuple) or len(piece) != len(ROW_IDENTITY[self._table]):
            return False
        code = _code(piece)
        return piece in self._odd if code is None else bool(self._has(np.array([code], "S"))[0])

    def __iter__(self) -> Iterator[Identity]:
        kinds = [SCHEMAS[self._table].field(name).type for name in ROW_IDENTITY[self._table]]
        whole = [int if pa.types.is_integer(kind) else str for kind in kinds]
        for code in (*self._sorted.tolist(), *self._recent):
            texts = code.decode().split(SEPARATOR)
            yield tuple(kind(text) for kind, text in zip(whole, texts, strict=True))
        yield from self._odd

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> Any:
        return set(it)

    def missing(self, keys: Sequence[str] | Codes | NDArray[np.str_]) -> NDArray[np.bool_]:
        """Which of some keys, of a table whose pieces have one column of text, are not there.

        Keys are short and of printable ASCII, as `content_key` makes them; as an array of bytes they
        are looked for without a Python object each.
        """
        return ~self._has(np.asarray(keys).astype("S", copy=False))

    def holds(self, rows: pa.Table) -> NDArray[np.bool_]:
        """Of each row, whether its piece is there."""
        codes, odd = coded(self._table, rows)
        there = self._has(codes)
        there[list(odd)] = [piece in self._odd for piece in odd.values()]
        return there

    def add_rows(self, rows: pa.Table) -> Codes | None:
        """Add the pieces of rows. Gives their codes, each once; None if some have no code."""
        codes, odd = coded(self._table, rows)
        self._odd.update(odd.values())
        codes = distinct(np.delete(codes, list(odd)) if odd else codes)
        self.add_codes(codes)
        return None if odd else codes

    def add_codes(self, codes: Codes) -> None:
        """Add pieces by their codes, which may be there already."""
        if len(codes) < RECENT:
            new = codes[~self._has(codes)]
            self._recent.update(new.tolist())
            if len(self._recent) < max(RECENT, len(self._sorted) // 8):
                return
            codes = np.empty(0, "S1")
        recent = np.array(sorted(self._recent), "S") if self._recent else np.empty(0, "S1")
        self._recent = set()
        self._sorted = distinct(np.concatenate([self._sorted, recent, codes]))

    def _has(self, codes: Codes) -> NDArray[np.bool_]:
        there = np.zeros(len(codes), np.bool_)
        if len(self._sorted) and len(codes):
            if codes.dtype.itemsize > self._sorted.dtype.itemsize:
                self._sorted = self._sorted.astype(codes.dtype)
            # a search for what is in order finds its way through memory that is at hand
            order = np.argsort(codes) if len(codes) > RECENT else np.arange(len(codes))
            wanted = codes[order].astype(self._sorted.dtype, copy=False)
            place = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
            there[order] = self._sorted[place] == wanted
        if self._recent:
            there |= np.fromiter((code in self._recent for code in codes.tolist()), np.bool_, len(codes))
        return there


def _code(piece: Identity) -> bytes | None:
    texts = [str(value) for value in piece]
    plain = all(text.isascii() and (text.isprintable()) for text in texts) and None not in piece
    code = SEPARATOR.join(texts)
    return code.encode() if plain and len(code) <= LONGEST else None
