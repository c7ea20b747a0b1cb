"""What `tune.space` may range over, and a recipe with what was tried in it."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError

from espalier.orchestrator.config.presets import FREE
from espalier.orchestrator.config.sections import Dimension
from espalier.orchestrator.config.train_section import TrainConfig
from espalier.tasks.spec import Recipe, Schedule

Parameters = Mapping[str, Any]
"""Fields of `[train]` and their values."""

PREFIX = "train."


def tunable() -> list[str]:
    """Fields of `[train]` that are part of a recipe and are one number or word each.

    The images, their order and the length of training are no part of it: they say what is compared.
    """
    parts = {field.name for kind in (Recipe, Schedule) for field in fields(kind)} | {"schedule"}
    return [name for name in TrainConfig.model_fields if name in parts - _COMPARED]


_COMPARED = {"epochs", "milestones", "class_keep", "label_noise", "data_seed"}


def is_whole(name: str) -> bool:
    """Whether a field holds whole numbers alone."""
    return int in _kinds(name) and float not in _kinds(name)


def _kinds(name: str) -> set[object]:
    """The types that a field's values may have."""
    return _parts(TrainConfig.model_fields[name].annotation)


def _parts(annotation: Any) -> set[object]:
    if get_origin(annotation) is Annotated:
        return _parts(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return set[object]().union(*(_parts(part) for part in get_args(annotation)))
    return {annotation}


def space_fault(space: Mapping[str, Dimension], train: TrainConfig) -> str:
    """What is wrong with a space for a recipe, in words; empty if nothing is."""
    for place, dimension in space.items():
        name = place.removeprefix(PREFIX)
        if not place.startswith(PREFIX) or name not in tunable():
            known = ", ".join(PREFIX + field for field in tunable())
            return f"tune.space: '{place}' cannot be tuned; these can: {known}"
        if train.preset != "none" and name not in FREE:
            cure = "leave it out, or leave the preset out and write the recipe's fields down"
            return f"tune.space: '{place}' is set by train.preset = '{train.preset}': {cure}"
        fault = _fault(name, dimension, train)
        if fault:
            return f"tune.space.'{place}': {fault}"
    return ""


def _fault(name: str, dimension: Dimension, train: TrainConfig) -> str:
    ranged = {"low": dimension.low, "high": dimension.high, "step": dimension.step}
    given = {field: value for field, value in ranged.items() if value is not None}
    if given and not {int, float} & _kinds(name):
        return f"a range is for numbers; give choices of '{name}'"
    fractions = [field for field, value in given.items() if is_whole(name) and value != int(value)]
    if fractions:
        return f"{fractions[0]} = {given[fractions[0]]:g}, but '{name}' is a whole number"
    bounds = [given["low"], given["high"]] if given else list(dimension.choices)
    return next((fault for value in bounds if (fault := _refused(name, value, train))), "")


def _refused(name: str, value: Any, train: TrainConfig) -> str:
    """Why the field itself cannot have a value, whatever the others are."""
    plain = int(value) if is_whole(name) and isinstance(value, float) else value
    try:
        TrainConfig.model_validate(train.model_dump() | {name: plain})
    except ValidationError as error:
        for fault in error.errors():
            if fault["loc"][:1] == (name,):
                return f"{plain!r} is no value of '{name}': {fault['msg'][0].lower()}{fault['msg'][1:]}"
    return ""


def with_parameters(train: TrainConfig, parameters: Parameters) -> TrainConfig:
    """The recipe with what was tried. A trial may be shorter than the snapshots and milestones reach.

    Raises:
        ValueError: The values do not go together.
    """
    room = max(train.epochs, *train.snapshots, *(epoch + 1 for epoch in train.milestones))
    whole = {"epochs": room, "preset": "none"}  # all that a preset gives is written out
    try:
        made = TrainConfig.model_validate(train.model_dump() | dict(parameters) | whole)
    except ValidationError as error:
        text = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise ValueError(f"{', '.join(parameters)} do not go together: {text}") from None
    return made.model_copy(update={"epochs": train.epochs})
