"""What is in a store: found by its scan, kept up by its commits, never written down."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from espalier.orchestrator.store.parquet_parts import Identity, identities
from espalier.tasks.tables.schemas import ROW_IDENTITY, SCHEMAS


@dataclass
class Inventory:
    """What a store holds.

    Attributes:
        present: Per table, the identities (`ROW_IDENTITY`) of the pieces whose rows are there.
        rows: Per table, the number of rows.
        blobs: Checkpoint name to size in bytes.
        problems: One message for each file that was not what it should be.
    """

    present: dict[str, set[Identity]] = field(default_factory=lambda: {name: set() for name in ROW_IDENTITY})
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SCHEMAS, 0))
    blobs: dict[str, int] = field(default_factory=dict[str, int])
    problems: list[str] = field(default_factory=list[str])

    def fresh(self, table: str, rows: pa.Table) -> pa.Table:
        """The rows whose piece is not present yet."""
        present = self.present.get(table)
        if not present:
            return rows
        return rows.filter(pa.array([piece not in present for piece in identities(table, rows)], pa.bool_()))

    def count(self, table: str, rows: pa.Table) -> None:
        """Take note of rows that are there now."""
        self.rows[table] += rows.num_rows
        if table in ROW_IDENTITY:
            self.present[table].update(identities(table, rows))
