"""The definition of one result table, as one value."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

Column = tuple[str, pa.DataType, str]
"""A column's name, type, and its meaning and unit."""


@dataclass(frozen=True)
class TableSpec:
    """A result table.

    Attributes:
        name: The table's folder under `tables/`.
        columns: All columns, in order.
        row_per: What one row stands for, such as `net and snapshot`.
        identity: The columns that say which piece of work a row belongs to: each piece is kept once.
    """

    name: str
    columns: tuple[Column, ...]
    row_per: str
    identity: tuple[str, ...] = ("key",)

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema, with each column's meaning in its metadata."""
        fields = [pa.field(name, kind, metadata={"description": text}) for name, kind, text in self.columns]
        return pa.schema(fields)
