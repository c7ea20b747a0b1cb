"""The studies of `[tune]`: values over trials, and the best of each width."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from espalier.analysis.figures.captioned import CaptionedFigure, span
from espalier.analysis.figures.style import (
    MARKERS,
    PALETTE,
    bottom_labels,
    log_values,
    new_panels,
    shared_legend,
    styled,
    width_axis,
)
from espalier.analysis.limits.selection import SETTING, where
from espalier.analysis.limits.settings import labels, setting_numbers
from espalier.tasks.tables.axes import in_words

STATES = {
    "complete": ("complete", PALETTE[0], "o"),
    "pruned": ("pruned: an earlier epoch's value", PALETTE[4], "v"),
}
"""Label, colour and marker of the trials that have a value to draw."""
WIDE_RANGE = 20.0
"""Largest over least of what is drawn, from which an axis is logarithmic."""


def findings(trials: pd.DataFrame, tuned: pd.DataFrame) -> list[str]:
    """How many trials there were, what was chosen for each width, and where a later trial is better."""
    counts = ", ".join(f"{count} {state}" for state, count in trials["state"].value_counts().items())
    said = [f"{len(trials)} trials in {trials['study'].nunique()} studies: {counts}."]
    named = named_studies(trials)
    chosen = in_order(tuned, named).to_dict("records")
    for row in chosen:
        values = in_words(json.loads(row["parameters"]))
        said.append(
            f"{_begun(named[row['study']])}: {values}, with a held-back {row['objective']} of "
            f"{row['value']:.3g} (trial {row['number']}, the best of {row['trials']})."
        )
    return [*said, *_moves(tuned), *_later(trials, chosen, named)]


def _begun(name: str) -> str:
    """A name for the beginning of a sentence."""
    return name[:1].upper() + name[1:]


def _moves(tuned: pd.DataFrame) -> Iterator[str]:
    """By what factor the chosen learning rate moves over the widths, of each setting."""
    rates = tuned.assign(lr=[json.loads(text).get("lr", np.nan) for text in tuned["parameters"]])
    rates = where(rates, rates["lr"].notna())
    if not len(rates):
        return
    numbers, told = setting_codes(rates)
    for number, label in enumerate(told):
        own = where(rates, numbers == number)
        if len(own) > 1:
            factor = own["lr"].max() / own["lr"].min()
            yield (
                f"Over widths {span(own['width'])} the best learning rate moves by a factor of {factor:.2g}, "
                f"{span(own['lr'])}{f' ({label})' if label else ''}."
            )


def _later(trials: pd.DataFrame, chosen: list[dict[Hashable, Any]], named: dict[str, str]) -> Iterator[str]:
    """Studies that were given more trials after their choice, and found better."""
    for row in chosen:
        best = best_trial(where(trials, trials["study"] == row["study"]))
        if best is not None and best["number"] != row["number"]:
            yield (
                f"{_begun(named[row['study']])}: trial {best['number']} ({best['value']:.3g}) is better than "
                f"trial {row['number']}, which was chosen before; the nets keep what they were trained with."
            )


def best_trial(trials: pd.DataFrame) -> dict[str, object] | None:
    """The best complete trial of one study, None if there is none."""
    complete = where(trials, trials["state"] == "complete")
    if not len(complete):
        return None
    up = complete["objective"].iloc[0] == "accuracy"
    ranked = complete.sort_values(["value", "number"], ascending=[not up, True])
    return {str(name): value for name, value in ranked.iloc[0].items()}


def captioned_figures(trials: pd.DataFrame, tuned: pd.DataFrame) -> Iterator[CaptionedFigure]:
    """The figures of the studies."""
    if len(trials["value"].dropna()):
        yield CaptionedFigure("study", "Value over trials", _STUDY, values_by_trial(trials))
    if len(tuned):
        yield CaptionedFigure("tuned", "The best of each width", _TUNED, best_by_width(trials, tuned))


def named_studies(trials: pd.DataFrame) -> dict[str, str]:
    """A name of each study by its key, in order: its width, and the parts of its setting that differ."""
    first = trials.drop_duplicates("study")
    numbers, told = setting_codes(first)
    found = sorted(zip(numbers.tolist(), first["width"], first["study"], strict=True))
    return {
        study: f"width {width}" + (f", {told[number]}" if told[number] else "")
        for number, width, study in found
    }


def in_order(frame: pd.DataFrame, named: dict[str, str]) -> pd.DataFrame:
    """Rows of studies in the order of their names."""
    place = {study: number for number, study in enumerate(named)}
    order = np.argsort([place[study] for study in frame["study"]], kind="stable")
    return frame.take(order)


def setting_codes(frame: pd.DataFrame) -> tuple[NDArray[np.int64], list[str]]:
    """Which setting each row is of, and a label of each setting."""
    known = pd.DataFrame({name: frame[name] for name in SETTING}).drop_duplicates()
    known = known.sort_values([*SETTING]).reset_index(drop=True)
    told = labels(known) if len(known) > 1 else [""] * len(known)
    return setting_numbers(frame, "", known), told


@styled
def values_by_trial(trials: pd.DataFrame) -> Figure:
    """The objective of each trial against its number with the best so far, a panel per study."""
    named = named_studies(trials)
    figure, panels = new_panels(len(named), row_height=2.5, more_height=0.9)
    for axes, (study, name) in zip(panels, named.items(), strict=True):
        _draw_study(axes, where(trials, trials["study"] == study).sort_values("number"))
        axes.set_title(name, fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if _wide(trials["value"].dropna()):
        log_values(panels[0])
    bottom_labels(panels, "trial")
    figure.supylabel(f"{trials['objective'].iloc[0]} on held-back training images", fontsize=10)
    shared_legend(figure, panels)
    return figure


def _draw_study(axes: Axes, own: pd.DataFrame) -> None:
    for state, (label, colour, marker) in STATES.items():
        part = where(own, (own["state"] == state) & own["value"].notna())
        axes.plot(part["number"], part["value"], marker, color=colour, label=label, ms=4.5)
    complete = where(own, own["state"] == "complete")
    if len(complete):
        up = complete["objective"].iloc[0] == "accuracy"
        best = complete["value"].cummax() if up else complete["value"].cummin()
        axes.step(complete["number"], best, where="post", color=PALETTE[7], lw=1.1, label="best so far")


@styled
def best_by_width(trials: pd.DataFrame, tuned: pd.DataFrame) -> Figure:
    """The chosen value of each number that was tuned against width, over the values that were tried."""
    tried, chosen = (_spread(frame) for frame in (where(trials, trials["state"] == "complete"), tuned))
    names = [name for name in chosen.columns if name.startswith(_PREFIX)] or ["value"]
    figure, panels = new_panels(len(names), row_height=2.9, more_height=0.9, one_scale=False)
    numbers, told = setting_codes(chosen)
    for axes, name in zip(panels, names, strict=True):
        if name in tried:
            axes.plot(tried["width"], tried[name], ".", color="#9aa5b1", ms=3.5, label="tried")
        for number, label in enumerate(told):
            own = where(chosen, numbers == number).sort_values("width")
            words = f"chosen, {label}" if label else "chosen"
            axes.errorbar(own["width"], own[name], label=words, **_style(number))
        width_axis(axes, sorted(set(chosen["width"])))
        axes.set_title(name.removeprefix(_PREFIX), fontsize=9)
        if _wide(tried[name] if name in tried else chosen[name]):
            log_values(axes)
    shared_legend(figure, panels, ncols=3)
    return figure


def _style(number: int) -> dict[str, Any]:
    return {"color": PALETTE[number % len(PALETTE)], "marker": MARKERS[number % len(MARKERS)]}


_PREFIX = "tuned:"


def _spread(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows with a column for each number among what was tried."""
    made = pd.DataFrame([json.loads(text) for text in frame["parameters"]], index=frame.index)
    kept = {
        f"{_PREFIX}{name}": made[name].astype("float64")
        for name in made.columns
        if pd.api.types.is_numeric_dtype(made[name]) and not pd.api.types.is_bool_dtype(made[name])
    }
    return frame.assign(**kept)


def _wide(values: ArrayLike) -> bool:
    numbers = np.asarray(values, dtype=np.float64)
    return bool(len(numbers)) and numbers.min() > 0 and numbers.max() / numbers.min() > WIDE_RANGE


_STUDY = (
    "Each mark is a trial: nets of seeds of their own, trained on part of the training images and judged on "
    "the rest. The line is the best complete trial so far; what was chosen is where it stood when the study "
    "had its trials. Trials that diverged or were lost have no mark."
)
_TUNED = (
    "What was chosen for each width, over all values that were tried in complete trials. A level line means "
    "that one recipe would do for all widths; a chosen value at the edge of what was tried asks for a wider "
    "space."
)
