"""How often the intervals of `fit_width_limit` hold the truth, and how long they are: simulated sweeps.

A case is so many seeds of all ordered pairs at so many widths, of errors `c + w^-alpha` with a relative
effect of each source, of each target and of each pair, normal with deviations of 0.1, 0.1 and 0.05; `skewed`
effects are exponential, and `unequal` ones four times as large at the narrowest width as at the widest. The
plateau is a share of the widest nets' error. Every set of a case is drawn anew.

Legend: N sets, R ordered pairs, S seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from espalier.analysis.limits.resample import WidthMean, mean_over_nets
from espalier.analysis.limits.width_limit import WidthLimit, fit_means

Floats = NDArray[np.float64]

LEVEL, LEAST = 0.9, 0.86
NET, PAIR = 0.1, 0.05
RANGES = {4: (4, 8, 16, 32), 5: (4, 8, 16, 32, 64), 7: (4, 8, 16, 32, 64, 128, 256)}
SHARES = {"none": 0.0, "small": 0.25, "large": 0.6}
"""The plateau as a share of the error at the widest nets."""
NOISES = ("gaussian", "skewed", "unequal")
RISING = -0.31


@dataclass(frozen=True)
class Case:
    """One kind of sweep; `plateau` is one of `SHARES`."""

    alpha: float
    seeds: int
    widths: int
    plateau: str
    noise: str

    @property
    def truth(self) -> dict[int, float]:
        """The error of each width."""
        return {width: self.c + width**-self.alpha for width in RANGES[self.widths]}

    @property
    def c(self) -> float:
        """The plateau."""
        share = SHARES[self.plateau]
        return float(share / (1 - share) * max(RANGES[self.widths]) ** -self.alpha)


def cases() -> Iterator[Case]:
    """The grid: falling curves with and without a plateau, and rising ones without."""
    seeds, widths = (3, 4, 6), tuple(RANGES)
    for parts in product((0.5, 1.0), seeds, widths, SHARES, NOISES):
        yield Case(*parts)
    for parts in product((RISING,), seeds, widths, ("none",), NOISES):
        yield Case(*parts)


def sets(case: Case, count: int, seed: int) -> Iterator[list[WidthMean]]:
    """The means over nets of so many sweeps of that kind."""
    rng = np.random.default_rng([seed, *map(ord, repr(case))])
    nets_R = np.nonzero(~np.eye(case.seeds, dtype=bool))
    y_WNR = {
        width: value * _factors(case, rng, scale, count, nets_R)
        for (width, value), scale in zip(case.truth.items(), _scales(case), strict=True)
    }
    for place in range(count):
        yield [mean_over_nets(width, y_NR[place], nets_R) for width, y_NR in y_WNR.items()]


def _scales(case: Case) -> Floats:
    """How large the effects are at each width."""
    ends = (2.0, 0.5) if case.noise == "unequal" else (1.0, 1.0)
    return np.geomspace(*ends, case.widths)


def _factors(
    case: Case, rng: np.random.Generator, scale: float, count: int, nets_R: tuple[NDArray[np.int64], ...]
) -> Floats:
    def effects(deviation: float, size: int) -> Floats:
        if case.noise == "skewed":
            return deviation * scale * (rng.exponential(1.0, (count, size)) - 1)
        return rng.normal(0.0, deviation * scale, (count, size))

    source_NS, target_NS = effects(NET, case.seeds), effects(NET, case.seeds)
    return 1 + source_NS[:, nets_R[0]] + target_NS[:, nets_R[1]] + effects(PAIR, len(nets_R[0]))


def covered(case: Case, count: int, seed: int) -> dict[str, Any]:
    """One row of the grid's table."""
    rows = [
        _told(fit, case)
        for means in sets(case, count, seed)
        for fit in [fit_means({}, means, level=LEVEL, bootstraps=1)]
    ]
    share = {name: float(np.mean([row[name] for row in rows])) for name in _SHARED if name in rows[0]}
    length = {name: float(np.median([row[name] for row in rows])) for name in _LENGTHS if name in rows[0]}
    return asdict(case) | share | length


_SHARED = ("alpha_covers", "alpha_too_low", "alpha_too_high", "c_covers", "floor_found", "reaches_0")
_LENGTHS = ("alpha_low", "alpha_high", "c_low", "c_high")


def _told(fit: WidthLimit, case: Case) -> dict[str, Any]:
    (low, high), (c_low, c_high) = fit.alpha_interval, fit.limit_interval
    told: dict[str, Any] = {
        "alpha_covers": low <= case.alpha <= high,
        "alpha_too_low": high < case.alpha,
        "alpha_too_high": low > case.alpha,
        "alpha_low": low,
        "alpha_high": high,
    }
    if case.alpha < 0:
        return told | {"reaches_0": high >= 0}
    least = min(case.truth.values())
    limits = {"c_covers": c_low <= case.c <= c_high, "c_low": c_low / least, "c_high": c_high / least}
    return told | limits | {"floor_found": c_low > 0}


@dataclass(frozen=True)
class Setup:
    """So many sets of each case; all cases, or those whose number leaves `part` when divided by `parts`."""

    sets: int = 1000
    seed: int = 0
    part: int = 0
    parts: int = 1


def run(setup: Setup) -> dict[str, Any]:
    """The grid's table, and of each group of cases the least and the mean coverage."""
    chosen = [case for number, case in enumerate(cases()) if number % setup.parts == setup.part]
    rows = [covered(case, setup.sets, setup.seed) for case in chosen]
    return {"machine": asdict(setup), "cases": rows, "summary": summary(rows)}


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By plateau the least and mean coverage, and the median lengths."""
    lines = []
    for name in [*SHARES, "rising"]:
        part = [row for row in rows if (name == "rising") == (row["alpha"] < 0)]
        part = part if name == "rising" else [row for row in part if row["plateau"] == name]
        if not part:
            continue
        line: dict[str, Any] = {"plateau": name, "cases": len(part)}
        for column in ("alpha_covers", "c_covers"):
            found = [row[column] for row in part if column in row]
            line |= {f"{column}_least": min(found, default=None), f"{column}_mean": _mean(found)}
        line |= {
            "alpha_length": _mean([row["alpha_high"] - row["alpha_low"] for row in part]),
            "c_length": _mean([row["c_high"] - row["c_low"] for row in part if "c_low" in row]),
            "floor_found": _mean([row["floor_found"] for row in part if "floor_found" in row]),
        }
        lines.append(line)
    return lines


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
