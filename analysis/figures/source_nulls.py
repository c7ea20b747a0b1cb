"""Real grafts beside nulls of one snapshot, by their error and by the accuracy of the grafted net."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from espalier.analysis.figures.captioned import CaptionedFigure, in_layers, rows_in_words, when
from espalier.analysis.figures.main_figures import FVU, SMALLEST, layer_axis
from espalier.analysis.figures.style import (
    NULL_STYLE,
    REFERENCE,
    log_values,
    new_panels,
    null_styles,
    shared_legend,
    styled,
)
from espalier.analysis.limits.excess import paired
from espalier.analysis.limits.ratios import mean_estimates
from espalier.analysis.limits.resample import groups, summarise
from espalier.analysis.limits.selection import largest, where

NOISE = "clustered_noise"
COMPARED = {
    "resampled": "a net drawn anew from the Gaussians of the source's layers, never trained",
    "untrained_scaled": "the source untrained, at the trained net's scale",
}
"""Nulls whose error is held against that of the real source of the same pair, in words."""
_EXACT = ("self", "permuted")
FLOOR = 1e-2
"""A null that recovers exactly is not drawn where it lies below this share of all other errors."""
FOOLED = 0.5
"""From this share of the real grafts' accuracy on, class noise makes accuracy worth little."""


def captioned_figures(wide: pd.DataFrame) -> Iterator[CaptionedFigure]:
    """The figure, where there is a null; grafts of one width and target's epoch."""
    nulls = [*null_styles(wide["null"])]
    if set(nulls) - {"none"}:
        title = f"Nulls and floors at width {largest(wide['target_width'])}"
        yield CaptionedFigure("nulls", title, _reading(nulls), error_of_nulls(wide))


def _reading(nulls: Sequence[str]) -> str:
    told = [words for null, words in _MADE.items() if null in nulls]
    added = [null for null in nulls if null not in NULL_STYLE]
    more = [f"Further nulls: {', '.join(added)}."] if added else []
    return " ".join([_NULLS, *told, *more])


@styled
def error_of_nulls(grafts: pd.DataFrame) -> Figure:
    """Held-out error of real grafts and of each null against the layer, and the grafted nets' accuracy.

    Rows of one width and snapshot. A regression has no accuracy, and one panel.
    """
    styles = null_styles(grafts["null"])
    grafts = where(grafts, grafts["null"].isin([*styles]))
    accurate = bool(len(grafts["accuracy_test"].dropna()))
    figure, panels = new_panels(2 if accurate else 1, row_height=3.3, more_height=1.1, one_scale=False)
    floors = _floors(grafts)
    _draw(
        panels[0], grafts, "fvu_test", {null: style for null, style in styles.items() if null not in floors}
    )
    _tell_floors(panels[0], {styles[null][0]: floor for null, floor in floors.items()})
    panels[0].axhline(1, color="#5b6470", lw=0.9, ls="--")
    log_values(panels[0])
    panels[0].set_ylabel(FVU)
    if accurate:
        _draw(panels[1], grafts, "accuracy_test", styles)
        real = where(grafts, grafts["null"] == "none")
        own = real["target_accuracy_test"].to_numpy(dtype=np.float64).mean()
        panels[1].axhline(own, label="the targets' own", **REFERENCE)
        panels[1].set_ylabel("held-out accuracy of the grafted net")
    for axes in panels:
        layer_axis(axes, grafts, inches=6.0 if len(panels) == 1 else 3.2)
    shared_legend(figure, panels, ncols=5)
    return figure


def _floors(grafts: pd.DataFrame) -> dict[str, float]:
    """The largest mean error of each null that recovers exactly, if far below all others.

    On an axis that had them, nothing else could be told apart.
    """
    means = summarise(grafts, "fvu_test", ["null", "layer"])
    exact = means["null"].isin(_EXACT)
    low = FLOOR * where(means, ~exact)["mean"].min()
    most = {
        str(group["null"]): part["mean"].to_numpy(dtype=np.float64).max()
        for group, part in groups(where(means, exact), ["null"])
    }
    return {null: float(value) for null, value in most.items() if value < low}


def _tell_floors(axes: Axes, floors: dict[str, float]) -> None:
    if floors:
        told = ", ".join(f"{label}: at most {value:.0e}" for label, value in floors.items())
        axes.set_title(f"{told} (below this axis)", loc="left", fontsize=8, fontweight="normal")


def _draw(axes: Axes, grafts: pd.DataFrame, y: str, styles: dict[str, tuple[str, str, str]]) -> None:
    means = summarise(grafts, y, ["null", "layer"])
    for k, (null, (label, colour, marker)) in enumerate(styles.items()):
        part = where(means, means["null"] == null)
        value = part["mean"].clip(lower=SMALLEST)
        place = part["layer"] + 0.3 * ((k + 0.5) / len(styles) - 0.5)  # set apart, so that bars can be told
        axes.errorbar(place, value, part["error"], color=colour, marker=marker, label=label)


def findings(wide: pd.DataFrame, level: float) -> list[str]:
    """What class noise makes accuracy worth, and what sources of the same distribution reach.

    Args:
        wide: Grafts of one width and target's epoch, those of nulls among them.
        level: Coverage of the intervals, which hold together for all layers.
    """
    if wide.empty:
        return []
    said = [_noise(wide, level), *(_beside(wide, null, words, level) for null, words in COMPARED.items())]
    return [sentence for sentence in said if sentence]


def _noise(wide: pd.DataFrame, level: float) -> str:
    """The accuracy of class noise at the layer where it is highest, and its error there."""
    noise = where(wide, wide["null"] == NOISE)
    if not len(noise["accuracy_test"].dropna()):
        return ""
    accuracy = mean_estimates(summarise(noise, "accuracy_test", ["null", "layer"]), level)
    best = max(accuracy, key=lambda one: one.value).layer
    there = where(wide, wide["layer"] == best)
    errors, rates = (_by_null(there, y) for y in ("fvu_test", "accuracy_test"))
    own = _by_null(there, "target_accuracy_test")[NOISE]
    real = f"; real grafts: {rates['none']:.3f} with {errors['none']:.2g}" if "none" in errors else ""
    text = (
        f"Class noise in place of the source's features ({when(largest(wide['target_epoch']))}, width "
        f"{largest(wide['target_width'])}) reaches an accuracy of {rates[NOISE]:.3f} at layer {best}, where "
        f"it is highest (the targets' own {own:.3f}), with FVU {errors[NOISE]:.2g}{real}. By layer: "
        f"{in_layers(accuracy, '.3f')} ({100 * level:g} % intervals over nets, together for all layers; "
        f"{rows_in_words(noise)})."
    )
    return f"{text} {_worth(rates, errors)}" if "none" in errors else text


def _by_null(there: pd.DataFrame, y: str) -> dict[str, float]:
    """The mean of each null at one layer."""
    means = summarise(there, y, ["null"])
    return {str(null): float(mean) for null, mean in zip(means["null"], means["mean"], strict=True)}


def _worth(rates: dict[str, float], errors: dict[str, float]) -> str:
    """Which of accuracy and FVU a claim rests on."""
    share = rates[NOISE] / max(rates["none"], SMALLEST)
    if errors[NOISE] <= errors["none"]:
        return "The FVU tells it no better from real grafts: BEWARE, neither carries a claim here."
    if share >= FOOLED:
        return (
            f"Noise so gets {100 * share:.0f} % of the real grafts' accuracy: accuracy is no evidence of "
            "like features, and a claim rests on the FVU alone."
        )
    return (
        f"That is {100 * share:.0f} % of the real grafts' accuracy. A claim rests on the FVU; accuracy "
        "supports it only by what real grafts have more than noise."
    )


def _beside(wide: pd.DataFrame, null: str, words: str, level: float) -> str:
    """The ratio of the real error to that of a null of the same pair."""
    if null not in set(wide["null"]):
        return ""
    pairs = paired(wide, ["layer"], null=null)
    if pairs.empty:
        return ""
    found = mean_estimates(summarise(pairs, "ratio", ["layer"]), level)
    better, worse = [one for one in found if one.high < 1], [one for one in found if one.low > 1]
    verdict = f"the real source serves better at {len(better)} of {len(found)} layers"
    if worse:
        verdict += f", and worse at {len(worse)}"
    rest = sum(one.low <= 1 <= one.high for one in found)
    if rest:
        verdict += f"; at {rest} the interval has 1 in it, which does not show that both are alike"
    return (
        f"Real error over that of {words} (null '{null}'), same pairs, {when(largest(wide['target_epoch']))} "
        f"at width {largest(wide['target_width'])}: {in_layers(found, '.3g')} ({100 * level:g} % "
        f"intervals over nets, together for all layers; {rows_in_words(pairs)}): {verdict}."
    )


_NULLS = (
    "The real grafts against sources that are known: an untrained net (what random features give), images "
    "shuffled (nothing to find: 1), the net itself and its permuted copy (exact recovery: about 0). Left the "
    "error, right the grafted net's accuracy with the targets' own. Bars are one standard error over nets."
)
_MADE = {
    "untrained_scaled": "Untrained at trained scale: random features with the trained net's statistics.",
    "resampled": (
        "Drawn anew: a net whose layers are Gaussian draws with the source's weight covariances. Where it "
        "lies on the real grafts, a net of the same distribution serves as well without having been trained."
    ),
    "clustered_noise": (
        "Class noise knows the class and nothing else: the accuracy that it reaches is no evidence of like "
        "features."
    ),
}
