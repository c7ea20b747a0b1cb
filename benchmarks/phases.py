"""Where the engine's time goes: its functions wrapped from outside while a measurement runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import isgenerator
from typing import Any

from espalier.tasks.grafting import fit, grafted_net, score
from espalier.tasks.grafting.grafted_net import Joiner
from espalier.tasks.grafting.gram import ChannelMoments, PatchMoments
from espalier.tasks.grafting.layer_input import LayerInput
from espalier.tasks.grafting.score import GraftScore
from espalier.tasks.grafting.shared_crosses import SharedCrosses
from espalier.tasks.grafting.tile_nets import TileNets

PHASES: list[tuple[str, Any, str]] = [
    ("forward passes", TileNets, "features"),
    ("forward passes", TileNets, "source_features"),
    ("Gram matrices", PatchMoments, "add"),
    ("cross terms", LayerInput, "cross_CD"),
    ("cross terms", SharedCrosses, "add"),
    ("factorisations", fit, "factorise"),
    ("solutions", fit, "solve"),
    ("solutions", fit, "choose"),
    ("BN statistics", grafted_net, "_reestimate"),
    ("held-out predictions", Joiner, "compared"),
    ("held-out predictions", Joiner, "joint"),
    ("held-out tops", score, "send"),
    ("errors and moments", ChannelMoments, "add"),
    ("errors and moments", GraftScore, "add_error"),
    ("errors and moments", GraftScore, "add_answers"),
]
"""Phase, and a function that is part of it, by its place. What one of them calls counts as its own."""


class Clock:
    """Seconds by phase, of the clock `now`. While one phase runs no other begins."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.seconds: dict[str, float] = defaultdict(float)
        self._busy = False

    def timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time counted; if it gives a generator, that of every step."""

        @wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            made = self._run(phase, lambda: function(*args, **options))
            return self._steps(phase, made) if isgenerator(made) else made

        return call

    def _steps(self, phase: str, steps: Iterator[Any]) -> Iterator[Any]:
        end = object()
        while (step := self._run(phase, lambda: next(steps, end))) is not end:
            yield step

    def _run(self, phase: str, work: Callable[[], Any]) -> Any:
        if self._busy:
            return work()
        self._busy, start = True, self._now()
        try:
            return work()
        finally:
            self._busy = False
            self.seconds[phase] += self._now() - start


@contextmanager
def clocked(now: Callable[[], float]) -> Iterator[Clock]:
    """Wrap the functions of `PHASES` for a while."""
    clock, originals = Clock(now), [getattr(place, name) for _, place, name in PHASES]
    for (phase, place, name), function in zip(PHASES, originals, strict=True):
        setattr(place, name, clock.timed(phase, function))
    try:
        yield clock
    finally:
        for (_, place, name), function in zip(PHASES, originals, strict=True):
            setattr(place, name, function)


def phase_shares(clock: Clock, total: float) -> dict[str, float]:
    """The share of `total` seconds that each phase took, and the rest."""
    found = {phase: clock.seconds[phase] / total for phase, _, _ in PHASES}
    return found | {"the rest": 1.0 - sum(found.values())}
