"""The result tables: one explicit Arrow schema each, every column with its meaning and unit.

docs/tables.md is written from these descriptions and a test keeps the two together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from tasks.exchange_columns import EXCHANGEABILITY
from tasks.spec import Snapshot

TEXT, INTEGER, REAL = pa.string(), pa.int64(), pa.float64()

NET_AXES: list[tuple[str, pa.DataType, str]] = [
    ("net", TEXT, "short id of the trained net: the first 10 digits of its content key"),
    ("architecture", TEXT, "the family and its layer list, without the width"),
    ("width", INTEGER, "width multiple: channels of a layer = width x its entry in the layer list"),
    ("parametrization", TEXT, "how scales and learning rates depend on the width: sp"),
    ("regularizer", TEXT, "l2 or none"),
    ("reg_weight", REAL, "weight of the regularizer in the loss"),
    ("dataset", TEXT, "name of the data set"),
    ("seed", INTEGER, "seed of the initial weights"),
    ("epoch", INTEGER, "epochs of training behind this snapshot; 0 is the initial net"),
]
PAIR_AXES = [
    (f"{side}_{name}", kind, f"{side}: {text}")
    for side in ("source", "target")
    for name, kind, text in NET_AXES
]
KEY = ("key", TEXT, "content key: the same key is the same result, wherever it was computed")
GRAFT_KIND = [
    ("method", TEXT, "exact (layer l by least squares) or stitch (a 1x1 conv to what B's layer l reads)"),
    ("null", TEXT, "none for a real graft, else which null or floor the row is"),
    (
        "bn",
        TEXT,
        "BN statistics from layer l on: target (B's own), reestimated (for the grafted net, on the training "
        "images), or none where no BN is",
    ),
]


DRAW = [
    (
        "draw",
        INTEGER,
        "0; of the null pooled which group of the first random partition, of wider_subset which net, from 1",
    ),
    ("source_nets", INTEGER, "nets that the source's channels come from: 1 but for the null pooled"),
]


def _schema(columns: Iterable[tuple[str, pa.DataType, str]]) -> pa.Schema:
    return pa.schema([pa.field(name, kind, metadata={"description": text}) for name, kind, text in columns])


SCHEMAS: dict[str, pa.Schema] = {
    "nets": _schema(
        [
            KEY,
            *NET_AXES,
            (
                "loss_train",
                REAL,
                "mean cross-entropy on the training images, nats; of a regression mean squared error",
            ),
            ("loss_test", REAL, "the same on the held-out images"),
            (
                "accuracy_train",
                REAL,
                "share of training images classified rightly, 0 to 1; a regression has none",
            ),
            ("accuracy_test", REAL, "share of held-out images classified rightly, 0 to 1"),
            ("parameters", INTEGER, "number of trained parameters, those of BN included"),
            ("checkpoint", TEXT, "file name of the snapshot under checkpoints/"),
        ]
    ),
    "curves": _schema(
        [
            ("key", TEXT, "content key of the net; with epoch it names the row"),
            *NET_AXES,
            ("loss_train", REAL, "mean over the epoch's batches of the loss while training"),
            ("loss_test", REAL, "loss on the held-out images after the epoch"),
            ("accuracy_train", REAL, "share classified rightly over the epoch's batches while training"),
            ("accuracy_test", REAL, "share of held-out images classified rightly after the epoch"),
            ("learning_rate", REAL, "learning rate at the end of the epoch"),
            ("seconds", REAL, "wall time of the epoch, evaluation included, seconds"),
        ]
    ),
    "grafts": _schema(
        [
            KEY,
            *PAIR_AXES,
            ("layer", INTEGER, "l, the layer that was re-fitted, 2 to L"),
            ("layer_name", TEXT, "kind and number of that layer"),
            *GRAFT_KIND,
            *DRAW,
            (
                "fvu_train",
                REAL,
                "fraction of variance unexplained at layer l, fitting images; a stitch has none",
            ),
            ("fvu_test", REAL, "the same on held-out images: 0 perfect, 1 no better than the mean"),
            ("fvu_channel_mean", REAL, "held-out mean over live channels of error / variance (Gu 2020)"),
            ("loss_test", REAL, "loss of the grafted net on held-out images"),
            ("accuracy_test", REAL, "accuracy of the grafted net on held-out images"),
            ("target_accuracy_test", REAL, "accuracy of the target net on held-out images"),
            ("source_accuracy_test", REAL, "accuracy of the source net on held-out images"),
            ("accuracy_drop", REAL, "target_accuracy_test - accuracy_test"),
            ("ridge", REAL, "ridge: lambda = ridge x trace(G) / d"),
            ("products", TEXT, "type in which the products of this layer's fit were taken"),
            ("patch_dim", INTEGER, "d, inputs of the fit per output channel: kernel^2 x source channels"),
            ("effective_rank", REAL, "exp of the entropy of the spectrum of G"),
            ("condition_number", REAL, "largest over least eigenvalue of G among those kept"),
            ("rows", INTEGER, "rows of the regression: fitting images x positions"),
            ("images_train", INTEGER, "images that the layer was fitted on"),
            ("images_test", INTEGER, "held-out images"),
            ("dead_channels", INTEGER, "target channels with (almost) no held-out variance"),
            ("warning", TEXT, "empty, or why the row should be read with care"),
        ]
    ),
    "downstream": _schema(
        [
            KEY,
            *PAIR_AXES,
            *GRAFT_KIND,
            *DRAW,
            ("graft_layer", INTEGER, "the layer that was re-fitted"),
            ("layer", INTEGER, "the layer at which the error is measured, graft_layer to L"),
            ("layer_name", TEXT, "kind and number of that layer"),
            ("fvu_test", REAL, "fraction of the target's held-out variance unexplained at `layer`"),
        ]
    ),
    "exchangeability": _schema([KEY, *PAIR_AXES[len(NET_AXES) :], *EXCHANGEABILITY]),
    "jobs": _schema(
        [
            ("key", TEXT, "key of the job: of the snapshot, or of the tile"),
            ("kind", TEXT, "train or graft"),
            ("label", TEXT, "the job in words"),
            ("attempt", INTEGER, "from 1; counts within one run of the driver"),
            ("node", TEXT, "host that ran it"),
            ("device", TEXT, "cpu or the GPU's name"),
            ("start", pa.timestamp("us", tz="UTC"), "wall clock when it was submitted"),
            ("seconds", REAL, "seconds of work inside the worker; from submit to failure if it failed"),
            ("flops", REAL, "floating-point operations by the planner's model"),
            ("bytes_in", INTEGER, "bytes of snapshots read by the job"),
            (
                "outcome",
                TEXT,
                "done, failed (tried again), gave_up, diverged, or skipped (a net it needs failed)",
            ),
            ("error", TEXT, "empty, or one line that says what went wrong"),
        ]
    ),
}

ROW_PER = {
    "nets": "net and snapshot",
    "curves": "net and epoch of training",
    "grafts": "ordered pair, layer, method, null, draw and choice of BN statistics",
    "downstream": "graft and later layer",
    "exchangeability": "pool of nets and layer",
    "jobs": "attempt at a job",
}

ROW_IDENTITY: dict[str, tuple[str, ...]] = {
    "nets": ("key",),
    "curves": ("key", "epoch"),
    "grafts": ("key",),
    "downstream": ("key",),
    "exchangeability": ("key",),
}
"""The columns that say which piece of work a row belongs to: the store keeps each piece once.

All rows of a graft key are made, published and kept together.
"""

_ORDINARY: dict[str, str | int] = {"bn": "none", "draw": 0, "source_nets": 1}
ADDED: dict[str, dict[str, str | int]] = {"grafts": _ORDINARY, "downstream": _ORDINARY}
"""Columns that came after tables had been written, and what holds for every row from before."""


def completed(name: str, part: pa.Table) -> pa.Table:
    """A part of a table with the columns that came after it was written; any other part as it is."""
    schema = SCHEMAS[name]
    missing = {
        column: value for column, value in ADDED.get(name, {}).items() if column not in part.schema.names
    }
    if not missing or {*part.schema.names, *missing} != set(schema.names):
        return part
    for column, value in missing.items():
        field = schema.field(column)
        part = part.append_column(field, pa.array([value] * part.num_rows, field.type))
    return part.select(schema.names)


def net_axes(snapshot: Snapshot, prefix: str = "") -> dict[str, Any]:
    """The axes of a snapshot as plain columns, each name after `prefix`."""
    net = snapshot.net
    axes = {
        "net": snapshot.net_key[:10],
        "architecture": net.family,
        "width": net.width,
        "parametrization": net.parametrization,
        "regularizer": net.recipe.regularizer,
        "reg_weight": net.recipe.reg_weight,
        "dataset": net.data.name,
        "seed": net.seed,
        "epoch": snapshot.epoch,
    }
    return {prefix + name: value for name, value in axes.items()}


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


def page() -> str:
    """docs/tables.md: every table and column, from the schemas (`make docs`)."""
    lines = [
        "# The tables",
        "",
        "Parquet, one folder per table under `<sweep>/tables/`, one part per finished job. Every row carries",
        "its axes as plain columns, so that `pandas.read_parquet` of a folder is enough to plot. This page",
        "is made from `tasks/rows.py` by `make docs`.",
    ]
    for name, schema in SCHEMAS.items():
        lines += ["", f"## `{name}`", "", f"One row per {ROW_PER[name]}.", "", "| column | type | meaning |"]
        lines.append("| --- | --- | --- |")
        for field in schema:
            text = (field.metadata or {})[b"description"].decode()
            lines.append(f"| `{field.name}` | {field.type} | {text} |")
    return "\n".join(lines) + "\n"
