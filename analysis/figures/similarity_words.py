"""What measures without a fit say in words, and what their nulls forbid to conclude."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from espalier.analysis.figures.captioned import (
    LISTED,
    in_layers,
    layers_in_words,
    rows_in_words,
    span,
    told,
    when,
)
from espalier.analysis.limits.best_layers import best_layers
from espalier.analysis.limits.cautions import ROWS_WARN, percent
from espalier.analysis.limits.epoch_map import BestEpoch, EpochMap
from espalier.analysis.limits.ratios import Estimate, mean_estimates
from espalier.analysis.limits.resample import groups, summarise
from espalier.analysis.limits.selection import largest, where
from espalier.analysis.limits.similarity_fits import Compared, MeasureFits, widest_width
from espalier.analysis.limits.similarity_summary import REJECTED

SMALL = 0.05
"""Calibrated values up to this one are hardly beyond the null."""
ROUNDING = 1e-6


def findings(found: Compared) -> list[str]:
    """Sentences about each fitted measure at the widest nets and over the widths, and about the maps."""
    said = [sentence for one in found.last for sentence in _measure(one, found)]
    said += [sentence for one in found.maps if (sentence := _map(one, found.level))]
    left = found.summary["undefined"].to_numpy(dtype=np.int64).sum()
    if left:
        said.append(f"{left:,} of {len(found.rows):,} values of pairs are not defined and are in no mean.")
    return [*said, _DEPENDENT] if said else []


def _measure(one: MeasureFits, found: Compared) -> Iterator[str]:
    width = widest_width(one)
    wide = where(one.rows, one.rows["target_width"] == width)
    means = mean_estimates(summarise(wide, "value", ["layer"]), found.level)
    yield (
        f"Measure {one.measure} ({'distance' if one.distance else 'similarity'}) of pairs {when(one.epoch)}, "
        f"at width {width}: {in_layers(means)} ({_level(found)}s, together for all layers; "
        f"{rows_in_words(wide)}). "
        f"{_null(one, means, wide)}"
    )
    best = best_layers(wide)
    if len(best):
        yield _best(one, best)
    yield from _exponents(one, found)


def _best(one: MeasureFits, best: pd.DataFrame) -> str:
    """Whether the best layer of a pair is beyond chance, and which layer it is."""
    rejected = np.count_nonzero(best["best_p_value"] <= REJECTED + 1e-9)
    layer, times = best["layer"].value_counts().head(1).reset_index().to_numpy().tolist()[0]
    return (
        f"Of all layers the best value of {one.measure} is beyond chance in {rejected} of {len(best)} pairs "
        f"(p <= {REJECTED:g} against the best layer of each permutation); it is layer {int(layer)} in "
        f"{int(times)} of them."
    )


def _null(one: MeasureFits, means: Sequence[Estimate], wide: pd.DataFrame) -> str:
    """How many pairs stand out of their null, and what may not be concluded."""
    rejected = np.count_nonzero(wide["p_value"] <= REJECTED + 1e-9)
    share = f"{rejected} of {len(wide)} pairs have p <= {REJECTED:g}"
    if str(wide["permuted"].iloc[0]) == "labels":
        return f"{share} against channels dealt anew. {_labels(one, means)}"
    calibrated = {
        int(group["layer"]): float(part["calibrated"].to_numpy(dtype=np.float64).mean())
        for group, part in groups(wide, ["layer"])
    }
    small = [layer for layer, value in calibrated.items() if value <= SMALL]
    spread = f"calibrated {span(calibrated.values())} by layer"
    text = f"{share} against permuted images, {spread}: {_in_common(int(rejected), len(wide))}"
    if small:
        text += (
            f". At {layers_in_words(small)} the calibrated value is {SMALL:g} or less: what the value says "
            "there is said by the number of channels and images as well"
        )
    return f"{text}."


def _in_common(rejected: int, pairs: int) -> str:
    """What may be said of pairs of which so many have a small p-value against permuted images."""
    if not rejected:
        return "no pair stands out of permuted images: no evidence that anything is in common"
    if rejected >= (1 - REJECTED) * pairs:
        return "more than chance is in common, which does not say that nets are alike"
    return (
        f"at {rejected} of {pairs} pairs more than chance is in common, which does not say that these nets "
        f"are alike ({percent(REJECTED)} of pairs have such p-values where nothing is in common)"
    )


def _labels(one: MeasureFits, means: Sequence[Estimate]) -> str:
    if not one.signed:
        return _NO_PROOF
    sides = {
        _ABOVE: [mean.layer for mean in means if mean.low > 0],
        _BELOW: [mean.layer for mean in means if mean.high < 0],
        _AROUND: [mean.layer for mean in means if mean.low <= 0 <= mean.high],
    }
    return " ".join(words.format(layers_in_words(layers)) for words, layers in sides.items() if layers)


def _exponents(one: MeasureFits, found: Compared) -> Iterator[str]:
    start = next((first for first in found.first if first.measure == one.measure), None)
    if not one.fits:
        yield _unfitted(one).rstrip()
        return
    fitted = [_exponent(one, layer) for layer in one.fits]
    falls = [fit.layer for fit in fitted if fit.low > ROUNDING]
    widths = one.rows["target_width"]
    text = (
        f"Over widths {-largest(-widths.to_numpy())} to {largest(widths)} {one.label} falls at {len(falls)} "
        f"of {len(fitted)} layers, as w^-a with a at {in_layers(fitted, '.2f')} ({_level(found)} each; "
        f"{rows_in_words(one.rows)})."
    )
    if start is not None and start.fits:
        text += f" Initial nets: {in_layers([_exponent(start, layer) for layer in start.fits], '.2f')}."
    yield f"{text} {_unfitted(one)}{_doubtful(one)}{_fall_of_null(one)}"


def _fall_of_null(one: MeasureFits) -> str:
    """How far the null moves by itself over the same widths, at the layer where it moves most."""
    if one.signed:
        return "Draws of one distribution have the mean 0 at every width."
    means = one.rows.pivot_table(index="layer", columns="target_width", values="null_gap", aggfunc="mean")
    ends = means.iloc[:, [0, -1]].to_numpy(dtype=np.float64)
    most = int(np.abs(ends[:, 1] - ends[:, 0]).argmax())
    first, last = ends[most]
    moves = "The null itself hardly moves"
    if abs(last - first) > 0.01 * abs(first):
        moves = f"The null itself goes from {first:.2g} to {last:.2g} (layer {means.index[most]})"
    return (
        f"{moves}. Draws of one population come nearer with the width too, so that a fall alone is no sign "
        "that training makes nets alike."
    )


def _unfitted(one: MeasureFits) -> str:
    """Why some layers have no fit; layers that share a reason together."""
    if not one.reasons:
        return ""
    layers: dict[str, list[int]] = {}
    for layer, reason in one.reasons.items():
        layers.setdefault(reason.removeprefix(f"layer {layer}: "), []).append(layer)
    told = "; ".join(f"at {layers_in_words(those)}: {reason}" for reason, those in layers.items())
    return f"{one.label} has no fit against the width {told}. "


def _doubtful(one: MeasureFits) -> str:
    """At which layers a fit warns of more than the warnings of its rows."""
    layers = [
        layer
        for layer, fit in one.fits.items()
        if any(ROWS_WARN not in part for part in fit.warning.split("; ") if part)
    ]
    if not layers:
        return ""
    first = next(part for part in one.fits[layers[0]].warning.split("; ") if ROWS_WARN not in part)
    return f"Beware at {layers_in_words(layers)}: {first}{' (the first)' if len(layers) > 1 else ''}. "


def _exponent(one: MeasureFits, layer: int) -> Estimate:
    fit = one.fits[layer]
    return Estimate(layer, fit.alpha, *fit.alpha_interval)


def _map(one: EpochMap, level: float) -> str:
    """Where the rows of a map have their best value, and which of those off the diagonal beat chance."""
    if not one.best:
        return ""
    off = [best for best in one.best if not best.on_diagonal]
    sure = [best for best in off if best.low > 0]
    most = "least" if one.distance else "largest"
    text = (
        f"Map of {one.measure} over epochs {', '.join(map(str, one.epochs))} at width {one.width}: "
        f"{len(one.best) - len(off)} of {len(one.best)} rows ({_layers(one)}, a row for each epoch) have "
        f"their {most} value on the diagonal, that is with other nets of the same epoch"
    )
    if off:
        told_off = "; ".join(_place(best) for best in off[:LISTED])
        more = f"; and {len(off) - LISTED} more" if len(off) > LISTED else ""
        text += (
            f". Off it: {told_off}{more}. Of these {len(sure)} gain more than chance ({100 * level:g} % "
            "intervals over nets, together for all cells off the diagonal)"
        )
    return f"{text} ({rows_in_words(one.rows)})."


def _layers(one: EpochMap) -> str:
    return "1 layer" if len(one.mean_LEE) == 1 else f"{len(one.mean_LEE)} layers"


def _place(best: BestEpoch) -> str:
    gain = told(Estimate(best.layer, best.gain, best.low, best.high))
    return f"layer {best.layer}, epoch {best.epoch} with epoch {best.best} (gain {gain})"


def _level(found: Compared) -> str:
    return f"{100 * found.level:g} % interval"


def table_rows(found: Compared) -> list[dict[Any, Any]]:
    """The measures of the widest nets at the last snapshot, a row for each layer, for the report's table."""
    wide = found.widest().sort_values(["measure", "layer"], kind="stable")
    return [
        row | {"rejected": percent(row["rejected"]) if np.isfinite(row["rejected"]) else "–"}
        for row in wide.to_dict("records")
    ]


_ABOVE = (
    "The mean lies above 0 at {}: channels of one net are more like one another than like another net's. In "
    "layers that share lower layers initial nets, which are independent draws, show that as well."
)
_BELOW = (
    "The mean lies below 0 at {}: a channel has its like in the other net, as outputs have, one for each "
    "class, and the channels are no draws."
)
_AROUND = (
    "At {} the interval reaches 0, the value for draws of one distribution: no evidence against it, and no "
    "proof of it."
)
_NO_PROOF = "A pair within its null is no proof that its channels are draws of one distribution."
_DEPENDENT = (
    "Pairs share nets, so that their p-values depend on one another: the counts above are of no independent "
    "tests. Intervals resample nets, not pairs."
)
