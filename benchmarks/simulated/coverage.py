"""How often the intervals of `fit_width_limit` hold the truth, and how long they are: simulated sweeps.

A case is so many seeds of all ordered pairs at so many widths, of errors `c + w^-alpha` with a relative
effect of each source, of each target and of each pair, normal with deviations of 0.1, 0.1 and 0.05; `skewed`
effects are exponential, and `unequal` ones four times as large at the narrowest width as at the widest. The
plateau is a share of the widest nets' error. Every set of a case is drawn anew.

Legend: N sets, R ordered pairs, S seeds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from espalier.analysis.limits.candidates import scatter
from espalier.analysis.limits.powerlaw import PowerFit, aicc, fit_power
from espalier.analysis.limits.profiles import alpha_interval, limit_interval
from espalier.analysis.limits.resample import WidthMean, mean_over_nets

Floats = NDArray[np.float64]
Ends = tuple[float, float]

LEVEL, LEAST = 0.9, 0.86
NET, PAIR = 0.1, 0.05
RANGES = {4: (4, 8, 16, 32), 5: (4, 8, 16, 32, 64), 7: (4, 8, 16, 32, 64, 128, 256)}
SHARES = {"none": 0.0, "small": 0.25, "large": 0.6, "reached": 0.9}
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
    drawn = list(sets(case, count, seed))
    rows = [_told(*ends, case) for ends in intervals(drawn)]
    share = {name: _all(rows, name, np.mean) for name in _SHARED}
    length = {name: _all(rows, name, np.median) for name in _LENGTHS}
    return asdict(case) | share | length


def intervals(drawn: Sequence[Sequence[WidthMean]]) -> Iterator[tuple[Ends, Ends]]:
    """The intervals of exponent and limit of each set as `fit_means` has them; all point fits at once."""
    width_W, seeds_W = (np.array([float(getattr(m, name)) for m in drawn[0]]) for name in ("width", "seeds"))
    mean_NW = np.array([[mean.mean for mean in means] for means in drawn])
    both = [fit_power(width_W, mean_NW, seeds_W, plateau=plateau) for plateau in (False, True)]
    for place, means in enumerate(drawn):
        models = [fit.part(slice(place, place + 1)) for fit in both]
        chosen = min(zip(models, (3, 4), strict=True), key=lambda pair: criterion(pair[0], means, pair[1]))[0]
        yield (
            alpha_interval(means, models, chosen, None, LEVEL),
            limit_interval(means, models[1], chosen, LEVEL),
        )


def criterion(model: PowerFit, means: Sequence[WidthMean], parameters: int) -> float:
    """The AICc by which one of the models is chosen."""
    nets = sum(mean.seeds for mean in means)
    return float(aicc(model.misfit_B, scatter(means), nets, parameters)[0])


_SHARED = ("alpha_covers", "alpha_too_low", "alpha_too_high", "c_covers", "floor_found", "reaches_0")


def _all(rows: list[dict[str, Any]], name: str, how: Callable[[list[Any]], Any]) -> float | None:
    return float(how([row[name] for row in rows])) if name in rows[0] else None


_LENGTHS = ("alpha_low", "alpha_high", "c_low", "c_high")


def _told(alpha: Ends, limit: Ends, case: Case) -> dict[str, Any]:
    (low, high), (c_low, c_high) = alpha, limit
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
    """So many sets of each case. Each case has a random stream of its own."""

    sets: int = 500
    seed: int = 0


def run(setup: Setup) -> dict[str, Any]:
    """The grid's table, and its summary."""
    rows = [covered(case, setup.sets, setup.seed) for case in cases()]
    return {"machine": {"sets": setup.sets, "seed": setup.seed}, "summary": summary(rows), "cases": rows}


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By plateau and seeds the least and the mean coverage, and the median length of alpha's interval."""
    found = {(_shape(row), row["seeds"]): [] for row in rows}
    for row in rows:
        found[_shape(row), row["seeds"]].append(row)
    return [
        {"plateau": shape, "seeds": seeds, "cases": len(part)}
        | {f"{name}_{end}": _of(part, name, end) for name in ("alpha_covers", "c_covers") for end in _ENDS}
        | {"floor_found": _of(part, "floor_found", "mean")}
        | {f"length_{widths}": _length(part, widths) for widths in RANGES}
        for (shape, seeds), part in found.items()
    ]


_ENDS = {"least": min, "mean": lambda values: math.fsum(values) / len(values)}


def _shape(row: dict[str, Any]) -> str:
    return "rising" if row["alpha"] < 0 else row["plateau"]


def _of(rows: list[dict[str, Any]], name: str, end: str) -> float | None:
    values = [row[name] for row in rows if row[name] is not None]
    return _ENDS[end](values) if values else None


def _length(rows: list[dict[str, Any]], widths: int) -> float | None:
    """The median over cases of the median length of alpha's interval, as a share of alpha."""
    lengths = [
        (row["alpha_high"] - row["alpha_low"]) / abs(row["alpha"]) for row in rows if row["widths"] == widths
    ]
    return statistics.median(lengths) if lengths else None
