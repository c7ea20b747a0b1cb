"""A short measurement of the fastest way to train a recipe here: one by one or together, and in which layout.

Every way takes real steps on random images, in turns, since other programs come and go; of each way the
fastest turn counts. A way of training nets together is chosen only if it keeps their bits
(`tasks.training.bit_company`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import get_args

from espalier.tasks.data.tensors import Data
from espalier.tasks.kernels.compiled import compiles
from espalier.tasks.spec import COMPILED, Layout, NetSpec, Probe, Snapshot, TrainMode, TrainSegment
from espalier.tasks.training.bit_company import keeps_bits, random_images
from espalier.tasks.training.train import Group, initial_state

SECONDS, FEWEST, TURNS, STEPS = 0.6, 3, 8, 2
"""A probe ends after so many seconds, but has so many turns at least and at most, each of so many steps of
every way.
"""

SIZES = {"cpu": (4, 8), "cuda": (2, 4, 8, 16, 32)}
"""Nets trained together; of fewer seeds all."""

HEAVY_FLOPS = {"cpu": 6e9, "cuda": 4e12}
"""Operations of one step of a group. Above this, groups gain nothing, since one net keeps the device busy.

The CPU's is measured; the GPU's is a guess, a tenth of a second at 40 TFLOP/s, until one was measured.
"""

WORTHWHILE = 0.95
"""A way is taken instead of a simpler one only if its time is below this share of the simpler one's."""

Way = tuple[TrainMode, int]
"""A mode, and how many nets are trained together at most."""


@dataclass(frozen=True)
class Found:
    """What a probe found.

    Attributes:
        chosen: The fastest way that keeps bits.
        seconds: Of one net's step, by way.
        kept: Whether a way of training nets together keeps their bits, of those that were tested.
    """

    chosen: Way
    seconds: Mapping[Way, float]
    kept: Mapping[Way, bool]


def find(task: Probe, device: str = "cpu") -> Found:
    """Measure all ways, and test those that are the fastest until one keeps bits."""
    seconds, kept = measure(task, device), dict[Way, bool]()

    def holds(way: Way) -> bool:
        kept[way] = keeps_bits(task, *way, device)
        return kept[way]

    chosen = choose(seconds, holds)
    return Found(chosen, seconds, {way: held for way, held in kept.items() if way[0].grouped})


def ways(task: Probe, device: str = "cpu") -> list[Way]:
    """Modes and group sizes that are worth trying, the simpler first."""
    found = [(mode, 1) for mode in _loops(task.net, device)]
    sizes = sorted({min(size, task.nets) for size in SIZES[device]} - {1})
    affordable = [size for size in sizes if size * task.step_flops <= HEAVY_FLOPS[device]]
    return found + [(TrainMode(True, layout), size) for size in affordable for layout in get_args(Layout)]


def _loops(net: NetSpec, device: str) -> list[TrainMode]:
    """Modes of nets one after another."""
    modes = [TrainMode(False, "contiguous"), TrainMode(False, "channels_last")]
    if device == "cpu" and net.recipe.precision != "bf16" and compiles(net.architecture):
        modes.append(COMPILED)
    return modes


def measure(task: Probe, device: str = "cpu") -> dict[Way, float]:
    """Seconds of one net's step, by mode and size."""
    groups = {way: _group(task.net, *way, device) for way in ways(task, device)}
    seconds = dict.fromkeys(groups, float("inf"))
    for group in groups.values():
        group.epoch()
    end = time.perf_counter() + SECONDS
    for turn in range(1, TURNS + 1):
        for (mode, size), group in groups.items():
            seconds[mode, size] = min(seconds[mode, size], _seconds(group, device) / (STEPS * size))
        if turn >= FEWEST and time.perf_counter() > end:
            break
    return seconds


def _group(net: NetSpec, mode: TrainMode, size: int, device: str) -> Group:
    segments = [
        TrainSegment(Snapshot(f"probe-{seed}", "probe", replace(net, seed=seed), 1), None, False)
        for seed in range(size)
    ]
    states = [initial_state(net)] * size
    return Group(segments, states, _images(net, device), mode)


def _images(net: NetSpec, device: str) -> Data:
    """Random ones, as many as some steps take."""
    x, y = random_images(net, STEPS * net.recipe.batch_size, device)
    return Data(x, y, x[:1], y[:1])


def _seconds(group: Group, device: str) -> float:
    """Time of an epoch; on a CPU of this thread alone. What it returns has waited for a GPU."""
    clock = time.thread_time if device == "cpu" else time.perf_counter
    start = clock()
    group.epoch()
    return clock() - start


def choose(seconds: Mapping[Way, float], holds: Callable[[Way], bool]) -> Way:
    """The fastest way that holds, unless a simpler one (an earlier one) is about as fast.

    A way is tested only once it is the fastest of those that are left; at least one way must hold.
    """
    left = dict(seconds)
    while not holds(chosen := _best(left)):
        del left[chosen]
    return chosen


def _best(seconds: Mapping[Way, float]) -> Way:
    chosen, *others = seconds
    for way in others:
        if seconds[way] < WORTHWHILE * seconds[chosen]:
            chosen = way
    return chosen


def named(seconds: Mapping[Way, float]) -> dict[str, float]:
    """The measurement in words: milliseconds by way."""
    return {mode.of(size): round(1e3 * time, 4) for (mode, size), time in seconds.items()}
