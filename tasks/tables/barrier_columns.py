"""The tables `barriers` and `barrier_curves` (docs/method.md, section 2)."""

from __future__ import annotations

from espalier.tasks.tables.columns import INTEGER, KEY, PAIR_AXES, REAL, TEXT
from espalier.tasks.tables.table import Column, TableSpec

WAY: tuple[Column, ...] = (
    (
        "matching",
        TEXT,
        "how the target's channels were brought to the source's places: none, weights or activations",
    ),
    (
        "correction",
        TEXT,
        "none, or repair (BN statistics re-estimated at each t, maps without BN rescaled)",
    ),
)

_MEASURES = {
    "loss_train": "loss on training images",
    "loss_test": "loss on held-out images",
    "tempered_loss_train": "loss on training images, at the softmax temperature that they choose at each t",
    "tempered_loss_test": "loss on held-out images, at the temperature that training images choose",
    "accuracy_train": "accuracy on training images",
    "accuracy_test": "accuracy on held-out images",
}


def _summary(name: str, text: str) -> list[Column]:
    """The columns of one measure's barrier."""
    way = "below" if name.startswith("accuracy") else "above"
    return [
        (f"{name}_source", REAL, f"{text}, at t = 0"),
        (f"{name}_target", REAL, f"{text}, at t = 1"),
        (
            f"{name}_barrier",
            REAL,
            f"{text}: how far the curve lies {way} the straight line between its ends, at most",
        ),
        (f"{name}_peak", REAL, "t at which that is; 0 where the barrier is 0"),
    ]


BARRIERS_TABLE = TableSpec(
    "barriers",
    (
        KEY,
        *PAIR_AXES,
        *WAY,
        ("third_net", TEXT, "short id of the net that closes the cycle of matchings; null without one"),
        ("third_seed", INTEGER, "its seed"),
        (
            "weight_cosine",
            REAL,
            "cosine between all trained parameters of the source and of the matched target",
        ),
        (
            "channel_correlation",
            REAL,
            "mean over hidden channels of the correlation with the channel that is matched, training images",
        ),
        (
            "cycle_share",
            REAL,
            "share of channels that come back to themselves when they are matched from the source to the "
            "target, to the third net and back, mean over independent orders; null without a matching or "
            "without a third net",
        ),
        ("cycle_chance", REAL, "that share for random orders: mean of 1 / channels"),
        *(column for name, text in _MEASURES.items() for column in _summary(name, text)),
        ("points", INTEGER, "places t at which the path was evaluated, both ends included"),
        ("images_train", INTEGER, "training images that matching, correction, temperature and loss rest on"),
        ("images_test", INTEGER, "held-out images"),
        ("warning", TEXT, "empty, or why the row should be read with care"),
    ),
    "pair of nets, epoch, matching and correction, where `barriers.pairs` asks for some",
)

BARRIER_CURVES = TableSpec(
    "barrier_curves",
    (
        KEY,
        *PAIR_AXES,
        *WAY,
        ("t", REAL, "place on the path: 0 is the source, 1 the target with its channels matched"),
        ("loss_train", REAL, "loss on training images, without the regularizer; null where it is not finite"),
        ("loss_test", REAL, "loss on held-out images"),
        ("accuracy_train", REAL, "accuracy on training images; a regression has none"),
        ("accuracy_test", REAL, "accuracy on held-out images"),
        (
            "inverse_temperature",
            REAL,
            "factor of the logits that minimises the loss on training images; a regression has none",
        ),
        ("tempered_loss_train", REAL, "loss on training images with that factor"),
        ("tempered_loss_test", REAL, "loss on held-out images with that factor"),
    ),
    "row of `barriers` and place on its path",
)
