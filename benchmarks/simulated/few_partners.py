"""How often intervals of a mean over the pairs of few partners cover it, by simulation.

Pairs have an effect of the source, one of the target, and noise of their own. Legend: K draws, R pairs.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from espalier.analysis.limits.intervals import mean_interval
from espalier.analysis.limits.resample import mean_over_nets
from espalier.orchestrator.planning.partners import Partners

Effects = tuple[float, float, float]
"""Standard deviations of the effects of sources and of targets, and of the noise of pairs."""

LEVEL = 0.9


@dataclass(frozen=True)
class Setup:
    """Numbers of nets and of partners (0: all), and how many draws of each."""

    nets: tuple[int, ...] = (8, 16, 32)
    partners: tuple[int, ...] = (2, 3, 4, 0)
    effects: tuple[Effects, ...] = ((1.0, 1.0, 0.3), (1.0, 0.1, 1.0), (0.3, 0.3, 1.0), (0.0, 0.0, 1.0))
    draws: int = 4000
    seed: int = 0


def run(setup: Setup) -> dict[str, Any]:
    """Share of intervals of level 0.9 that cover, and the mean estimated variance over the true one."""
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    factors = [
        {"nets": nets, **{f"k={count}": round(ends(nets, count), 2) for count in setup.partners if count}}
        for nets in setup.nets
    ]
    return {"machine": machine | asdict(setup), "ends": factors, "coverage": list(rows(setup))}


def rows(setup: Setup) -> Iterator[dict[str, Any]]:
    """A row for each number of nets and partners."""
    for nets in setup.nets:
        for count in setup.partners:
            sides = pairs(nets, count)
            found = {str(effects): coverage(sides, nets, effects, setup) for effects in setup.effects}
            yield {"nets": nets, "partners": count or "all", **found}


def pairs(nets: int, count: int) -> NDArray[np.int64]:
    """Sources and targets `[2, R]` of `graft.partners = count`; of all pairs for 0."""
    if not count:
        return np.array([(i, j) for i in range(nets) for j in range(nets) if i != j]).T
    line = Partners(range(nets), count, 0)
    return np.array([(source, target) for target in range(nets) for source in line.sources(target)]).T


def coverage(sides: NDArray[np.int64], nets: int, effects: Effects, setup: Setup) -> tuple[float, float]:
    """Share of the intervals that hold the true mean 0, and the mean variance over the truth."""
    rng = np.random.default_rng(setup.seed)
    covered, variances = 0, 0.0
    for _ in range(setup.draws):
        found = mean_over_nets(nets, _draw(rng, sides, nets, effects), list(sides))
        low, high = mean_interval(found, LEVEL)
        covered += low <= 0 <= high
        variances += found.variance
    truth = variance(sides, nets, effects)
    return round(covered / setup.draws, 2), round(variances / setup.draws / truth, 2)


def _draw(
    rng: np.random.Generator, sides: NDArray[np.int64], nets: int, effects: Sequence[float]
) -> NDArray[np.float64]:
    source, target, pair = effects
    of_sources, of_targets = rng.normal(0, source, nets), rng.normal(0, target, nets)
    return of_sources[sides[0]] + of_targets[sides[1]] + rng.normal(0, pair, sides.shape[1])


def variance(sides: NDArray[np.int64], nets: int, effects: Effects) -> float:
    """Of the mean over the pairs: the nets' part by how often each is source and target, and the noise's."""
    out, into = (np.bincount(side, minlength=nets) / len(side) for side in sides)
    source, target, pair = effects
    return float(out @ out * source**2 + into @ into * target**2 + pair**2 / sides.shape[1])


def ends(nets: int, count: int) -> float:
    """How many times as large the nets' part is as with equal degrees, for effects of one size."""
    return nets / 2 * variance(pairs(nets, count), nets, (1.0, 1.0, 0.0))
