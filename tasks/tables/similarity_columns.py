"""The columns of tables `similarity` and `features` beside their keys and axes (docs/method.md)."""

import pyarrow as pa

from espalier.tasks.tables.columns import INTEGER, KEY, NET_AXES, PAIR_AXES, REAL, TEXT
from espalier.tasks.tables.table import TableSpec

_LAYER: tuple[tuple[str, pa.DataType, str], ...] = (
    ("layer", INTEGER, "l: the features are h_l, what layer l + 1 reads, and of the last layer the logits"),
    ("layer_name", TEXT, "kind and number of that layer"),
)

SIMILARITY = TableSpec(
    "similarity",
    (
        KEY,
        *PAIR_AXES,
        ("pairing", TEXT, "in what the two nets differ besides their seeds, as in `grafts`"),
        *_LAYER,
        ("measure", TEXT, "which measure (docs/method.md, section 6)"),
        ("kind", TEXT, "similarity (large is alike) or distance (large is different)"),
        ("value", REAL, "its value on held-out images; null where it is not defined: see `warning`"),
        ("self_value", REAL, "mean of what it gives for each of the two nets with itself"),
        (
            "corrected",
            REAL,
            "of `cka` and `cka_channels`: the value corrected for finite channels; null of other measures, "
            "where a layer has one channel, and where what a net's different channels share is not positive",
        ),
        ("null", TEXT, "images (of the target net permuted) or labels (channels dealt anew to the two nets)"),
        ("null_mean", REAL, "mean of the permuted values"),
        ("null_sd", REAL, "their standard deviation"),
        ("p_value", REAL, "(1 + permuted values as extreme) / (1 + permutations)"),
        (
            "calibrated",
            REAL,
            "how far the value is beyond the null's 5 % threshold, 0 there and 1 at its extreme",
        ),
        (
            "best_p_value",
            REAL,
            "of the pair's layer with the best value alone: its p-value against the best layer "
            "under each permutation; null in other layers, and with null `labels`, which no two layers share",
        ),
        ("best_calibrated", REAL, "`calibrated` of that best value, likewise"),
        ("permutations", INTEGER, "permutations of this null"),
        ("scale_ratio", REAL, "root mean square of the source's features over that of the target's"),
        ("images", INTEGER, "held-out images"),
        ("positions", INTEGER, "positions of the layer's map"),
        ("source_channels", INTEGER, "channels of the source's layer"),
        ("target_channels", INTEGER, "channels of the target's layer"),
        ("warning", TEXT, "empty, or why there is no value, no p-value or no corrected value"),
    ),
    "unordered pair of nets, layer and measure",
)

FEATURES = TableSpec(
    "features",
    (
        KEY,
        *NET_AXES,
        *_LAYER,
        ("channel", INTEGER, "number of the channel, from 0"),
        ("mean", REAL, "mean of the channel over held-out images and positions"),
        ("variance", REAL, "its variance"),
        ("kurtosis", REAL, "fourth central moment over squared variance, 3 for a Gaussian; null if constant"),
        ("dead_share", REAL, "of the layer: share of channels with (almost) no variance"),
        ("participation_ratio", REAL, "of the layer: (sum e)^2 / sum e^2 of the covariance's eigenvalues e"),
        ("effective_rank", REAL, "of the layer: exp of the entropy of the eigenvalues' shares"),
        ("decay", REAL, "of the layer: s in e_k ~ k^-s over ranks `decay_first` to `decay_last`, or null"),
        ("decay_first", INTEGER, "first rank of that fit, counted from 1"),
        ("decay_last", INTEGER, "last rank of that fit"),
        ("images", INTEGER, "held-out images"),
        ("positions", INTEGER, "positions of the layer's map"),
    ),
    "net, snapshot, layer and channel",
)
