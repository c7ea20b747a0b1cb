"""Which widths and epochs a part's rows have: by them parts are merged, and readers open what they need."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from espalier.tasks.tables.schemas import ROW_IDENTITY, SCHEMAS

Ranges = dict[str, tuple[int, int]]
"""Smallest and largest value by column; a column that has a null is not in it."""
Filters = Sequence[tuple[str, str, Any]]
"""Conditions that all hold, as pandas and pyarrow write them: `[("target_width", ">=", 16)]`."""

RANGED = tuple(f"{side}{name}" for name in ("width", "epoch") for side in ("", "source_", "target_"))
OPERATORS = ("=", "==", "!=", "<", "<=", ">", ">=", "in", "not in")


def ranges(rows: pa.Table) -> Ranges:
    """The ranges of those columns of `RANGED` that a table has."""
    found: Ranges = {}
    for name in RANGED:
        if name in rows.column_names and rows.num_rows and not rows.column(name).null_count:
            ends = pc.call_function("min_max", [rows.column(name)]).as_py()
            found[name] = ends["min"], ends["max"]
    return found


def partition_columns(table: str) -> list[str]:
    """The columns by which a table's merged parts are kept apart: what a piece of work has one value of."""
    identity = ROW_IDENTITY.get(table, ())
    return [name for name in RANGED if name in SCHEMAS[table].names and name not in identity]


def partition(table: str, found: Ranges) -> tuple[int, ...] | None:
    """The one value that a part's rows have in each partition column; None if they have several."""
    ends = [found.get(name, (0, 1)) for name in partition_columns(table)]
    return tuple(low for low, _ in ends) if all(low == high for low, high in ends) else None


def may_match(found: Ranges, filters: Filters) -> bool:
    """Whether a part of such ranges can have a row that meets all filters.

    >>> may_match({"width": (4, 8)}, [("width", ">", 8)]), may_match({"width": (4, 8)}, [("seed", "==", 1)])
    (False, True)
    """
    return all(_may_meet(*found[name], how, value) for name, how, value in filters if name in found)


def _may_meet(low: int, high: int, how: str, value: Any) -> bool:
    if how == "in":
        return any(low <= each <= high for each in value if isinstance(each, int | float))
    if how in ("=", "=="):
        return low <= value <= high
    if how in ("<", "<="):
        return {"<": operator.lt, "<=": operator.le}[how](low, value)
    if how in (">", ">="):
        return {">": operator.gt, ">=": operator.ge}[how](high, value)
    excluded = list(value) if how == "not in" else [value]
    return low != high or low not in excluded
