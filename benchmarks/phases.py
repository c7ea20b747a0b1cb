"""Where the engine's time goes: its functions wrapped from outside while a measurement runs."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any

from tasks import fit, join, score
from tasks.gram import ChannelMoments, PatchMoments
from tasks.join import Joiner
from tasks.layer_input import LayerInput
from tasks.score import GraftScore
from tasks.walk import Walk

PHASES: list[tuple[str, Any, str]] = [
    ("forward passes", Walk, "features"),
    ("forward passes", Walk, "source_features"),
    ("Gram matrices", PatchMoments, "add"),
    ("cross terms", LayerInput, "cross_CD"),
    ("factorisations", fit, "factorise"),
    ("solutions", fit, "solve"),
    ("BN statistics", join, "_reestimate"),
    ("held-out predictions", Joiner, "joint"),
    ("held-out tops", score, "run_top"),
    ("errors and moments", ChannelMoments, "add"),
    ("errors and moments", GraftScore, "add_error"),
    ("errors and moments", GraftScore, "add_answers"),
]
"""Phase, and a function that is part of it, by its place. What one of them calls counts as its own."""


class Clock:
    """Seconds by phase. While one phase runs no other begins."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._busy = False

    def timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time counted; of a generator that of every step."""

        @wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            if isgeneratorfunction(function):
                return self._steps(phase, function(*args, **options))
            return self._run(phase, lambda: function(*args, **options))

        return call

    def _steps(self, phase: str, steps: Iterator[Any]) -> Iterator[Any]:
        end = object()
        while (step := self._run(phase, lambda: next(steps, end))) is not end:
            yield step

    def _run(self, phase: str, work: Callable[[], Any]) -> Any:
        if self._busy:
            return work()
        self._busy, start = True, time.perf_counter()
        try:
            return work()
        finally:
            self._busy = False
            self.seconds[phase] += time.perf_counter() - start


@contextmanager
def clocked() -> Iterator[Clock]:
    """Wrap the functions of `PHASES` for a while."""
    clock, originals = Clock(), [getattr(place, name) for _, place, name in PHASES]
    for (phase, place, name), function in zip(PHASES, originals, strict=True):
        setattr(place, name, clock.timed(phase, function))
    try:
        yield clock
    finally:
        for (_, place, name), function in zip(PHASES, originals, strict=True):
            setattr(place, name, function)


def shares(work: Callable[[], object]) -> dict[str, float]:
    """The share of the wall time of `work` that each phase took, and the rest."""
    with clocked() as clock:
        start = time.perf_counter()
        work()
        total = time.perf_counter() - start
    found = {phase: clock.seconds[phase] / total for phase, _, _ in PHASES}
    return found | {"the rest": 1.0 - sum(found.values())}
