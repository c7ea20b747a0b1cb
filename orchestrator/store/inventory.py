"""What is in a store: found by its scan, kept up by its commits."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from espalier.cluster.pool import Receipt
from espalier.orchestrator.store.piece_set import Codes, PieceSet, coded, distinct
from espalier.tasks.tables.schemas import ROW_IDENTITY, SCHEMAS


@dataclass
class Inventory:
    """What a store holds.

    Attributes:
        present: Per table, the identities (`ROW_IDENTITY`) of the pieces whose rows are there.
        rows: Per table, the number of rows.
        blobs: Checkpoint name to size in bytes.
        receipts: Of the checkpoints those whose files workers wrote, by name (`blob_names`).
        strays: Sizes of workers' files that no row named when this was scanned, by the file.
        digests: The SHA-256 in the rows of checkpoints, by name; None until somebody has asked for it.
        problems: One message for each file that was not what it should be.
    """

    present: dict[str, PieceSet] = field(
        default_factory=lambda: {name: PieceSet(name) for name in ROW_IDENTITY}
    )
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SCHEMAS, 0))
    blobs: dict[str, int] = field(default_factory=dict[str, int])
    receipts: dict[str, Receipt] = field(default_factory=dict[str, Receipt])
    strays: dict[str, int] = field(default_factory=dict[str, int])
    digests: dict[str, str] | None = None
    problems: list[str] = field(default_factory=list[str])

    def fresh(self, table: str, rows: pa.Table) -> pa.Table:
        """The rows whose piece is not present yet."""
        present = self.present.get(table)
        if not present:
            return rows
        there = present.holds(rows)
        return rows.filter(pa.array(~there)) if there.any() else rows

    def forget(self, table: str) -> None:
        """Begin a table anew."""
        self.rows[table] = 0
        if table in ROW_IDENTITY:
            self.present[table] = PieceSet(table)

    def count(self, table: str, rows: pa.Table) -> Codes | None:
        """Take note of rows that are there now; gives what `codes` does."""
        self.rows[table] += rows.num_rows
        return self.present[table].add_rows(rows) if table in ROW_IDENTITY else np.empty(0, "S1")

    def count_codes(self, table: str, rows: int, codes: Codes) -> None:
        """Take note of so many rows, of pieces that are given by their codes."""
        self.rows[table] += rows
        if table in ROW_IDENTITY:
            self.present[table].add_codes(codes)

    def codes(self, table: str, rows: pa.Table) -> Codes | None:
        """The codes of the rows' pieces, each once; None if some have none."""
        if table not in ROW_IDENTITY:
            return np.empty(0, "S1")
        codes, odd = coded(table, rows)
        return None if odd else distinct(codes)
