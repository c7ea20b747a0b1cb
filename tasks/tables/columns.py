"""Columns that several result tables share: the axes of nets and pairs, and what tells grafts apart."""

from __future__ import annotations

import pyarrow as pa

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
DIFFERENCES = ("same_width", "cross_width", "cross_epoch", "cross_setting", "skip")
"""What column `pairing` can say: in what the two nets of a row differ (`tasks.tables.axes.pairing`)."""

KEY = ("key", TEXT, "content key: the same key is the same result, wherever it was computed")
GRAFT_KIND = [
    (
        "method",
        TEXT,
        "exact (layer l by least squares), adam (by Adam) or stitch (a 1x1 conv to what B's layer l reads)",
    ),
    ("null", TEXT, "none for a real graft, else which null or floor the row is"),
    ("pairing", TEXT, "in what the two nets differ besides their seeds: " + ", ".join(DIFFERENCES)),
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
