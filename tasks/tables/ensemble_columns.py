"""The columns of tables `kernel_spread` and `ensembles`: nets of one width together (docs/method.md)."""

import pyarrow as pa

from espalier.tasks.tables.columns import INTEGER, KEY, NET_AXES, REAL, TEXT
from espalier.tasks.tables.table import TableSpec

WIDTH_AXES = [column for column in NET_AXES if column[0] not in ("net", "seed")]
"""What all nets of a row have in common."""

_TOGETHER: tuple[tuple[str, pa.DataType, str], ...] = (
    ("nets", INTEGER, "S: nets of this width. Where seeds were added, rows of fewer nets stand beside it"),
    ("widest", INTEGER, "width of the nets of reference: the widest of the setting at this epoch"),
    ("widest_nets", INTEGER, "number of these nets"),
    ("images", INTEGER, "held-out images"),
)
_WARNING = ("warning", TEXT, "empty, or why a value is missing")

KERNEL_SPREAD = TableSpec(
    "kernel_spread",
    (
        KEY,
        *WIDTH_AXES,
        ("layer", INTEGER, "l: the kernel is of h_l, what layer l + 1 reads, and of the last layer's logits"),
        ("layer_name", TEXT, "kind and number of that layer"),
        *_TOGETHER,
        ("channels", INTEGER, "C, channels of the layer"),
        ("positions", INTEGER, "P, positions of the layer's map"),
        ("kernel_square", REAL, "mean over pairs of images of the squared mean kernel, unbiased"),
        ("kernel_variance", REAL, "variance over seeds of the kernel, as a share of `kernel_square`"),
        (
            "kernel_bias",
            REAL,
            "squared distance of the mean kernel from the widest nets', sampling parts taken out (so it may "
            "be negative), as a share of the widest's `kernel_square`; null at the widest width",
        ),
        _WARNING,
    ),
    "setting, width, epoch and layer",
)

ENSEMBLES = TableSpec(
    "ensembles",
    (
        KEY,
        *WIDTH_AXES,
        ("size", INTEGER, "k: nets that are averaged; the row of 1 is of single nets"),
        ("groups", INTEGER, "ensembles of that size, which share no net; the row is their mean"),
        *_TOGETHER,
        ("loss", REAL, "loss of the mean of the nets' outputs (of the logits, in nats)"),
        ("accuracy", REAL, "accuracy of the mean of the logits; null in a regression"),
        ("probability_loss", REAL, "loss of the mean of the nets' probabilities; null in a regression"),
        ("probability_accuracy", REAL, "accuracy of that mean; null in a regression"),
        (
            "output_distance",
            REAL,
            "mean squared difference of the mean output of k nets from the widest nets' mean without "
            "sampling error: `output_bias` + `output_variance` / k on average; null at the widest width",
        ),
        ("probability_distance", REAL, "the same of the mean probabilities; null in a regression"),
        ("output_square", REAL, "of all S nets: mean square of their mean output, unbiased"),
        ("output_variance", REAL, "of all S nets: variance over seeds of one net's outputs"),
        (
            "output_bias",
            REAL,
            "of all S nets: squared difference of their mean output from the widest nets', sampling parts "
            "taken out (so it may be negative); null at the widest width",
        ),
        ("probability_variance", REAL, "`output_variance` of the probabilities; null in a regression"),
        ("probability_bias", REAL, "`output_bias` of the probabilities; null in a regression"),
        _WARNING,
    ),
    "setting, width, epoch and size of the ensembles",
)
