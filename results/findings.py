"""The tables of docs/findings.md, computed from the committed sweeps.

    python results/findings.py         # writes them into the page, each between its two marks
    python results/findings.py fall    # prints one of them

Each function of `TABLES` makes one table. Unless it says otherwise, a row is about one layer of one sweep and
setting, after training. Brackets are intervals of 90 %; those of one column hold together for all layers of a
setting (Bonferroni). Widths at which a net did not learn (`CHANCE`) are left out of all tables but `nets`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from espalier import (
    compare_to_null,
    exchangeability,
    fit_excess,
    fit_width_limit,
    load,
    similarity_summary,
    trajectory,
)
from espalier.analysis.limits.settings import by_setting
from espalier.analysis.limits.similarity_fits import gaps
from espalier.analysis.tables import Tables

RESULTS = Path(__file__).parent
PAGE = RESULTS.parent / "docs" / "findings.md"
SWEEPS = ("digits", "mnist5k")
NULLS = ("untrained", "untrained_scaled", "resampled", "clustered_noise")
LEVEL = 0.9
CHANCE = 0.2
"""A net that classifies no more than this share of the images (of ten classes) did not learn."""
Row = dict[str, str]


@dataclass(frozen=True)
class Part:
    """One setting of one sweep."""

    name: str
    tables: Tables

    @property
    def epoch(self) -> int:
        """The last snapshot."""
        return int(self.tables.nets["epoch"].max())

    @property
    def trained(self) -> pd.DataFrame:
        """The nets after training."""
        rows = self.tables.nets
        return rows[rows["epoch"] == self.epoch]

    @property
    def all_widths(self) -> list[int]:
        """In rising order."""
        return sorted(int(width) for width in self.tables.nets["width"].unique())

    @property
    def widths(self) -> list[int]:
        """Those at which all nets learned, or of which that is not known."""
        least = self.trained.groupby("width")["accuracy_test"].min()
        return [width for width in self.all_widths if not least[width] <= CHANCE]

    @property
    def layers(self) -> dict[int, str]:
        """Names of the layers that grafts fit."""
        names = self.tables.grafts[["layer", "layer_name"]].drop_duplicates().sort_values("layer")
        return {int(layer): str(name) for layer, name in names.to_numpy()}

    def rows(self, name: str) -> pd.DataFrame:
        """A table's rows of nets of `widths`."""
        frame = getattr(self.tables, name)
        return frame[frame["target_width"].isin(self.widths)]

    def widest(self) -> pd.DataFrame:
        """Grafts of the widest nets after training, nulls among them."""
        rows = self.rows("grafts")
        return rows[(rows["target_epoch"] == self.epoch) & (rows["target_width"] == self.widths[-1])]

    def compared(self) -> pd.DataFrame:
        """Pairs of nets of one width after training, compared without a fit."""
        rows = self.rows("similarity")
        after = (rows["target_epoch"] == self.epoch) & (rows["source_epoch"] == self.epoch)
        return rows[after & (rows["source_width"] == rows["target_width"])]

    def place(self, layer: Any) -> Row:
        """The first cells of a row."""
        return {"sweep": self.name, "layer": self.layers.get(int(layer), str(layer))}


@cache
def parts() -> tuple[Part, ...]:
    """The settings of all sweeps."""
    found = []
    for sweep in SWEEPS:
        settings = by_setting(load(RESULTS / sweep, image_blocks=True))
        found += [Part(f"{sweep} {one.label.rpartition('= ')[2]}".strip(), one.tables) for one in settings]
    return tuple(found)


def nets() -> Iterator[Row]:
    """What was trained, and how well it classifies: mean, least and most over nets."""
    for part in parts():
        rows, wide = part.tables.nets, part.all_widths
        left_out = [str(width) for width in wide if width not in part.widths]
        yield {
            "sweep": part.name,
            "widths": f"{wide[0]} to {wide[-1]} ({len(wide)})",
            "seeds": str(rows["seed"].nunique()),
            "snapshots": str(rows["epoch"].nunique()),
            "epochs": str(part.epoch),
            "left out": ", ".join(left_out) or "none",
            "accuracy, narrowest": _accuracy(part.trained, part.widths[0]),
            "accuracy, widest": _accuracy(part.trained, wide[-1]),
        }


def _accuracy(trained: pd.DataFrame, width: int) -> str:
    values = trained.loc[trained["width"] == width, "accuracy_test"]
    return "–" if values.isna().any() else f"{values.mean():.3f} ({values.min():.3f} to {values.max():.3f})"


def fall() -> Iterator[Row]:
    """How the error of a graft falls with the width, and how much of that untrained sources show."""
    for part in parts():
        fits = fit_width_limit(part.rows("grafts"), "fvu_test", ["layer"], level=LEVEL, interval="together")
        excess = fit_excess(part.rows("grafts"), ["layer"], level=1 - (1 - LEVEL) / len(fits))
        beside = {row["layer"]: row for row in excess.to_dict("records")}
        for fit in fits.to_dict("records"):
            yield {
                **part.place(fit["layer"]),
                "exponent": _told(fit, "alpha", ".2f"),
                "a limit above 0": _limit(fit),
                "exponent of untrained sources": _told(beside[fit["layer"]], "alpha_untrained", ".2f"),
                "exponent of trained over untrained": _told(beside[fit["layer"]], "alpha_ratio", ".2f"),
            }


def _limit(fit: Mapping[str, Any]) -> str:
    if fit["model"] == "power+plateau":
        return _told(fit, "c", ".2g")
    return f"none seen, up to {fit['c_high']:.2g}"


def nulls() -> Iterator[Row]:
    """The error of a real source over that of a null, widest nets; the draw of the images counts too."""
    for part in parts():
        rows = part.widest()
        ratios = {null: _ratios(rows, null) for null in NULLS}
        real = rows[rows["null"] == "none"]
        for layer in part.layers:
            yield {
                **part.place(layer),
                "error": f"{real.loc[real['layer'] == layer, 'fvu_test'].mean():.2g}",
                **{null.replace("_", " "): found.get(layer, "–") for null, found in ratios.items()},
            }


def _ratios(rows: pd.DataFrame, null: str) -> dict[int, str]:
    if null not in set(rows["null"]):
        return {}
    found = compare_to_null(rows, null, level=LEVEL, interval="together", images=True)
    return {int(row["layer"]): _told(row, "ratio", ".2f") for row in found.to_dict("records")}


def accuracy() -> Iterator[Row]:
    """By how much a graft lowers its target's accuracy, widest nets, beside nulls."""
    for part in parts():
        rows = part.widest()
        if rows["accuracy_drop"].isna().all():
            continue
        means = rows.pivot_table(index="layer", columns="null", values="accuracy_drop", observed=True)
        for layer in part.layers:
            shown = {null: means[null].get(layer, np.nan) for null in ("none", *NULLS) if null in means}
            yield {
                **part.place(layer),
                **{
                    ("real" if null == "none" else null.replace("_", " ")): _number(drop, "+.3f")
                    for null, drop in shown.items()
                },
            }


def pools() -> Iterator[Row]:
    """The error of one net over that of a pool of nets, by width; bold where that is beyond chance."""
    for part in parts():
        table = part.rows("exchangeability")
        table = table[table["null"] == "pooled"]
        found = exchangeability(table, combined="normal")
        found = found[found["epoch"] == part.epoch]
        trend = _trend(table[table["target_epoch"] == part.epoch])
        for layer, rows in found.groupby("layer"):
            ordered = rows.sort_values("width").to_dict("records")
            yield {
                **part.place(layer),
                "ratio, from the narrowest to the widest": " ".join(_ratio(row) for row in ordered),
                "initial nets, widest": _number(ordered[-1]["ratio_initial"], ".2f"),
                "ratio changes as width to the power": trend[layer],
            }


def _trend(table: pd.DataFrame) -> dict[int, str]:
    """The exponent of the ratio over targets; above 0 where it rises."""
    rows = table.rename(columns={"target_width": "width", "target_seed": "seed"})
    rows = rows[["width", "seed", "layer", "ratio"]]
    fits = fit_width_limit(rows, "ratio", ["layer"], plateau=False, level=LEVEL, interval="together")
    return {
        int(fit["layer"]): f"{-fit['alpha']:+.3f} [{-fit['alpha_high']:+.3f}, {-fit['alpha_low']:+.3f}]"
        for fit in fits.to_dict("records")
    }


def _ratio(row: Mapping[str, Any]) -> str:
    return f"**{row['ratio']:.2f}**" if row["p_holm"] <= 0.05 else f"{row['ratio']:.2f}"


def distances() -> Iterator[Row]:
    """Measures without a fit, from the narrowest to the widest nets."""
    for part in parts():
        rows = similarity_summary(part.compared(), level=LEVEL)
        value = rows.set_index(["measure", "target_width", "layer"])[["value", "rejected"]]
        ends = part.widths[0], part.widths[-1]
        known = set(rows["measure"])
        falls = {name: _falls(part.compared(), name) for name in ("cka", "procrustes") if name in known}
        for layer in sorted(set(rows["layer"])):
            yield {
                **part.place(layer),
                "CKA": _ends(value, "cka", ends, layer),
                "exponent of 1 − CKA": falls.get("cka", {}).get(layer, "–"),
                "exponent of the Procrustes angle": falls.get("procrustes", {}).get(layer, "–"),
                "energy distance": _ends(value, "energy", ends, layer),
                "pairs that energy tells apart, widest": _number(
                    value["rejected"].get(("energy", ends[1], layer), np.nan), ".2f"
                ),
            }


def _ends(value: pd.DataFrame, measure: str, ends: tuple[int, int], layer: int) -> str:
    found = [value["value"].get((measure, width, layer), np.nan) for width in ends]
    return " → ".join(_number(one, ".3f") for one in found)


def _falls(rows: pd.DataFrame, measure: str) -> dict[int, str]:
    """With which exponent a distance falls, or a similarity nears 1."""
    ready = gaps(rows[rows["measure"] == measure], distance=measure != "cka")
    fits = fit_width_limit(ready, "gap", ["layer"], level=LEVEL, interval="together").to_dict("records")
    return {int(fit["layer"]): _told(fit, "alpha", ".2f") if fit["model"] else "–" for fit in fits}


def training() -> Iterator[Row]:
    """The map of training: at which epoch other nets are nearest to a net. Of the widest nets."""
    for part in parts():
        apart = part.tables.similarity[
            part.tables.similarity["source_epoch"] != part.tables.similarity["target_epoch"]
        ]
        for measure in ("energy", "cka"):
            if measure not in set(apart["measure"]):
                continue
            found = trajectory(part.tables.similarity, measure, level=LEVEL)
            for layer, rows in found.groupby("layer"):
                off, nearest = rows[rows["epoch"] != rows["other"]], rows[rows["nearest"]]
                yield {
                    **part.place(layer),
                    "measure": measure,
                    "nearest at the same epoch": _of(nearest["epoch"] == nearest["other"]),
                    "the same epoch is nearer, beyond chance": _of(off["farther_low"] > 0),
                    "another epoch is nearer, beyond chance": _of(off["farther_high"] < 0),
                }


def barriers() -> Iterator[Row]:
    """Barriers of the held-out loss between nets on a straight line: means over pairs, by matching."""
    for part in parts():
        rows = part.rows("barriers")
        for width in (part.widths[0], part.widths[-1]) if len(rows) else ():
            here = rows[(rows["target_width"] == width) & (rows["target_epoch"] == part.epoch)]
            mean = here.groupby(["matching", "correction"], observed=True)["loss_test_barrier"].mean()
            if len(mean):
                pairs = here.drop_duplicates(["source_net", "target_net"])
                found = {_way(*key): _number(value, ".2f") for key, value in mean.items()}
                yield {"sweep": part.name, "width": str(width), "pairs": str(len(pairs)), **found}


def _way(matching: str, correction: str) -> str:
    return f"{matching}, REPAIR" if correction == "repair" else matching


def _of(true: pd.Series[bool]) -> str:
    return f"{int(true.sum())} of {len(true)}"


def _told(row: Mapping[str, Any], name: str, form: str) -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if not np.isfinite(low):
        return _number(value, form)
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def _number(value: float, form: str) -> str:
    return f"{value:{form}}" if np.isfinite(value) else "–"


_MADE = (nets, fall, nulls, accuracy, pools, distances, training, barriers)
TABLES: dict[str, Callable[[], Iterable[Row]]] = {one.__name__: one for one in _MADE}
"""The tables by the names that their marks on the page have."""


def markdown(rows: Iterable[Row]) -> str:
    """Rows as a table; a column that some rows lack is empty there."""
    rows = list(rows)
    head = list(dict.fromkeys(name for row in rows for name in row))
    lines = [head, ["---"] * len(head), *([row.get(name, "–") for name in head] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def filled(page: str) -> str:
    """The page with each of its tables made anew."""

    def table(found: re.Match[str]) -> str:
        return f"{found[1]}\n\n{markdown(TABLES[found[2]]())}\n\n{found[3]}"

    return re.sub(r"(<!-- table: (\w+) -->).*?(<!-- end -->)", table, page, flags=re.DOTALL)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        sys.stdout.write(f"{markdown(TABLES[name]())}\n")
    if not sys.argv[1:]:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
