"""Rows of tables that meet conditions, and the parts that can have such rows."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from espalier.orchestrator.store.files import TABLES, Files
from espalier.orchestrator.store.part_ranges import OPERATORS, RANGED, Filters, may_match
from espalier.orchestrator.store.remembered_parts import recall
from espalier.tasks.tables.schemas import SCHEMAS

_COMPARED = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def check_filters(filters: Filters) -> None:
    """Refuse what is no list of conditions.

    Raises:
        ValueError: It names the condition, what is wrong with it and what would do.
    """
    for each in filters:
        if not (isinstance(each, tuple | list) and len(each) == 3):
            raise ValueError(f'filters: {each!r} is no condition; such as ("target_width", ">=", 16)')
        name, how, value = each
        kinds = [schema.field(name).type for schema in SCHEMAS.values() if name in schema.names]
        if not kinds:
            raise ValueError(f"filters: no table has a column '{name}'; docs/tables.md lists them")
        if how not in OPERATORS:
            raise ValueError(f"filters: '{how}' compares nothing; known are {', '.join(OPERATORS)}")
        _check_value(name, how, value, pa.types.is_string(kinds[0]))


def _check_value(name: str, how: str, value: Any, text: bool) -> None:
    if how in ("in", "not in"):
        kinds, wanted = (list, tuple, set, frozenset), "a list of values"
    else:
        kinds, wanted = ((str,), "a text") if text else ((bool, int, float), "a number")
    if not isinstance(value, kinds):
        raise ValueError(f"filters: {value!r} is not what '{name}' is compared with by '{how}': {wanted}")
    if text and how[0] in "<>":
        raise ValueError(f"filters: '{name}' holds texts, which have no order; '{how}' is for numbers")


def of_table(filters: Filters, table: str) -> Filters:
    """The conditions on columns that a table has."""
    return [each for each in filters if each[0] in SCHEMAS[table].names]


def parts_to_open(files: Files, table: str, filters: Filters) -> dict[str, int]:
    """The parts that can have a row that meets all conditions, and their bytes.

    What is not remembered of a part, or of the part as it is now, says nothing against it.
    """
    folder = f"{TABLES}/{table}"
    listed = {part: stamp for part, stamp in files.stamps(folder).items() if part.endswith(".parquet")}
    known = recall(files, table) if any(name in RANGED for name, _, _ in filters) else {}
    return {
        f"{folder}/{part}": stamp.size
        for part, stamp in listed.items()
        if part not in known or known[part].stamp != stamp or may_match(known[part].ranges, filters)
    }


def met(rows: pa.Table, filters: Filters) -> NDArray[np.bool_]:
    """Which rows of some columns, those of the filters among them, meet all conditions; a missing value
    meets none."""
    found = np.ones(rows.num_rows, np.bool_)
    for name, how, value in filters:
        column = rows.column(name).to_pandas()
        found &= column.notna().to_numpy() & _meets(column, how, value)
    return found


def _meets(column: pd.Series, how: str, value: Any) -> NDArray[np.bool_]:
    if how in ("in", "not in"):
        found = column.isin(list(value)).to_numpy()
        return found if how == "in" else ~found
    return _COMPARED[how](column, value).to_numpy(np.bool_, na_value=False)
