"""The result tables of one sweep folder or several as pandas frames, every page that is read checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self, get_args

import pandas as pd

from espalier.analysis.part_frames import read_table
from espalier.analysis.row_filters import check_filters
from espalier.analysis.sweep_folders import Folders, open_sweeps
from espalier.analysis.wanted_columns import asked_tables, wanted
from espalier.orchestrator.planning.kinds.registry import know_tables
from espalier.orchestrator.store.part_ranges import Filters
from espalier.tasks.tables.schemas import SCHEMAS

Shared = Literal["once", "each"]


@dataclass(frozen=True, eq=False)
class Tables:
    """The tables of one sweep; docs/tables.md gives each column's meaning and unit.

    A table of which nothing is written yet is a frame without rows that has the schema's columns. Tables of
    further kinds of work are in `more`, and are attributes like the others.
    """

    nets: pd.DataFrame
    grafts: pd.DataFrame
    downstream: pd.DataFrame
    curves: pd.DataFrame
    ridges: pd.DataFrame
    exchangeability: pd.DataFrame
    hybrids: pd.DataFrame
    trials: pd.DataFrame
    trial_curves: pd.DataFrame
    tuned: pd.DataFrame
    jobs: pd.DataFrame
    more: Mapping[str, pd.DataFrame] = field(default_factory=dict[str, pd.DataFrame])

    def __getattr__(self, name: str) -> pd.DataFrame:
        """A table of a further kind of work."""
        more = self.__dict__.get("more", {})
        if name in more:
            return more[name]
        if name in SCHEMAS:
            raise AttributeError(f"table '{name}' was not read: {', '.join(self.frames())} were asked for")
        raise AttributeError(f"there is no table '{name}'; there are {', '.join(SCHEMAS)}")

    def frames(self) -> dict[str, pd.DataFrame]:
        """All tables that were read, by name."""
        known = self.__dict__
        named = {name: known[name] for name in self.__dataclass_fields__ if name != "more" and name in known}
        return named | dict(self.more)

    @classmethod
    def _of(cls, frames: Mapping[str, pd.DataFrame]) -> Self:
        """The tables of these frames; one that is not among them is no attribute, rather than an empty frame
        which would say that nothing is there."""
        fields = [name for name in cls.__dataclass_fields__ if name != "more"]
        more = {name: frame for name, frame in frames.items() if name not in fields}
        tables = cls(**{name: frames.get(name, pd.DataFrame()) for name in fields}, more=more)
        for name in fields:
            if name not in frames:
                del tables.__dict__[name]
        return tables


def load(
    folder: Folders,
    filters: Filters = (),
    *,
    columns: Sequence[str] | None = None,
    tables: Sequence[str] | None = None,
    shared: Shared = "once",
    image_blocks: bool = False,
) -> Tables:
    """Read the tables of a sweep folder, or of several, finished or still running.

    Texts are categories, since names repeat themselves: they compare, sort, group and merge as texts do.
    Those of one axis, such as `source_net` and `target_net`, have the same categories. A category takes no
    text that it does not know: `frame.astype({"null": "str"})` makes texts of it (docs/reading.md).

    Args:
        folder: The sweep's folder: a local path, or a URL such as `s3://bucket/sweep`. Of several, a list or
            `{name: folder}`, each table has a first column `sweep`, a category: the name, which in a list is
            the folder's own, or the folder as it was given where two have one name.
        filters: Conditions that all rows meet, as `[("target_width", ">=", 16), ("null", "==", "none")]`.
            Each holds for those tables that have its column. Of widths and epochs it is remembered which
            parts have which, so that the others are not opened; rows that do not meet the rest are dropped
            part by part.
        columns: Columns that are read: each table has those of them that are its own, in its own order, and
            tables that have none are not read. Of large parts no other bytes are read, and no other checksums
            looked at. `espalier.AXES` are those by which fits tell rows apart. All by default.
        tables: Tables that are read. All by default; what is not read is no attribute of the result.
        shared: What is done with a piece of work that several of the folders hold, which has the same key and
            is the same result: `"once"` keeps the rows from the first folder that has it, `"each"` keeps them
            for each folder. Of studies with the same key the trials of the first folder are kept.
        image_blocks: Whether `grafts` gets its columns `drop_by_block` and `fvu_by_block`: 192 bytes a row,
            which the held-out images' part of an error alone needs. Without the first the error of an
            accuracy drop is an upper bound, without the second nothing is known of that of an FVU
            (docs/method.md, section 5).

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: A part is damaged or does not have its table's columns, and the error names it; or a
            filter, a column, a table or a list of folders is none.
    """
    sweeps = open_sweeps(folder)
    know_tables()
    check_filters(filters)
    if shared not in get_args(Shared):
        raise ValueError(f"shared: found {shared!r}; 'once' or 'each' would do")
    asked = [wanted(name, columns, filters, image_blocks) for name in asked_tables(tables, columns)]
    return Tables._of({each.table: read_table(sweeps, each, apart=shared == "each") for each in asked})
