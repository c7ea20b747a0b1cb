"""What a net's training costs in convolutions and products alone: about the least for any engine.

Every layer's map is timed by itself at its own sizes: forward and backward for the steps, forward for the
evaluations; in both layouts, one net and several in groups, and by our own convolution. The fastest counts.
Activations, pooling, BN, the loss, the optimizer and the making of batches are free.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from benchmarks.timing import seconds_of
from espalier.tasks.data.images import DataFacts
from espalier.tasks.kernels import winograd
from espalier.tasks.kernels.tiling import suits
from espalier.tasks.networks.architectures import Shape, evaluation_batch, input_shapes, weight_shape
from espalier.tasks.networks.layout import laid
from espalier.tasks.networks.network import linear
from espalier.tasks.seeds import stream
from espalier.tasks.spec import COMPILED, Layer, NetSpec, TrainMode

TURNS = 4


@dataclass(frozen=True)
class Kernels:
    """A net, its epochs and images, and the numbers of nets that are tried together."""

    net: NetSpec
    epochs: int
    facts: DataFacts
    sizes: tuple[int, ...] = (1,)


def kernel_seconds(work: Kernels, device: str) -> float:
    """Seconds of one net: its steps, evaluations after each epoch, and of the training images at the end."""
    architecture, batch = work.net.architecture, work.net.recipe.batch_size
    steps = work.epochs * work.facts.train / batch
    judged = evaluation_batch(architecture)
    evaluations = (work.epochs * work.facts.test + work.facts.train) / judged
    total = 0.0
    for below, layer in enumerate(zip(architecture.layers, input_shapes(architecture), strict=True)):
        ways = [Map(*layer, *way, device, image=below == 0) for way in _ways(work.sizes)]
        step = min(_fastest(way.step(batch), device) / way.nets for way in ways)
        evaluation = min(_fastest(way.evaluation(judged), device) for way in ways if way.nets == 1)
        total += steps * step + evaluations * evaluation
    return total


def _ways(sizes: tuple[int, ...]) -> list[tuple[int, TrainMode]]:
    """Numbers of nets, and modes that they can have."""
    modes = [TrainMode(), TrainMode(layout="channels_last")]
    return [*product(sizes, modes), (1, COMPILED)]


def _fastest(work: Callable[[], object], device: str) -> float:
    work()
    return min(seconds_of(work, device) for _ in range(TURNS))


@dataclass(frozen=True)
class Map:
    """The linear map of a layer that reads `shape`, of some nets side by side; `image`: it is the lowest."""

    layer: Layer
    shape: Shape
    nets: int
    mode: TrainMode
    device: str
    image: bool = False

    def _tensor(self, *size: int) -> Tensor:
        value = torch.randn(size, generator=stream("kernels")).to(self.device)
        return laid(value, self.mode.layout)

    def _tensors(self, images: int) -> list[Tensor]:
        """What the map reads, its weight and its bias."""
        channels, *area = self.shape
        out, *rest = weight_shape(self.layer, self.shape)
        h = self._tensor(images, self.nets * channels, *area)
        return [h, self._tensor(self.nets * out, *rest), self._tensor(self.nets * out)]

    def _map(self, h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if self.mode.compiled and suits(self.layer, self.shape):
            return winograd.conv(h, weight, bias)
        return linear(self.layer, h, weight, bias, self.nets)

    def step(self, images: int) -> Callable[[], object]:
        """Forward and backward, to what the map reads unless that is the image."""
        h, weight, bias = self._tensors(images)
        leaves = [value.requires_grad_() for value in ([] if self.image else [h]) + [weight, bias]]
        ahead = self._map(h, weight, bias).detach()

        def run() -> object:
            return torch.autograd.grad(self._map(h, weight, bias), leaves, ahead)

        return run

    def evaluation(self, images: int) -> Callable[[], object]:
        """Forward alone."""
        h, weight, bias = self._tensors(images)
        return lambda: self._map(h, weight, bias)
