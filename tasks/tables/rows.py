"""Rows as Arrow tables of their schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from espalier.tasks.tables.schemas import SCHEMAS


def table(name: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table of schema `name`.

    Raises:
        ValueError: There is no table of that name, or a row lacks a column of its schema, or has another.
    """
    if name not in SCHEMAS:
        raise ValueError(f"no kind of work has a table '{name}'; tables are: {', '.join(SCHEMAS)}")
    schema = SCHEMAS[name]
    for row in rows:
        if set(row) != set(schema.names):
            odd = sorted(set(row) ^ set(schema.names))
            raise ValueError(
                f"a row of table '{name}' must have exactly its schema's columns; at odds: {odd}"
            )
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
