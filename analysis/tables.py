"""The result tables of a sweep folder as pandas frames, every page's checksum verified."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from espalier.analysis.frames import FrameBuilder
from espalier.orchestrator.planning.kinds.registry import know_tables
from espalier.tasks.tables.schemas import ROW_IDENTITY, SCHEMAS, completed


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
        if name not in more:
            raise AttributeError(f"there is no table '{name}'; there are {', '.join(SCHEMAS)}")
        return more[name]

    def frames(self) -> dict[str, pd.DataFrame]:
        """All tables by name."""
        named = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "more"}
        return named | dict(self.more)


def load(folder: str | os.PathLike[str]) -> Tables:
    """Read all tables of a sweep folder, finished or still running.

    Args:
        folder: The sweep's folder: a local path, or any URL that fsspec opens (`s3://...`).

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: A part is damaged or does not have its table's columns; the error names it.
    """
    filesystem, root = fsspec.url_to_fs(os.fspath(folder))
    if not filesystem.isdir(root):
        raise FileNotFoundError(
            f"no sweep folder at '{folder}'; `espalier new {quote(str(folder))}` makes one"
        )
    know_tables()
    frames = {name: _read_table(filesystem, root, name) for name in SCHEMAS}
    named = {name: frames.pop(name) for name in Tables.__dataclass_fields__ if name in frames}
    return Tables(**named, more=frames)


def _read_table(filesystem: Any, root: str, name: str) -> pd.DataFrame:
    paths = _parts(filesystem, f"{root.rstrip('/')}/tables/{name}")
    with ThreadPoolExecutor() as pool:  # on object storage the time is the round trips
        parts = list(pool.map(lambda path: _read_part(filesystem, path, name), paths))
    builder = FrameBuilder(SCHEMAS[name])
    for part in parts:
        builder.add(part)
    whole = builder.frame()
    return _each_once(whole, [part.num_rows for part in parts], ROW_IDENTITY.get(name, ()))


def _parts(filesystem: Any, folder: str) -> list[str]:
    """The table's files in order of name; `.` and `_` begin names of staged or private files."""
    if not filesystem.isdir(folder):
        return []
    paths = sorted(filesystem.ls(folder, detail=False))
    return [path for path in paths if path.endswith(".parquet") and Path(path).name[0] not in "._"]


def _read_part(filesystem: Any, path: str, name: str) -> pa.Table:
    schema = SCHEMAS[name]
    try:
        with filesystem.open(path, "rb") as stream:
            part = pq.ParquetFile(stream, page_checksum_verification=True).read()
    except (OSError, pa.ArrowException) as error:
        found = str(error).strip().split("\n")[0]
        raise ValueError(f"cannot read {path}: {found}; {_CURE}") from error
    part = completed(name, part)
    if not part.schema.equals(schema):
        raise ValueError(f"{path} is not a part of table '{name}': {_at_odds(part.schema, schema)}; {_CURE}")
    return part.replace_schema_metadata(None).cast(schema)


_CURE = "move it away, and `espalier run FOLDER` recomputes its rows"


def _at_odds(found: pa.Schema, wanted: pa.Schema) -> str:
    missing = [field.name for field in wanted if field.name not in found.names]
    extra = [field.name for field in found if field.name not in wanted.names]
    kinds = [
        f"{field.name} is {found.field(field.name).type}, not {field.type}"
        for field in wanted
        if field.name in found.names and found.field(field.name).type != field.type
    ]
    return f"columns missing {missing}, unknown {extra}, of another type {kinds}"


def _each_once(frame: pd.DataFrame, part_rows: list[int], identity: tuple[str, ...]) -> pd.DataFrame:
    """Keep each piece of work from the first part that holds it.

    While parts are being merged, a reader can see a row both in its own part and in the merged one.
    """
    if not identity or len(part_rows) < 2:
        return frame
    part = pd.Series([index for index, rows in enumerate(part_rows) for _ in range(rows)], index=frame.index)
    first = part.groupby([frame[column] for column in identity]).transform("min")
    return frame.take(np.flatnonzero(part == first)).reset_index(drop=True)
