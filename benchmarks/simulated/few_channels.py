"""What each measure of two layers gives for nets of few channels that are draws of one population.

Legend: N images, K functions that channels are mixtures of, C channels, H x W positions.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from espalier.tasks.measures.channel_gram import ChannelGram
from espalier.tasks.measures.compare_layers import compare
from espalier.tasks.measures.layer_matrices import LayerMatrices

CORRECTED = ("cka", "cka_channels")
"""Measures with a value beside theirs that few channels do not move."""


@dataclass(frozen=True)
class Setup:
    """Nets of each number of channels, and the population that their channels are drawn from."""

    channels: tuple[int, ...] = (8, 16, 32, 64, 128)
    nets: int = 8
    images: int = 300
    functions: int = 200
    side: int = 2
    seed: int = 0


def run(setup: Setup) -> dict[str, Any]:
    """Of each number of channels every measure's mean over the pairs of nets; None where it is refused."""
    columns = {channels: means(setup, channels) for channels in setup.channels}
    rows = [
        {"measure": name, **{f"C={channels}": column[name] for channels, column in columns.items()}}
        for name in columns[setup.channels[0]]
    ]
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    return {"machine": machine | asdict(setup), "means": rows}


def means(setup: Setup, channels: int) -> dict[str, float | None]:
    """The means of nets of so many channels."""
    generator = torch.Generator().manual_seed(setup.seed)
    test, train = (_functions(setup, generator) for _ in range(2))
    maps = [_map(setup, channels, generator) for _ in range(setup.nets)]
    layer = LayerMatrices([channels] * setup.nets, permutations=1)
    layer.add([features(test, weights) for weights in maps])
    gram = ChannelGram([channels] * setup.nets)
    gram.add([features(train, weights) for weights in maps])
    return dict(_means(compare(layer, train=gram)))


def _means(found: dict[str, Any]) -> Iterator[tuple[str, float | None]]:
    for name, one in found.items():
        yield name, _mean(one.value_SS)
        if name in CORRECTED:
            yield f"{name}, corrected", _mean(one.extra["corrected"])


def _mean(value_SS: Tensor) -> float | None:
    mean = float(value_SS[torch.ones_like(value_SS).triu(1).bool()].mean())
    return mean if mean == mean else None


def _functions(setup: Setup, generator: torch.Generator) -> Tensor:
    """Standard normal values (N, K, H, W), function k with a standard deviation of 1 / sqrt(k)."""
    values = torch.randn(setup.images, setup.functions, setup.side, setup.side, generator=generator)
    return values / torch.arange(1, setup.functions + 1).sqrt()[:, None, None]


def _map(setup: Setup, channels: int, generator: torch.Generator) -> Tensor:
    """How a net's channels are mixed (K, C)."""
    return torch.randn(setup.functions, channels, generator=generator)


def features(values_NKHW: Tensor, map_KC: Tensor) -> Tensor:
    """The rectified mixtures (N, C, H, W)."""
    return torch.einsum("nkhw,kc->nchw", values_NKHW, map_KC).relu()
