"""Rows as Arrow tables of their schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from espalier.tasks.tables.schemas import SCHEMAS


def table(name: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table of schema `name`.

    Raises:
        ValueError: A row lacks a column of the schema, or has one that the schema does not know.
    """
    schema = SCHEMAS[name]
    for row in rows:
        if set(row) != set(schema.names):
            odd = sorted(set(row) ^ set(schema.names))
            raise ValueError(
                f"a row of table '{name}' must have exactly its schema's columns; at odds: {odd}"
            )
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
