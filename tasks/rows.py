"""The result tables: one explicit Arrow schema each, every column with its meaning and unit.

docs/tables.md is written from these descriptions and a test keeps the two together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from tasks.exchange_columns import EXCHANGEABILITY
from tasks.spec import PAIRINGS, Architecture, NetSpec, Snapshot
from tasks.trial_columns import TRIAL_CURVES, TRIALS, TUNED

TEXT, INTEGER, REAL, TRUTH = pa.string(), pa.int64(), pa.float64(), pa.bool_()

NET_AXES: list[tuple[str, pa.DataType, str]] = [
    ("net", TEXT, "short id of the trained net: the first 10 digits of its content key"),
    ("architecture", TEXT, "the family and its layer list, without the width"),
    ("width", INTEGER, "width multiple: channels of a layer = width x its entry in the layer list"),
    (
        "parametrization",
        TEXT,
        "how scales and learning rates depend on the width: sp, ntk, mup or mean_field",
    ),
    ("init", TEXT, "distribution of the initial weights: he_normal or uniform"),
    ("regularizer", TEXT, "l2, l12 or none"),
    ("reg_weight", REAL, "weight of the regularizer in the loss"),
    ("recipe", TEXT, "the rest of how it was trained, in words; empty where it was not recorded"),
    ("dataset", TEXT, "name of the data set"),
    ("seed", INTEGER, "seed of the initial weights"),
    ("epoch", INTEGER, "epochs of training behind this snapshot; 0 is the initial net"),
    ("tuned", TEXT, "empty, or what a study chose for this net (table `tuned`), in words"),
]
SETTING_AXES = [column for column in NET_AXES if column[0] not in ("net", "width", "seed", "epoch", "tuned")]
"""What a net is apart from its width and seed; the table `trials` has them before anything was chosen."""
STUDY = ("study", TEXT, "content key of the study: what is tuned, and how")
WIDTH = NET_AXES[2]
PAIR_AXES = [
    (f"{side}_{name}", kind, f"{side}: {text}")
    for side in ("source", "target")
    for name, kind, text in NET_AXES
]
KEY = ("key", TEXT, "content key: the same key is the same result, wherever it was computed")
GRAFT_KIND = [
    (
        "method",
        TEXT,
        "exact (layer l by least squares), adam (by Adam) or stitch (a 1x1 conv to what B's layer l reads)",
    ),
    ("null", TEXT, "none for a real graft, else which null or floor the row is"),
    ("pairing", TEXT, "in what the two nets differ besides their seeds: " + ", ".join(PAIRINGS)),
    ("skip", INTEGER, "layers left out between A's bottom and the layer fitted; 0 but in a skip graft"),
]
BN = (
    "bn",
    TEXT,
    "BN statistics from layer l on: target (B's own), reestimated (for the grafted net, on the training "
    "images), or none where no BN is",
)


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
                "fraction of variance unexplained at layer l, fitting images; a stitch has none",
            ),
            ("fvu_test", REAL, "the same on held-out images: 0 perfect, 1 no better than the mean"),
            ("fvu_channel_mean", REAL, "held-out mean over live channels of error / variance (Gu 2020)"),
            ("loss_test", REAL, "loss of the grafted net on held-out images"),
            ("accuracy_test", REAL, "accuracy of the grafted net on held-out images"),
            ("target_accuracy_test", REAL, "accuracy of the target net on held-out images"),
            ("source_accuracy_test", REAL, "accuracy of the source net on held-out images"),
            ("accuracy_drop", REAL, "target_accuracy_test - accuracy_test"),
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
            ("fvu_test", REAL, "fraction of the target's held-out variance unexplained at `layer`"),
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
                "train, graft, pool (nulls of several nets), hybrid, or probe (how a net trains fastest)",
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
                "done, failed (tried again), gave_up, diverged, or skipped (a net it needs failed)",
            ),
            ("error", TEXT, "empty, or one line that says what went wrong"),
            ("mode", TEXT, "of training: loop or grouped, the layout, x nets of the job; else empty"),
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
    "hybrids": "ordered pair and share of the source's channels",
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
    "nets": _NET_ADDED,
    "curves": _NET_ADDED,
    "grafts": _PAIR_ADDED,
    "downstream": _PAIR_ADDED,
    "ridges": _TUNED_ADDED,
    "hybrids": _TUNED_ADDED,
    "exchangeability": {"target_tuned": ""},
    "jobs": {"mode": ""},
}
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


def pairing(source: Snapshot, target: Snapshot, skip: int, null: str) -> str:
    """In what the nets of a graft differ besides their seeds: one of `spec.PAIRINGS`.

    Nulls belong to `same_width`, though of some the epochs or the widths differ.
    """
    if null != "none":
        return "same_width"
    if skip:
        return "skip"
    if source.net.width != target.net.width:
        return "cross_width"
    if setting(source.net) != setting(target.net):
        return "cross_setting"
    return "same_width" if source.epoch == target.epoch else "cross_epoch"


def setting(net: NetSpec) -> NetSpec:
    """What a net is apart from its width and seed, and from what was tuned for its width.

    Of its order whether it is its own.
    """
    order, recipe = (0,) if net.order else (), net.tuning.base if net.tuning else net.recipe
    empty = Architecture((0, 0, 0), ())
    return replace(net, architecture=empty, width=0, recipe=recipe, seed=0, order=order)


def recipe_text(net: NetSpec) -> str:
    """Column `recipe`: what of the training no other axis says; what was tuned is told without its value."""
    tuned = set(net.tuning.fields) if net.tuning else set[str]()
    recipe = net.tuning.base if net.tuning else net.recipe
    schedule = recipe.schedule

    def told(name: str, text: str, value: object) -> str:
        shown = f"{value:g}" if isinstance(value, float) else value
        return f"{text}tuned" if name in tuned else f"{text}{shown}"

    momentum = told("momentum", "momentum ", recipe.momentum) + (" nesterov" if recipe.nesterov else "")
    moments = f"{told('beta1', 'betas ', recipe.beta1)} {told('beta2', '', recipe.beta2)}"
    parts = [
        f"{told('optimizer', '', recipe.optimizer)} {told('lr', 'lr ', recipe.lr)}",
        momentum if recipe.optimizer == "sgd" else f"{moments}, {told('eps', 'eps ', recipe.eps)}",
        told("batch_size", "batch ", recipe.batch_size),
        told("schedule", "", schedule.kind),
    ]
    if schedule.epochs is not None:
        parts.append(f"over {schedule.epochs} epochs")
    if schedule.milestones:
        parts.append(f"{told('gamma', 'x ', schedule.gamma)} at {' '.join(map(str, schedule.milestones))}")
    parts.append(told("warmup_epochs", "warm-up ", schedule.warmup_epochs))
    parts.append("own order" if net.order else "shared order")
    parts += [f"{name} tuned" for name in ("augment", "nesterov") if name in tuned]
    return ", ".join([*parts, *_more_of_the_recipe(replace(net, recipe=recipe))])


def _more_of_the_recipe(net: NetSpec) -> list[str]:
    """What is told only where it is used."""
    recipe = net.recipe
    told = {
        recipe.precision: recipe.precision != "float32",
        recipe.augment: recipe.augment != "none",
        f"classes kept {' '.join(f'{share:g}' for share in recipe.class_keep)}": recipe.class_keep,
        f"label noise {recipe.label_noise:g}": recipe.label_noise,
        f"data seed {recipe.data_seed}": recipe.class_keep or recipe.label_noise,
        f"base width {net.base_width}": net.parametrization in ("ntk", "mup"),
        f"richness {net.richness:g}": net.parametrization == "mean_field",
    }
    return [text for text, used in told.items() if used]


def coordinate_axes(net: NetSpec) -> dict[str, Any]:
    """The axes of a net as the table of a coordinate check has them."""
    axes = net_axes(Snapshot("", "", net, 0))
    return {name: value for name, value in axes.items() if name not in ("net", "epoch")}


def tuned_fields(net: NetSpec) -> dict[str, Any]:
    """What a study chose of a net's recipe, by the fields' names in `[train]`."""
    values = vars(net.recipe.schedule) | vars(net.recipe) | {"schedule": net.recipe.schedule.kind}
    return {name: values[name] for name in net.tuning.fields} if net.tuning else {}


def setting_axes(net: NetSpec) -> dict[str, Any]:
    """The axes that tell a net's setting; what was tuned has no value there, since each width has its own."""
    tuned = tuned_fields(net)
    return {
        "architecture": net.family,
        "parametrization": net.parametrization,
        "init": net.init,
        "regularizer": "tuned" if "regularizer" in tuned else net.recipe.regularizer,
        "reg_weight": None if "reg_weight" in tuned else net.recipe.reg_weight,
        "recipe": recipe_text(net),
        "dataset": net.data.name,
    }


def in_words(parameters: Mapping[str, Any]) -> str:
    """What was tuned, in words.

    >>> in_words({"lr": 0.03125, "momentum": 0.9})
    'lr 0.03125, momentum 0.9'
    """
    told = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in parameters.items()}
    return ", ".join(f"{name} {value}" for name, value in told.items())


def net_axes(snapshot: Snapshot, prefix: str = "") -> dict[str, Any]:
    """The axes of a snapshot as plain columns, each name after `prefix`."""
    net = snapshot.net
    axes = setting_axes(net) | {
        "net": snapshot.net_key[:10],
        "width": net.width,
        "seed": net.seed,
        "epoch": snapshot.epoch,
        "tuned": in_words(tuned_fields(net)),
    }
    return {prefix + name: axes[name] for name, _, _ in NET_AXES}


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
