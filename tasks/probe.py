"""A short measurement of how a net's recipe is trained fastest here: one by one or together, and the layout.

Every way takes real steps on random images, in turns, since other programs come and go; of each way the
fastest turn counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch

from tasks.architectures import input_shapes
from tasks.compiled import compiles
from tasks.data import Data
from tasks.seeds import stream
from tasks.spec import COMPILED, Layout, NetSpec, Probe, Snapshot, TrainMode, TrainSegment
from tasks.train import Group, initial_state

SECONDS, FEWEST, TURNS, STEPS = 0.6, 3, 8, 2
"""A probe ends after so many seconds, but has so many turns at least and at most, each of so many steps of
every way.
"""

SIZES = {"cpu": (4, 8), "cuda": (2, 4, 8, 16, 32)}
"""Nets trained together; of fewer seeds all."""

HEAVY_FLOPS = {"cpu": 6e9, "cuda": 4e12}
"""Of one step of a group: past it there is nothing to win, since a net alone keeps the device busy.

The CPU's is measured; the GPU's is a guess, a tenth of a second at 40 TFLOP/s, until one was measured.
"""

WORTHWHILE = 0.95
"""Share of a simpler way's time from which another one is taken."""

BLOCK = 8
"""Channels first, oneDNN sums a conv to a multiple of so many channels in another order once all nets read so
many together (measured): groups that do from 2 nets on are safe, as are convs to other numbers of channels.
"""

BN_CHANNELS = 16
"""Channels last, bits of BN depend on the number of nets unless each has a multiple of so many channels."""


def ways(task: Probe, device: str = "cpu") -> list[tuple[TrainMode, int]]:
    """Modes and sizes of groups worth a try, the simpler first."""
    found = [(mode, 1) for mode in _loops(task.net, device)]
    sizes = sorted({min(size, task.nets) for size in SIZES[device]} - {1})
    affordable = [size for size in sizes if size * task.step_flops <= HEAVY_FLOPS[device]]
    layouts: list[Layout] = [layout for layout, safe in _SAFE if safe(task.net)]
    return found + [(TrainMode(True, layout), size) for size in affordable for layout in layouts]


def _loops(net: NetSpec, device: str) -> list[TrainMode]:
    """Modes of nets one after another."""
    modes = [TrainMode(False, "contiguous"), TrainMode(False, "channels_last")]
    if device == "cpu" and net.recipe.precision != "bf16" and compiles(net.architecture):
        modes.append(COMPILED)
    return modes


def _independent(net: NetSpec) -> bool:
    """Whether a net's bits do not depend on its company with channels first."""
    shapes = zip(net.architecture.layers, input_shapes(net.architecture), strict=True)
    return not any(
        layer.kind == "conv" and layer.out % BLOCK == 0 and 2 * shape[0] < BLOCK for layer, shape in shapes
    )


def _independent_channels_last(net: NetSpec) -> bool:
    """Whether a net's bits do not depend on its company with channels last."""
    layers = net.architecture.layers
    normalised = [layer for layer in layers if layer.batch_norm or (layer.shortcut or layer).batch_norm]
    return all(layer.out % BN_CHANNELS == 0 for layer in normalised)


_SAFE: tuple[tuple[Layout, Callable[[NetSpec], bool]], ...] = (
    ("contiguous", _independent),
    ("channels_last", _independent_channels_last),
)


def measure(task: Probe, device: str = "cpu") -> dict[tuple[TrainMode, int], float]:
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
    count, outputs = STEPS * net.recipe.batch_size, net.architecture.layers[-1].out
    generator = stream("probe")
    x = torch.randn(count, *net.architecture.input, generator=generator).to(device)
    if net.recipe.loss == "mse":
        y = torch.randn(count, outputs, generator=generator).to(device)
    else:
        y = torch.randint(outputs, (count,), generator=generator).to(device)
    return Data(x, y, x[:1], y[:1])


def _seconds(group: Group, device: str) -> float:
    """Time of an epoch; on a CPU of this thread alone. What it returns has waited for a GPU."""
    clock = time.thread_time if device == "cpu" else time.perf_counter
    start = clock()
    group.epoch()
    return clock() - start


def choose(seconds: dict[tuple[TrainMode, int], float]) -> tuple[TrainMode, int]:
    """The fastest way, unless a simpler one (an earlier one) is about as fast."""
    chosen, *others = seconds
    for way in others:
        if seconds[way] < WORTHWHILE * seconds[chosen]:
            chosen = way
    return chosen


def named(seconds: dict[tuple[TrainMode, int], float]) -> dict[str, float]:
    """The measurement in words: milliseconds by way."""
    return {f"{mode.name} x{size}": round(1e3 * time, 4) for (mode, size), time in seconds.items()}
