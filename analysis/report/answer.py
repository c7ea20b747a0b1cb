"""The answer first: a row for each layer of a setting, with one short sentence."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from espalier.analysis.answers.pool_tests import LEVEL, TIE, exchangeability
from espalier.analysis.figures import barrier_figures
from espalier.analysis.figures.captioned import layers_in_words
from espalier.analysis.figures.main_figures import layer_names
from espalier.analysis.limits.intervals import mean_interval, spread_interval
from espalier.analysis.limits.resample import groups, width_means
from espalier.analysis.limits.selection import largest, where
from espalier.analysis.limits.similarity_fits import Compared
from espalier.analysis.limits.snapshots import SnapshotFits
from espalier.analysis.tables import Tables

Mask = NDArray[np.bool_]
PLATEAU = "power+plateau"
_INTERVALS = ("alpha", "c", "excess", "alpha_ratio", "barrier")
COLUMNS = (
    "layer", "layer_name", "width", "epoch",
    *(f"{name}{end}" for name in _INTERVALS for end in ("", "_low", "_high")),
    "model", "pool_ratio", "p_exchangeable", "least_p", "cka", "barrier_of", "warning", "said",
)  # fmt: skip


def answer(tables: Tables, last: SnapshotFits | None, compared: Compared, level: float) -> pd.DataFrame:
    """What is known of each layer of one setting at the last snapshot, widest nets; columns `COLUMNS`.

    `epoch` and `width` are those of the grafts; of other tables only what is of the same place is told.

    `alpha` is the exponent of the error's fall with the width and `model` whether a plateau `c` fits better
    than none; `excess` is trained minus untrained error at the widest nets, `alpha_ratio` the exponent of
    their ratio. `pool_ratio` is the error of one net over that of as many channels of a pool of nets, which
    is the floor that finite draws leave, `p_exchangeable` the p-value of that layer's targets together
    (`exchangeability`), `least_p` the least that its partitions allow, and `cka` the calibrated CKA.
    `barrier` is of whole nets, the same in each row. What is not known is NaN.

    Args:
        tables: Those of one setting.
        last: The fits of its last snapshot, if there are grafts.
        compared: What is known of it without a fit.
        level: Coverage of the intervals.
    """
    fits = {int(row["layer"]): row for row in (last.table() if last else [])}
    place = _place(last, tables.exchangeability, compared.alike())
    unfitted = _excess(last, place.width) if last else {}
    pools = _pools(where(tables.exchangeability, place.has(tables.exchangeability)))
    cka = _cka(where(compared.alike(), place.has(compared.alike())))
    names = _names(last, tables.exchangeability, compared.summary)
    barrier = _barrier(where(tables.barriers, place.has(tables.barriers)), level)
    rows = []
    for layer, name in sorted(names.items()):
        row = {"layer": layer, "layer_name": name, **place._asdict()}
        fitted = _fitted(fits.get(layer), place.width)
        if not np.isfinite(fitted.get("excess", np.nan)):
            fitted = _joined(fitted, unfitted.get(layer, {}))
        row |= fitted | pools.get(layer, {}) | barrier
        row["cka"] = cka.get(layer, np.nan)
        rows.append(row | {"said": sentence(row)})
    return pd.DataFrame(rows, columns=[*COLUMNS])


def sentence(row: dict[str, Any]) -> str:
    """One short sentence about a layer."""
    known = np.isfinite(row.get("alpha", np.nan))
    parts = [_fall(row) if known else "no fit over widths", _training(row), _pool(row)]
    text = "; ".join(part for part in parts if part)
    return f"{text[:1].upper()}{text[1:]}."


def in_short(answers: pd.DataFrame) -> str:
    """One sentence about all layers; nothing where no exponent has an interval."""
    fitted = where(answers, answers["alpha_low"].notna())
    if fitted.empty:
        return ""
    falls = np.count_nonzero(fitted["alpha_low"] > 0)
    text = f"The error of a graft falls with the width at {falls} of {len(fitted)} layers"
    known = where(answers, answers["excess_low"].notna())
    if known.empty:
        return f"{text}; whether training the source has a part in it the tables do not tell."
    better = where(known, known["excess_high"] < 0)
    layers = [int(layer) for layer in dict.fromkeys(better["layer"])]
    which = f" ({layers_in_words(layers)})" if 0 < len(better) < len(known) and len(layers) < 7 else ""
    more = np.count_nonzero(better["alpha_ratio_low"] > 0) or "none"
    return (
        f"{text}. A trained source serves better than the same net untrained at {len(better)} of {len(known)}"
        f"{which}; the width adds to that at {more}. Only that can speak for features that nets learn alike."
    )


def _fall(row: dict[str, Any]) -> str:
    if not np.isfinite(row["alpha_low"]):
        return f"the error goes as w^{-row['alpha']:.2f}, with no interval"
    if row["alpha_low"] > 0:
        limit = f", to a limit of {row['c']:.2g}" if row["model"] == PLATEAU else ""
        return f"the error falls as w^-{row['alpha']:.2f}{limit}"
    if row["alpha_high"] < 0:
        return f"the error rises as w^{-row['alpha']:.2f}"
    return "no fall with the width that can be seen"


def _training(row: dict[str, Any]) -> str:
    """What training the source adds."""
    if not np.isfinite(row.get("excess_low", np.nan)):  # of two seeds there is a mean without an interval
        return ""
    if row["excess_low"] > 0:
        return "a trained source serves worse than an untrained one"
    if not row["excess_high"] < 0:
        return "an untrained source serves as well, as far as can be seen"
    more = " and more so with the width" if row.get("alpha_ratio_low", np.nan) > 0 else ""
    return f"a trained source serves better than an untrained one{more}"


def _pool(row: dict[str, Any]) -> str:
    if not np.isfinite(row.get("p_exchangeable", np.nan)):
        return ""
    if row["p_exchangeable"] <= LEVEL + TIE:
        return "one net serves worse than a pool of nets"
    if row.get("least_p", 0.0) > LEVEL + TIE:
        return "too few partitions to tell one net from a pool"
    return "one net is not told apart from a pool"


class _Place(NamedTuple):
    """The snapshot and the width that a row is about; None where there are no rows."""

    epoch: int | None
    width: int | None

    def has(self, rows: pd.DataFrame) -> Mask:
        """Which rows are of nets of that place, [rows]."""
        here = (rows["target_epoch"] == self.epoch) & (rows["target_width"] == self.width)
        return here.to_numpy(dtype=np.bool_)


def _place(last: SnapshotFits | None, pools: pd.DataFrame, compared: pd.DataFrame) -> _Place:
    """That of the grafts, or without any that of the first other table; the widest nets of its last epoch."""
    if last is not None and len(last.rows):
        return _Place(last.epoch, largest(last.rows["target_width"]))
    for rows in (where(pools, pools["null"] == "pooled"), compared):
        if len(rows):
            epoch = largest(rows["target_epoch"])
            return _Place(epoch, largest(where(rows, rows["target_epoch"] == epoch)["target_width"]))
    return _Place(None, None)


def _names(last: SnapshotFits | None, pools: pd.DataFrame, compared: pd.DataFrame) -> dict[int, str]:
    """All layers that anything is known of, with their names."""
    frames = [*([last.rows] if last is not None else []), pools, compared]
    found: dict[int, str] = {}
    for frame in frames:
        found = {layer: name.split(" · ", 1)[1] for layer, name in layer_names(frame).items()} | found
    return found


def _fitted(fit: dict[str, Any] | None, width: int | None) -> dict[str, Any]:
    if not fit:
        return {"model": "", "warning": ""}
    kept = [f"{name}{end}" for name in _INTERVALS[:-1] for end in ("", "_low", "_high")]
    said = dict.fromkeys(
        part for name in ("warning", "excess_warning") for part in fit[name].split("; ") if part
    )
    if elsewhere := _elsewhere(fit["excess_width"], width):
        said[elsewhere] = None
    return {name: fit[name] for name in (*kept, "model")} | {"warning": "; ".join(said)}


def _joined(fitted: dict[str, Any], unfitted: dict[str, Any]) -> dict[str, Any]:
    """What is known of a layer whose errors may have a fit over the widths, and whose excess has none."""
    warnings = [part for one in (fitted, unfitted) if (part := one.get("warning", ""))]
    return fitted | unfitted | {"warning": "; ".join(warnings)}


def _elsewhere(of_excess: float, width: int | None) -> str:
    """That the excess is of another width than the row, whose widest nets have too few rows of the null."""
    return "" if not np.isfinite(of_excess) or of_excess == width else f"excess of width {of_excess:g}"


def _excess(last: SnapshotFits, width: int | None) -> dict[int, dict[str, Any]]:
    """By layer the excess at the widest nets, without a fit over the widths."""
    found = {}
    for group, part in groups(last.pairs, ["layer"]):
        mean = width_means(part, "excess")[-1]
        low, high = mean_interval(mean, last.level)
        told = {"excess": mean.mean, "excess_low": low, "excess_high": high}
        found[int(group["layer"])] = told | {"warning": _elsewhere(mean.width, width)}
    return found


def _pools(rows: pd.DataFrame) -> dict[int, dict[str, float]]:
    """By layer the null `pooled`, of rows of one place."""
    tests = exchangeability(rows)
    tests = where(tests, tests["null"] == "pooled")
    return {
        int(row["layer"]): {
            "pool_ratio": row["ratio"],
            "p_exchangeable": row["p_value"],
            "least_p": row["least_p"],
        }
        for row in tests.to_dict("records")
    }


def _cka(compared: pd.DataFrame) -> dict[int, float]:
    """By layer the calibrated CKA, of rows of one place."""
    rows = where(compared, compared["measure"] == "cka")
    return {int(row["layer"]): float(row["calibrated"]) for row in rows.to_dict("records")}


def _barrier(barriers: pd.DataFrame, level: float) -> dict[str, Any]:
    """That of the held-out loss, matched and set right if it can be; of rows of one place."""
    rows = barrier_figures.last_epoch(barriers)
    found = [way for way in barrier_figures.ways(rows) if not way.tempered]
    means = barrier_figures.barrier_means(rows, found[-1], "loss_test") if found else rows.iloc[:0]
    if means.empty:
        return {"barrier_of": ""}
    mean = means.iloc[0].to_dict()
    ends = spread_interval(mean["mean"], mean["error"], int(mean["pairs"]) - 1, level, 1)
    low, high = ends if mean["pairs"] > 1 else (np.nan, np.nan)
    return {
        "barrier": mean["mean"],
        "barrier_low": max(low, 0.0),
        "barrier_high": high,
        "barrier_of": found[-1].label,
    }
