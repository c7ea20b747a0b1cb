"""The headline findings in words: each sentence says over which rows it is, and how sure its numbers are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from espalier.analysis.figures.captioned import in_layers, layers_in_words, rows_in_words, when
from espalier.analysis.limits.cautions import ROWS_WARN
from espalier.analysis.limits.excess import NULL, ExcessFit
from espalier.analysis.limits.held_out import drop_means, unknown_images
from espalier.analysis.limits.ratios import Estimate, mean_estimates, paired_ratio
from espalier.analysis.limits.resample import summarise
from espalier.analysis.limits.selection import comparable, largest, measured, where
from espalier.analysis.limits.snapshots import SnapshotFits
from espalier.analysis.limits.width_limit import WidthLimit
from espalier.analysis.report.instrument import instrument

ROUNDING = 1e-6
"""Exponents up to this size are arithmetic, not evidence."""
_PAIR = ["source_net", "target_net", "layer"]


def findings(grafts: pd.DataFrame, last: SnapshotFits) -> list[str]:
    """Sentences about the last snapshot's grafts; empty if there is no row of a real pair."""
    if comparable(grafts, ["layer"]).empty:
        return []
    said = [
        *_excess(last),
        *_exponents(last),
        _floors(last),
        _cost(last),
        _training(grafts, last),
        *instrument(where(grafts, grafts["target_epoch"] == last.epoch), last.epoch),
    ]
    return [sentence for sentence in said if sentence]


def _excess(last: SnapshotFits) -> list[str]:
    """The headline: what training the source adds, at the widest nets and over the widths."""
    if last.epoch == 0:
        return []
    if last.pairs.empty:
        return [
            f"No pair {when(last.epoch)} has an untrained source (null '{NULL}') beside it. How much of what "
            "follows untrained sources would show as well cannot be told."
        ]
    width = largest(last.pairs["target_width"])
    wide = where(last.pairs, last.pairs["target_width"] == width)
    found = mean_estimates(summarise(wide, "excess", ["layer"]), last.level)
    better = [one.layer for one in found if one.high < 0]
    worse = [one.layer for one in found if one.low > 0]
    verdict = f"leaves a smaller error than the same net untrained at {_of(better, found)}"
    if worse:
        verdict += f", and a larger one at {layers_in_words(worse)}"
    return [
        f"Excess over untrained sources {when(last.epoch)}, at width {width}: a trained source {verdict}. "
        f"Trained minus untrained error, under the same target: {in_layers(found)} ({_level(last)}s, "
        f"together for all layers; {rows_in_words(wide)}).",
        *_size(last.excess, last),
    ]


def _size(fits: Sequence[ExcessFit], last: SnapshotFits) -> list[str]:
    if not fits:
        return []
    rows = [fit.row() for fit in fits]
    known = [_estimate(row, "alpha_excess") for row in rows if np.isfinite(row["alpha_excess"])]
    none = [int(row["layer"]) for row in rows if not np.isfinite(row["alpha_excess"])]
    over, said = f"Over widths {_widths(last.pairs)}", []
    if known:
        told = f"{in_layers(known, '.2f')} ({_level(last)} each)"
        said.append(f"{over} the size of that excess changes as w^-b, with b at {told}")
    if none:
        said.append(f"{over} the excess changes its sign at {layers_in_words(none)}: no exponent")
    return [f"{'. '.join(said)}. {rows_in_words(last.pairs).capitalize()}.", _ratios(rows, last)]


def _ratios(rows: Sequence[dict[str, Any]], last: SnapshotFits) -> str:
    """Whether wider trained sources serve better by more than untrained ones do."""
    found = [_estimate(row, "alpha_ratio") for row in rows if np.isfinite(row["alpha_ratio"])]
    falls = [one.layer for one in found if one.low > ROUNDING]
    rises = [one.layer for one in found if one.high < -ROUNDING]
    verdict = f"the width helps trained sources more than untrained ones at {_of(falls, found)}"
    if rises:
        verdict += f", and less at {layers_in_words(rises)}"
    return (
        f"Trained over untrained error changes as w^-r, r at {in_layers(found, '.2f')} ({_level(last)} "
        f"each): {verdict}. Where r's interval is not above 0, untrained sources may show all of the fall."
        f"{_doubtful(rows)}"
    )


def _doubtful(rows: Sequence[dict[str, Any]]) -> str:
    """At which layers a fit warns of more than the warnings of its rows."""
    layers = [
        int(row["layer"])
        for row in rows
        if any(ROWS_WARN not in part for part in row["warning"].split("; ") if part)
    ]
    return f" Beware at {layers_in_words(layers)}, as the table says." if layers else ""


def _exponents(last: SnapshotFits) -> list[str]:
    rows = [row for row in last.table() if row["model"]]
    if not rows:
        return []
    trained = [_estimate(row, "alpha") for row in rows]
    null = [_estimate(row, "alpha_untrained") for row in rows if np.isfinite(row["alpha_untrained"])]
    falls = [one.layer for one in trained if one.low > ROUNDING]
    text = (
        f"The error itself falls with the width at {_of(falls, trained)}, as w^-a with a at "
        f"{in_layers(trained, '.2f')} ({_level(last)} each; {rows_in_words(measured(last.rows, 'fvu_test'))})"
    )
    if null:
        text += f". Untrained sources into the same targets: {in_layers(null, '.2f')}"
    elif last.epoch:
        text += "; untrained sources to hold this against are not in the tables"
    return [f"{text}.{_doubtful(rows)}"]


def _floors(last: SnapshotFits) -> str:
    fits: list[WidthLimit] = [fit for fit in last.fits if fit.chosen]
    rows = [fit.row() for fit in fits]
    if not rows:
        return ""
    floor = [_estimate(row, "c") for row in rows if row["model"] == "power+plateau"]
    rest = [(int(row["layer"]), row["c_high"]) for row in rows if row["model"] != "power+plateau"]
    said = []
    if floor:
        said.append(
            f"A limit above zero fits better than none at {in_layers(floor)} ({_level(last)} each). The fit "
            "does not say where it comes from: other features, few fitting images, the ridge"
        )
    if rest:
        most = max(rest, key=lambda pair: pair[1])
        said.append(
            f"At {layers_in_words([layer for layer, _ in rest])} a limit above zero fits no better than "
            f"none. That is no evidence of none: up to {most[1]:.2g} (layer {most[0]}) could hide (upper "
            f"ends of {_level(last)}s)"
        )
    return f"{'. '.join(said)}. {rows_in_words(measured(last.rows, 'fvu_test')).capitalize()}."


def _cost(last: SnapshotFits) -> str:
    if not len(last.rows["accuracy_drop"].dropna()):  # a regression
        return ""
    means = drop_means(last.rows, ["layer"])
    found = means["width"].to_numpy(dtype=np.int64)
    widths = sorted({int(found.min()), int(found.max())}, reverse=True)
    said = [_cost_at(where(means, means["width"] == width), width, last.level) for width in widths]
    return (
        f"Accuracy lost by grafting {when(last.epoch)}, in percentage points: {'; '.join(said)}. The "
        f"{_level(last)}s hold for all layers of a width together. They count the draw of the nets (a "
        f"standard error of {_span(list(means['error_nets']))}) and that of the "
        f"{largest(last.rows['images_test'])} held-out images ({_span(list(means['error_images']))}"
        f"{unknown_images(last.rows)}; {rows_in_words(last.rows)})."
    )


def _span(errors: Sequence[float]) -> str:
    """The least and the greatest of some standard errors, in percentage points."""
    low, high = (f"{100 * end:.2g}" for end in (min(errors), max(errors)))
    return low if low == high else f"{low} to {high}"


def _cost_at(means: pd.DataFrame, width: int, level: float) -> str:
    shown = [
        Estimate(one.layer, 100 * one.value, 100 * one.low, 100 * one.high)
        for one in mean_estimates(means, level)
    ]
    return f"at width {width}, {in_layers(shown, '.1f')}"


def _training(grafts: pd.DataFrame, last: SnapshotFits) -> str:
    """How the error of the widest nets changed since the first snapshot, beside that of untrained sources."""
    first = -largest(-comparable(grafts, ["layer", "target_epoch"])["target_epoch"])
    if first == last.epoch:
        return ""
    width = largest(last.rows["target_width"])
    early = where(grafts, grafts["target_epoch"] == first)
    early = comparable(where(early, early["target_width"] == width), ["layer"])
    text = f"From epoch {first} to epoch {last.epoch} the error at width {width} changes by these factors: "
    parts = [(text, last.rows, "fvu_test")]
    if len(last.pairs):
        words = "that of untrained sources into the same targets, which is the targets' doing alone: "
        parts.append((words, last.pairs, "untrained"))
    said = [words + in_layers(_factors(rows, early, y, width, last.level)) for words, rows, y in parts]
    end = (
        ""
        if len(said) > 1
        else " How much of that is the targets' doing alone cannot be told without untrained sources."
    )
    wide = where(last.rows, last.rows["target_width"] == width)
    return f"{'; '.join(said)} ({_level(last)}s, together for all layers; {rows_in_words(wide)}).{end}"


def _factors(rows: pd.DataFrame, early: pd.DataFrame, y: str, width: int, level: float) -> list[Estimate]:
    """By layer the mean of y over the mean error of the same pairs at the first snapshot."""
    wide = where(rows, rows["target_width"] == width)
    both = wide.merge(early.loc[:, [*_PAIR, "fvu_test"]], on=_PAIR, suffixes=("", "_first"))
    both = where(both, np.isfinite(both[y]) & np.isfinite(both["fvu_test_first"]))
    factors = both.assign(factor=paired_ratio(both, y, "fvu_test_first", ["layer"]))
    return mean_estimates(summarise(factors, "factor", ["layer"]), level)


def _estimate(row: dict[str, float], name: str) -> Estimate:
    return Estimate(int(row["layer"]), row[name], row[f"{name}_low"], row[f"{name}_high"])


def _of(layers: Sequence[int], among: Sequence[Estimate]) -> str:
    """`3 of 4 layers (3, 4, 5)`."""
    named = f" ({', '.join(map(str, layers))})" if 0 < len(layers) < len(among) else ""
    return f"{len(layers)} of {len(among)} layers{named}"


def _widths(rows: pd.DataFrame) -> str:
    return f"{-largest(-rows['target_width'].to_numpy())} to {largest(rows['target_width'])}"


def _level(last: SnapshotFits) -> str:
    return f"{100 * last.level:g} % interval"
