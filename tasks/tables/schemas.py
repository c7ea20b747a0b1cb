"""The result tables: one explicit Arrow schema each, every column with its meaning and unit.

docs/tables.md is written from these descriptions and a test keeps the two together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from espalier.tasks.tables.columns import (
    BN,
    DRAW,
    GRAFT_KIND,
    INTEGER,
    KEY,
    NET_AXES,
    PAIR_AXES,
    REAL,
    SETTING_AXES,
    STUDY,
    TEXT,
    TRUTH,
    WIDTH,
)
from espalier.tasks.tables.exchange_columns import EXCHANGEABILITY
from espalier.tasks.tables.image_blocks import ERRORS, LOST
from espalier.tasks.tables.table import TableSpec
from espalier.tasks.tables.trial_columns import TRIAL_CURVES, TRIALS, TUNED


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
            ("sha256", TEXT, "SHA-256 of that file, if its worker wrote it to a shared store; else null"),
            (
                "state_sha256",
                TEXT,
                "the same of the optimizer's state, which is kept while training goes on from it",
            ),
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
            (
                "seconds",
                REAL,
                "wall time of the epoch, evaluation included, seconds; of a group the net's share",
            ),
        ]
    ),
    "grafts": _schema(
        [
            KEY,
            *PAIR_AXES,
            ("layer", INTEGER, "l, the layer that was re-fitted, 2 to L"),
            ("layer_name", TEXT, "kind and number of that layer"),
            *GRAFT_KIND,
            BN,
            *DRAW,
            (
                "fvu_train",
                REAL,
                "fraction of variance unexplained at layer l, fitting images; a stitch has none; null if the "
                "target is constant",
            ),
            (
                "fvu_test",
                REAL,
                "the same on held-out images: 0 perfect, 1 no better than the mean, null if the target is "
                "constant",
            ),
            ("fvu_channel_mean", REAL, "held-out mean over live channels of error / variance (Gu 2020)"),
            ("loss_test", REAL, "loss of the grafted net on held-out images"),
            ("accuracy_test", REAL, "accuracy of the grafted net on held-out images"),
            ("target_accuracy_test", REAL, "accuracy of the target net on held-out images"),
            ("source_accuracy_test", REAL, "accuracy of the source net on held-out images"),
            ("accuracy_drop", REAL, "target_accuracy_test - accuracy_test"),
            *LOST,
            *ERRORS,
            ("ridge", REAL, "ridge, given or chosen: lambda = ridge x trace(G) / d; null of Adam"),
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
            BN,
            *DRAW,
            ("graft_layer", INTEGER, "the layer that was re-fitted"),
            ("layer", INTEGER, "the layer at which the error is measured, graft_layer to L"),
            ("layer_name", TEXT, "kind and number of that layer"),
            (
                "fvu_test",
                REAL,
                "fraction of the target's held-out variance unexplained at `layer`, null if that is 0",
            ),
        ]
    ),
    "ridges": _schema(
        [
            KEY,
            *PAIR_AXES,
            ("layer", INTEGER, "l, the layer that was re-fitted"),
            ("layer_name", TEXT, "kind and number of that layer"),
            *GRAFT_KIND,
            ("ridge", REAL, "ridge that was tried: lambda = ridge x trace(G) / d"),
            (
                "fvu_train",
                REAL,
                "fraction unexplained at layer l (a stitch: at h of l - 1), fitting images",
            ),
            ("fvu_validation", REAL, "the same on the training images that were held back for the choice"),
            ("chosen", TRUTH, "whether the graft's rows are those of this ridge"),
            ("images_validation", INTEGER, "training images that were held back"),
        ]
    ),
    "hybrids": _schema(
        [
            KEY,
            *PAIR_AXES,
            ("share", REAL, "p: of each hidden layer's C channels, round(p C) are the source's, 0 to 1"),
            ("loss_train", REAL, "loss of the hybrid on the training images, without the regularizer"),
            ("accuracy_train", REAL, "accuracy of the hybrid on the training images"),
            ("loss_test", REAL, "loss of the hybrid on held-out images"),
            ("accuracy_test", REAL, "accuracy of the hybrid on held-out images"),
            ("source_accuracy_test", REAL, "accuracy of the source net on held-out images"),
            ("target_accuracy_test", REAL, "accuracy of the target net on held-out images"),
            (
                "fvu_last",
                REAL,
                "share of the mixture's held-out variance that z of the last hidden layer leaves",
            ),
            ("fvu_largest", REAL, "the largest such share of any hidden layer or projection of a shortcut"),
            ("ridge", REAL, "ridge of every layer's fit: lambda = ridge x trace(G) / d"),
            ("images_train", INTEGER, "images that the hybrid was fitted on"),
            ("images_test", INTEGER, "held-out images"),
            ("warning", TEXT, "empty, or by layer why the row should be read with care"),
        ]
    ),
    "exchangeability": _schema([KEY, *PAIR_AXES[len(NET_AXES) :], *EXCHANGEABILITY]),
    "trials": _schema([STUDY, WIDTH, *SETTING_AXES, *TRIALS]),
    "trial_curves": _schema([STUDY, WIDTH, *TRIAL_CURVES]),
    "tuned": _schema([STUDY, WIDTH, *SETTING_AXES, *TUNED]),
    "jobs": _schema(
        [
            ("key", TEXT, "key of the job: of the snapshot, or of the group or tile"),
            (
                "kind",
                TEXT,
                "kind of work, such as train, graft, pool (of several nets) or probe (of speed and bits)",
            ),
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
                "done, failed (tried again), gave_up, diverged, skipped (a net it needs failed), or refused "
                "(its answer came after it had been given up)",
            ),
            ("error", TEXT, "empty, or one line that says what went wrong"),
            ("mode", TEXT, "of training: loop or grouped, the layout, x nets of the job; else empty"),
            (
                "cause",
                TEXT,
                "of a failure: lost (its worker or node died), preempted, late, error, memory, store (no "
                "access to the shared store), or hopeless (it would fail again); empty for the rest, and "
                "where none was recorded",
            ),
        ]
    ),
}

COORDINATES = _schema(
    [
        *(axis for axis in NET_AXES if axis[0] not in ("net", "epoch")),
        ("step", INTEGER, "steps of the optimizer, from 1, at a constant learning rate"),
        ("layer", INTEGER, "l, 1 to L"),
        ("layer_name", TEXT, "kind and number of that layer"),
        ("initial", REAL, "root mean square of z_l before training, over images, channels and positions"),
        ("change", REAL, "root mean square of z_l after the step minus z_l before training"),
    ]
)
"""What `espalier coordcheck` writes beside the tables, to `coordcheck/changes.parquet`."""

ROW_PER = {
    "nets": "net and snapshot",
    "curves": "net and epoch of training",
    "grafts": "ordered pair, layer, method, null, draw and choice of BN statistics",
    "downstream": "graft and later layer",
    "ridges": "graft and ridge that was tried, where `graft.ridges` lists some",
    "hybrids": "ordered pair, epoch and share of the source's channels",
    "exchangeability": "pool of nets and layer",
    "trials": "trial of a study, where `[tune]` asks for one",
    "trial_curves": "trial, seed and epoch",
    "tuned": "study whose best trial was chosen; it is chosen once",
    "jobs": "attempt at a job",
}

ROW_IDENTITY: dict[str, tuple[str, ...]] = {
    "nets": ("key",),
    "curves": ("key", "epoch"),
    "grafts": ("key",),
    "downstream": ("key",),
    "ridges": ("key",),
    "hybrids": ("key",),
    "exchangeability": ("key",),
    "trials": ("study", "number"),
    "trial_curves": ("study", "number"),
    "tuned": ("study",),
}
"""The columns that say which piece of work a row belongs to: the store keeps each piece once.

All rows of a graft key are made, published and kept together.
"""

_NET_ADDED: dict[str, Any] = {"init": "he_normal", "recipe": "", "tuned": ""}
_PAIR_ADDED: dict[str, Any] = {
    f"{side}_{name}": value for side in ("source", "target") for name, value in _NET_ADDED.items()
} | {"bn": "none", "pairing": "same_width", "skip": 0, "draw": 0, "source_nets": 1}
_TUNED_ADDED: dict[str, Any] = {"source_tuned": "", "target_tuned": ""}
ADDED: dict[str, dict[str, Any]] = {
    "nets": _NET_ADDED | {"sha256": None, "state_sha256": None},
    "curves": _NET_ADDED,
    "grafts": _PAIR_ADDED | {name: None for name, _, _ in (*LOST, *ERRORS)},
    "downstream": _PAIR_ADDED,
    "ridges": _TUNED_ADDED,
    "hybrids": _TUNED_ADDED,
    "exchangeability": {"target_tuned": ""},
    "jobs": {"mode": "", "cause": ""},
}
"""Columns that were added after tables had been written, and their value in every earlier row."""


def add_table(table: TableSpec) -> None:
    """Make the table of a kind of work known, beside those above; twice is once."""
    SCHEMAS[table.name], ROW_PER[table.name] = table.schema, table.row_per
    ROW_IDENTITY[table.name] = table.identity


def completed(name: str, part: pa.Table) -> pa.Table:
    """A part of a table with the columns that were added since it was written; any other part unchanged."""
    schema = SCHEMAS[name]
    if part.schema.names == schema.names:
        return part
    missing = {
        column: value for column, value in ADDED.get(name, {}).items() if column not in part.schema.names
    }
    if not missing or {*part.schema.names, *missing} != set(schema.names):
        return part
    for column, value in missing.items():
        field = schema.field(column)
        part = part.append_column(field, pa.array([value] * part.num_rows, field.type))
    return part.select(schema.names)
