"""Recipes by name: `train.preset`, which gives the fields of `[train]` that are left out.

`gu2020` is the recipe of Gu et al., NeurIPS 2020, and `gu2020-synthetic` that of their study of cos 4x. Where
each field comes from, docs/method.md says (section 4).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

GU_EPOCHS = 200
GU_MILESTONES = (60, 120, 180)
GU_SNAPSHOTS = (0, 1, 2, 5, *range(10, GU_EPOCHS + 1, 10))
GU_DROPOUT = 0.5
"""Before the dense layers of VGG16 and VGG19: a field of `[network]`."""

FREE = ("epochs", "snapshots", "regularizer", "reg_weight")
"""What may differ from a preset: the length, what is kept, and the regularizer, which the paper varies."""

SYNTHETIC_EPOCHS = 20
SYNTHETIC_SNAPSHOTS = (0, 1, 2, 5, 10)


def gu2020(epochs: int) -> dict[str, Any]:
    """The fields of `[train]` that Gu et al. 2020 set.

    In fewer (or more) epochs the milestones lie at the same shares of the training, to the nearest whole
    epoch, and those that would be its end are left out; the warm-up stays one epoch long.

    >>> gu2020(200)["milestones"], gu2020(10)["milestones"], gu2020(1)["schedule"]
    ((60, 120, 180), (3, 6, 9), 'constant')
    >>> gu2020(12)["snapshots"]
    (0, 1, 2, 5, 10, 12)
    """
    nearest = {max(1, round(milestone * epochs / GU_EPOCHS)) for milestone in GU_MILESTONES}
    milestones = tuple(sorted(milestone for milestone in nearest if milestone < epochs))
    return {
        "epochs": epochs,
        "snapshots": (*(epoch for epoch in GU_SNAPSHOTS if epoch < epochs), epochs),
        "optimizer": "sgd",
        "lr": 0.01,
        "momentum": 0.9,
        "nesterov": True,
        "batch_size": 64,
        "schedule": "multi_step" if milestones else "constant",
        "milestones": milestones,
        "gamma": 0.2,
        "warmup_epochs": 1.0,
        "regularizer": "l12",
        "reg_weight": 1.0,
        "reg_biases": True,
        "augment": "crop_flip",
        "data_order": "shared",
        "class_keep": (),
        "label_noise": 0.0,
    }


def gu2020_synthetic(epochs: int) -> dict[str, Any]:
    """The fields of `[train]` of the authors' study of cos 4x.

    >>> gu2020_synthetic(3)["snapshots"]
    (0, 1, 2, 3)
    """
    return {
        "epochs": epochs,
        "snapshots": (*(epoch for epoch in SYNTHETIC_SNAPSHOTS if epoch < epochs), epochs),
        "optimizer": "sgd",
        "lr": 1e-3,
        "momentum": 0.9,
        "nesterov": True,
        "batch_size": 100,
        "schedule": "constant",
        "milestones": (),
        "warmup_epochs": 0.0,
        "regularizer": "l2",
        "reg_weight": 2e-4,
        "reg_biases": True,
        "augment": "none",
        "data_order": "shared",
        "class_keep": (),
        "label_noise": 0.0,
    }


PRESETS = {"gu2020": (gu2020, GU_EPOCHS), "gu2020-synthetic": (gu2020_synthetic, SYNTHETIC_EPOCHS)}
"""Each with its own number of epochs."""


def filled(given: dict[str, Any]) -> dict[str, Any]:
    """The fields of `[train]` with those that its preset sets.

    Raises:
        ValueError: A field that the preset sets is given another value; names it.
    """
    name = given.get("preset", "none")
    if not isinstance(name, str) or name not in PRESETS:
        return given
    make, usual = PRESETS[name]
    preset = make(_epochs(given.get("epochs"), usual))
    for field, value in preset.items():
        found = given.get(field, value)
        if field not in FREE and _plain(found) != value:
            raise ValueError(
                f"{field} is {value!r} in the preset '{name}', found {found!r}: leave {field} out, or leave "
                f"the preset out and write the recipe's fields down ({', '.join(FREE)} are free beside it)"
            )
    if given.get("regularizer", preset["regularizer"]) != preset["regularizer"]:
        del preset["reg_weight"]  # which is a weight of the preset's own regularizer
    return preset | given


def _epochs(given: object, usual: int) -> int:
    """The number of epochs, as far as it is one: what is wrong with it the field itself says."""
    if isinstance(given, int) and not isinstance(given, bool) and given >= 1:
        return given
    return usual


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def refuse_other_dropout(preset: str, family: str, dropout: float) -> None:
    """Raise ValueError where a VGG has another dropout than the preset's."""
    if preset == "gu2020" and family in ("vgg16", "vgg19") and dropout != GU_DROPOUT:
        raise ValueError(
            f"network.dropout is {GU_DROPOUT:g} of a {family} in the preset 'gu2020', found {dropout:g}: "
            "leave network.dropout out, or leave train.preset out and write the recipe's fields down"
        )


def refuse_regularizer_without_weight(preset: str, varied: Sequence[Collection[str]]) -> None:
    """Raise ValueError where regularizers are varied at the preset's one weight, which is a weight of one."""
    for fields in varied:
        if preset != "none" and "train.regularizer" in fields and "train.reg_weight" not in fields:
            raise ValueError(
                f"'train.regularizer' is varied under the preset '{preset}', whose weight is of one: vary "
                "'train.reg_weight' with it, such as in [[sweep.settings]]"
            )
