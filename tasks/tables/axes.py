"""The axes of nets and pairs as plain columns: which nets a row is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from espalier.tasks.spec import Architecture, NetSpec, Snapshot
from espalier.tasks.tables.columns import NET_AXES


def pairing(source: Snapshot, target: Snapshot, skip: int, null: str) -> str:
    """In what the nets of a graft differ besides their seeds: one of `columns.DIFFERENCES`.

    Nulls belong to `same_width`, although in some of them the epochs or the widths differ.
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
    """The setting of a net: everything but its width, its seed, and what was tuned for its width.

    Of the order of images, only whether it is the net's own is kept.
    """
    order, recipe = (0,) if net.order else (), net.tuning.base if net.tuning else net.recipe
    empty = Architecture((0, 0, 0), ())
    return replace(net, architecture=empty, width=0, recipe=recipe, seed=0, order=order)


def recipe_text(net: NetSpec) -> str:
    """Column `recipe`: what no other axis gives of the training; tuned fields have no values."""
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
    """The parts that are named only where they are used."""
    recipe = net.recipe
    told = {
        recipe.precision: recipe.precision != "float32",
        recipe.augment: recipe.augment != "none",
        "l2 of biases too": recipe.reg_biases,
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
