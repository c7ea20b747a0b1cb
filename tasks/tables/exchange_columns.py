"""The columns of table `exchangeability` beside its key and the target's axes (docs/method.md, section 3)."""

import pyarrow as pa

from espalier.tasks.tables.columns import INTEGER, REAL, TEXT

EXCHANGEABILITY: list[tuple[str, pa.DataType, str]] = [
    ("null", TEXT, "pooled or wider_subset"),
    ("layer", INTEGER, "l, the layer of the target that was fitted, 2 to L"),
    ("layer_name", TEXT, "kind and number of that layer"),
    ("nets", INTEGER, "K: other nets of the target's width; of wider_subset as many wide ones too"),
    ("one_width", INTEGER, "width of the nets of `fvu_one`"),
    ("null_width", INTEGER, "width of the nets that the channels of `fvu_null` were drawn from"),
    ("partitions", INTEGER, "random partitions of the channels that were drawn"),
    (
        "fvu_one",
        REAL,
        "held-out FVU of one net's channels, geometric mean over the K nets; "
        "null with all that follows if the target is constant",
    ),
    (
        "fvu_null",
        REAL,
        "held-out FVU of as many channels of the pool, geometric mean over all random groups; of "
        "wider_subset of as many channels of one wide net, geometric mean over the wide nets",
    ),
    ("ratio", REAL, "fvu_one / fvu_null: about 1 if all channels are draws from one distribution"),
    ("ratio_low", REAL, "the ratio if channels are exchangeable, 5 % quantile over the partitions"),
    ("ratio_high", REAL, "the same, 95 % quantile"),
    (
        "p_value",
        REAL,
        "share of the partitions, the real one included, with a ratio as large (near 1: a net serves better "
        "than the pool); of wider_subset as far from 1 on either side",
    ),
    (
        "p_spread",
        REAL,
        "share of the partitions, the real one included, whose groups differ as much from one another as the "
        "nets do, by the variance of log FVU; of wider_subset within either width",
    ),
    ("ridge", REAL, "ridge: lambda = ridge x trace(G) / d"),
    ("products", TEXT, "type in which the products of this layer's fits were taken"),
    ("patch_dim", INTEGER, "d, inputs of each fit per output channel: kernel^2 x channels of a group"),
    ("images_train", INTEGER, "images that the layer was fitted on"),
    ("images_test", INTEGER, "held-out images"),
    ("warning", TEXT, "empty, or why the row should be read with care: the first of any of its fits"),
]
