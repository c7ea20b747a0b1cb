"""docs/tables.md, from the schemas (`make docs`)."""

from __future__ import annotations

import pyarrow as pa

from espalier.tasks.tables.schemas import COORDINATES, ROW_PER, SCHEMAS


def page() -> str:
    """docs/tables.md: every table and column, from the schemas (`make docs`)."""
    lines = [
        "# The tables",
        "",
        "Parquet, one folder per table under `<sweep>/tables/`, one part per finished job. Every row carries",
        "its axes as plain columns, so that `pandas.read_parquet` of a folder is enough to plot.",
        "[reading.md](reading.md) asks a question of pandas, DuckDB and polars. This page is made from",
        "`tasks/tables/schemas.py` by `make docs`.",
    ]
    for name, schema in SCHEMAS.items():
        lines += ["", f"## `{name}`", "", f"One row per {ROW_PER[name]}.", "", *_columns(schema)]
    lines += [
        "",
        "## `coordcheck/changes.parquet`",
        "",
        "Written by `espalier coordcheck` beside the tables, anew at",
    ]
    lines += ["each call. One row per net, step and layer.", "", *_columns(COORDINATES)]
    return "\n".join(lines) + "\n"


def _columns(schema: pa.Schema) -> list[str]:
    """A table of the columns, in Markdown."""
    lines = ["| column | type | meaning |", "| --- | --- | --- |"]
    for field in schema:
        text = (field.metadata or {})[b"description"].decode()
        lines.append(f"| `{field.name}` | {field.type} | {text} |")
    return lines
