"""What a net's training costs in PyTorch's convolutions and products alone: about the least for any engine.

Every layer's map is timed by itself at its own sizes: forward and backward for the steps, forward for the
evaluations; in every layout, one net and several in groups. Its fastest time counts.
Activations, pooling, BN, the loss, the optimizer and the making of batches are free.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.timing import seconds_of
from tasks.architectures import Shape, evaluation_batch, input_shapes, weight_shape
from tasks.images import DataFacts
from tasks.layout import blocks_exist, entering, laid
from tasks.network import linear
from tasks.seeds import stream
from tasks.spec import Layer, Layout, NetSpec

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
        ways = [Map(*layer, *way, device, image=below == 0) for way in _ways(work.sizes, layer[0], device)]
        step = min(_fastest(way.step(batch), device) / way.nets for way in ways)
        evaluation = min(_fastest(way.evaluation(judged), device) for way in ways if way.nets == 1)
        total += steps * step + evaluations * evaluation
    return total


def _ways(sizes: tuple[int, ...], layer: Layer, device: str) -> list[tuple[int, Layout]]:
    """Numbers of nets, and layouts that they can have."""
    made: list[tuple[int, Layout]] = list(product(sizes, ("contiguous", "channels_last")))
    if layer.kind == "conv" and device == "cpu" and blocks_exist():
        made.append((1, "blocked"))
    return made


def _fastest(work: Callable[[], object], device: str) -> float:
    work()
    return min(seconds_of(work, device) for _ in range(TURNS))


@dataclass(frozen=True)
class Map:
    """The linear map of a layer that reads `shape`, of some nets side by side; `image`: it is the lowest."""

    layer: Layer
    shape: Shape
    nets: int
    layout: Layout
    device: str
    image: bool = False

    def _tensor(self, *size: int) -> Tensor:
        value = torch.randn(size, generator=stream("kernels")).to(self.device)
        return laid(value, self.layout)

    def _below(self, images: int) -> Tensor:
        """What the map reads: an image, or what another map gives, whose channels may come in blocks."""
        channels, *area = self.shape
        h = entering(self._tensor(images, self.nets * channels, *area), self.layout)
        return h if self.image or not h.is_mkldnn else F.conv2d(h, self._tensor(channels, channels, 1, 1))

    def _tensors(self, images: int) -> list[Tensor]:
        """What the map reads, its weight and its bias."""
        out, *rest = weight_shape(self.layer, self.shape)
        return [self._below(images), self._tensor(self.nets * out, *rest), self._tensor(self.nets * out)]

    def step(self, images: int) -> Callable[[], object]:
        """Forward and backward, to what the map reads unless that is the image."""
        h, weight, bias = self._tensors(images)
        leaves = [value.requires_grad_() for value in ([] if self.image else [h]) + [weight, bias]]
        ahead = linear(self.layer, h, weight, bias, self.nets).detach()

        def run() -> object:
            return torch.autograd.grad(linear(self.layer, h, weight, bias, self.nets), leaves, ahead)

        return run

    def evaluation(self, images: int) -> Callable[[], object]:
        """Forward alone."""
        h, weight, bias = self._tensors(images)
        return lambda: linear(self.layer, h, weight, bias, self.nets)
