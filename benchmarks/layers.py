"""Single layers, forward and backward, by PyTorch and by the compiled kernels: milliseconds and rounding.

One thread. Errors are those of the output and of the worst gradient, as shares of the norms in float64.
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.timing import seconds_of
from espalier.orchestrator.record import cpu_name
from espalier.tasks.kernels import fused_norm, winograd
from espalier.tasks.kernels.norm_kernels import Ends
from espalier.tasks.networks.batch_norm import EPSILON
from espalier.tasks.networks.layout import laid
from espalier.tasks.seeds import stream
from espalier.tasks.spec import Layout
from espalier.tasks.worker.kept_memory import kept_memory

Layer = Callable[..., Tensor]


@dataclass(frozen=True)
class Setup:
    """What is asked for: channels of the convs (as many in as out), sizes of maps, images of a batch."""

    channels: tuple[int, ...] = (16, 32, 64, 128)
    sizes: tuple[int, ...] = (4, 8, 14, 28)
    images: int = 64
    repeats: int = 15


def run(setup: Setup) -> dict[str, Any]:
    """The machine; a row for each conv, plain and with the ReLU before it and pooling after it; and of BN."""
    torch.set_num_threads(1)
    with kept_memory():
        return {
            "machine": {
                "processor": cpu_name(),
                "threads": 1,
                "torch": torch.__version__,
                "python": platform.python_version(),
                **asdict(setup),
            },
            "convs": list(_convs(setup)),
            "norms": list(_norms(setup)),
        }


def _convs(setup: Setup) -> Iterator[dict[str, Any]]:
    for size in setup.sizes:
        for channels in setup.channels:
            for fused in (False, True):
                weight = _numbers("weight", channels, channels, 3, 3) / (9 * channels) ** 0.5
                tensors = [_numbers("h", setup.images, channels, size, size), weight, _numbers("b", channels)]

                def ours(*given: Tensor, both: bool = fused) -> Tensor:
                    return winograd.conv(*given, rectified=both, pooled=both)

                case = {"size": size, "channels": channels, "relu_and_pool": fused}
                yield case | _compared(setup, _plain_conv(fused), ours, tensors)


def _plain_conv(fused: bool) -> Layer:
    def plain(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if not fused:
            return F.conv2d(h, weight, bias, padding=1)
        return F.max_pool2d(F.conv2d(h.relu(), weight, bias, padding=1), 2).relu()

    return plain


def _norms(setup: Setup) -> Iterator[dict[str, Any]]:
    ends: Ends
    for size in setup.sizes:
        for channels in setup.channels:
            for ends in ("relu", "pooled"):
                z = _numbers("z", setup.images, channels, size, size) + 0.5
                tensors = [z, _numbers("scale", channels), _numbers("shift", channels)]
                case = {"size": size, "channels": channels, "then": ends}
                yield case | _compared(setup, _plain_norm(ends), _fused_norm(ends, channels), tensors)


def _plain_norm(ends: Ends) -> Layer:
    def plain(z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        made = F.batch_norm(z, None, None, weight, bias, training=True, eps=EPSILON)
        return (F.max_pool2d(made, 2) if ends == "pooled" else made).relu()

    return plain


def _fused_norm(ends: Ends, channels: int) -> Layer:
    mean, var = torch.zeros(channels), torch.ones(channels)
    return lambda z, weight, bias: fused_norm.trained(z, weight, bias, mean, var, ends)


def _numbers(name: str, *size: int) -> Tensor:
    return torch.randn(size, generator=stream("layers", name, *size))


def _compared(setup: Setup, plain: Layer, ours: Layer, tensors: Sequence[Tensor]) -> dict[str, float]:
    """Milliseconds, in turns, and errors."""
    layouts: dict[str, tuple[Layer, Layout]] = {
        "channels_first": (plain, "contiguous"),
        "channels_last": (plain, "channels_last"),
        "compiled": (ours, "channels_last"),
    }
    steps = {name: _Step(layer, tensors, layout) for name, (layer, layout) in layouts.items()}
    exact = _Step(plain, [value.double() for value in tensors], "contiguous").results()
    for step in steps.values():
        step()
    turns = [{name: seconds_of(step, "cpu") for name, step in steps.items()} for _ in range(setup.repeats)]
    times = {f"{name}_ms": 1e3 * statistics.median(turn[name] for turn in turns) for name in steps}
    ratio = statistics.median(turn["channels_last"] / turn["compiled"] for turn in turns)
    errors = {
        f"{name}_error": max(
            float((mine - theirs).norm() / theirs.norm())
            for mine, theirs in zip(steps[name].results(), exact, strict=True)
        )
        for name in ("channels_last", "compiled")
    }
    return times | {"channels_last_over_compiled": ratio} | errors


class _Step:
    """Forward and backward of a layer."""

    def __init__(self, layer: Layer, tensors: Sequence[Tensor], layout: Layout) -> None:
        self._layer = layer
        self._leaves = [laid(value, layout).requires_grad_() for value in tensors]
        z = layer(*self._leaves).detach()
        self._ahead = laid(_numbers("ahead", *z.shape).to(z.dtype), layout)

    def __call__(self) -> None:
        torch.autograd.grad(self._layer(*self._leaves), self._leaves, self._ahead)

    def results(self) -> list[Tensor]:
        """The output and the gradients."""
        z = self._layer(*self._leaves)
        return [z.detach(), *torch.autograd.grad(z, self._leaves, self._ahead)]
