"""What is asked for of a table: some of its columns, of the rows that meet some conditions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from espalier.analysis.row_filters import of_table
from espalier.orchestrator.store.part_ranges import Filters
from espalier.tasks.tables.image_blocks import WIDE_COLUMNS
from espalier.tasks.tables.schemas import ROW_IDENTITY, SCHEMAS

SWEEP = "sweep"
"""The column that says which of several sweeps a row is from."""


@dataclass(frozen=True)
class Wanted:
    """What is read of one table.

    Attributes:
        table: Its name.
        shown: The columns that were asked for, in the table's order.
        kept: The columns that a frame is made of: `shown`, and what tells rows apart that are read twice.
        filters: The conditions on this table's columns.
        verified: Whether the checksums of what is not read are looked at too.
    """

    table: str
    shown: tuple[str, ...]
    kept: tuple[str, ...]
    filters: Filters
    verified: bool

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns that name a piece of work; a table of events has none."""
        return ROW_IDENTITY.get(self.table, ())

    @property
    def first(self) -> list[str]:
        """What is looked at before all else: which rows are kept, and of which pieces of work they are."""
        return self._ordered({*self.identity, *(name for name, _, _ in self.filters)})

    @property
    def left_out(self) -> list[str]:
        """The columns that are not decoded."""
        return self._ordered({*SCHEMAS[self.table].names} - {*self.kept, *self.first})

    @property
    def share(self) -> float:
        """About how much of a large part is read."""
        return 1.0 if self.verified else 1 - len(self.left_out) / len(SCHEMAS[self.table])

    def with_identity(self) -> Self:
        """The same, and in the frame what tells of which piece of work a row is."""
        return replace(self, kept=tuple(self._ordered({*self.kept, *self.identity})))

    def _ordered(self, names: Collection[str]) -> list[str]:
        return [name for name in SCHEMAS[self.table].names if name in names]


def wanted(table: str, columns: Iterable[str] | None, filters: Filters, image_blocks: bool) -> Wanted:
    """What is read of a table where `columns`, or all, are asked for.

    The rows of a table without an identity are told apart by all that they say.
    """
    names = SCHEMAS[table].names
    if columns is None:
        shown = tuple(name for name in names if image_blocks or name not in WIDE_COLUMNS)
    else:
        asked = {*columns}
        shown = tuple(name for name in names if name in asked)
    kept = shown if table in ROW_IDENTITY else tuple(names)
    return Wanted(table, shown, kept, of_table(filters, table), columns is None)


def asked_tables(tables: Sequence[str] | None, columns: Sequence[str] | None) -> list[str]:
    """The tables that are read: those that are named, or all, but for those that have none of the columns.

    Raises:
        ValueError: There is no such table or column, or a table that is named has none of the columns.
    """
    for name, given in (("tables", tables), ("columns", columns)):
        if isinstance(given, str):
            raise ValueError(f"{name}: found the text {given!r}; give a list, such as [{given!r}]")
    named = [*SCHEMAS] if tables is None else [*tables]
    if unknown := [name for name in named if name not in SCHEMAS]:
        raise ValueError(f"tables: there is no table {unknown[0]!r}; there are {', '.join(SCHEMAS)}")
    if columns is None:
        return named
    known = {column for schema in SCHEMAS.values() for column in schema.names}
    if unknown := [column for column in columns if column not in known]:
        raise ValueError(f"columns: no table has a column {unknown[0]!r}; docs/tables.md lists them")
    read = [name for name in named if {*columns} & {*SCHEMAS[name].names}]
    if tables is not None and (lacking := [name for name in named if name not in read]):
        raise ValueError(f"columns: table '{lacking[0]}' has none of them; docs/tables.md lists its columns")
    return read
