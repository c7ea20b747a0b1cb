"""The settings of a sweep: what its nets are, apart from their width, seed and epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from espalier.analysis.limits.selection import SETTING, where
from espalier.analysis.tables import Tables

_SIDES = {
    "nets": ("",),
    "curves": ("",),
    "grafts": ("source_", "target_"),
    "downstream": ("source_", "target_"),
    "ridges": ("source_", "target_"),
    "hybrids": ("source_", "target_"),
    "exchangeability": ("target_",),
    "similarity": ("source_", "target_"),
    "features": ("",),
}
"""For each table of nets the prefixes of its axes."""


@dataclass(frozen=True, eq=False)
class Setting:
    """The rows of one setting's nets, with one another; the label is empty where there is one setting."""

    label: str
    tables: Tables


def by_setting(tables: Tables) -> list[Setting]:
    """The tables of each setting, at least one; pairs of nets of two settings are in none."""
    known = known_settings(tables)
    if len(known) < 2:
        return [Setting("", tables)]
    named = zip(labels(known), range(len(known)), strict=True)
    return [Setting(label, _of(tables, known, number)) for label, number in named]


def known_settings(tables: Tables) -> pd.DataFrame:
    """The settings of all nets and targets, a row each, in sorted order."""
    sides = [(tables.nets, ""), (tables.curves, ""), (tables.grafts, "target_")]
    found = pd.concat([_axes(frame, side).drop_duplicates() for frame, side in sides])
    return found.drop_duplicates().sort_values([*SETTING]).reset_index(drop=True)


def setting_numbers(frame: pd.DataFrame, side: str, known: pd.DataFrame) -> NDArray[np.int64]:
    """Which of the known settings the nets of a side are of; -1 for none."""
    numbered = known.assign(_number=np.arange(len(known)))
    found = _axes(frame, side).merge(numbered, how="left", on=[*SETTING])["_number"]
    return found.fillna(-1).to_numpy(dtype=np.int64)


def labels(known: pd.DataFrame) -> list[str]:
    """A label for each setting: the axes that not all share, as in `reg_weight = 0.005, init = uniform`."""
    told = known.assign(recipe=_own_parts(known["recipe"].tolist()))
    differing = [name for name in SETTING if len(known[name].unique()) > 1]
    return [
        ", ".join(f"{name} = {_text(row[name])}" for name in differing if row[name] != "")
        or "recipe with nothing more"
        for row in told.to_dict("records")
    ]


def _axes(frame: pd.DataFrame, side: str) -> pd.DataFrame:
    return pd.DataFrame({name: frame[side + name] for name in SETTING})


def _of(tables: Tables, known: pd.DataFrame, number: int) -> Tables:
    kept, frames = {}, tables.frames()
    for name, sides in _SIDES.items():
        if name not in frames:
            continue
        frame = frames[name]
        inside = [setting_numbers(frame, side, known) == number for side in sides]
        kept[name] = where(frame, np.logical_and.reduce(inside))
    more = {name: kept.pop(name, frame) for name, frame in tables.more.items()}
    return replace(tables, **kept, more=more)


def _own_parts(recipes: Sequence[str]) -> list[str]:
    """For each recipe in words, the parts that not all recipes have."""
    parts = [recipe.split(", ") for recipe in recipes]
    common = set.intersection(*map(set, parts))
    own = [", ".join(part for part in some if part not in common) for some in parts]
    return [text if recipe else "not recorded" for text, recipe in zip(own, recipes, strict=True)]


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
