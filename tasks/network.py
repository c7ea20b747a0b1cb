"""Networks as functions of a plain `Architecture`: whole, up to a layer, from a layer on.

Legend: N images, C channels, H x W positions, l a layer from 1 to L. A layer is a linear map and
what follows it (docs/method.md, section 1):

    z_l = W_l * h_{l-1} + b_l        h_l = pool(activation(z_l))        h_0 = the image

`z_L` are the logits. Nothing here knows a network's name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.architectures import input_shapes, weight_shape
from tasks.seeds import stream
from tasks.spec import Architecture, Layer, NetSpec

Parameters = Mapping[str, Tensor]


class LayerFeatures(NamedTuple):
    """What layer `layer` reads and what it gives before its nonlinearity."""

    layer: int
    h_in: Tensor
    z: Tensor


def linear(layer: Layer, h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`z_l` of shape (N, C) or (N, C, H, W) from `h_{l-1}`."""
    if layer.kind == "dense":
        return F.linear(h.flatten(1), weight, bias)
    return F.conv2d(h, weight, bias, padding=layer.padding)


def after(layer: Layer, z: Tensor) -> Tensor:
    """`h_l` from `z_l`: the activation, then the pooling."""
    h = F.relu(z) if layer.activation == "relu" else z
    return F.max_pool2d(h, layer.pool) if layer.pool > 1 else h


@dataclass(frozen=True)
class Network:
    """An architecture and its parameters, `layers.<l>.weight` and `layers.<l>.bias` (docs/checkpoints.md)."""

    architecture: Architecture
    parameters: Parameters

    def layer(self, layer: int, h: Tensor) -> Tensor:
        """`z_l` from `h_{l-1}`."""
        weight, bias = (self.parameters[f"layers.{layer}.{part}"] for part in ("weight", "bias"))
        return linear(self.architecture.layers[layer - 1], h, weight, bias)

    def after(self, layer: int, z: Tensor) -> Tensor:
        """`h_l` from `z_l`."""
        return after(self.architecture.layers[layer - 1], z)

    def features(self, x: Tensor) -> Iterator[LayerFeatures]:
        """Every layer's input and output in one forward pass over images (N, C, H, W)."""
        h = x
        for layer in range(1, self.architecture.depth + 1):
            z = self.layer(layer, h)
            yield LayerFeatures(layer, h, z)
            h = self.after(layer, z)

    def prefix(self, layer: int, x: Tensor) -> Tensor:
        """`h_{l-1}`, what layer l reads: layers 1 to l-1."""
        h = x
        for below in range(1, layer):
            h = self.after(below, self.layer(below, h))
        return h

    def suffix(self, layer: int, z: Tensor) -> Iterator[tuple[int, Tensor]]:
        """`(m, z_m)` for m from l to L, given `z_l`; the last are the logits."""
        yield layer, z
        for above in range(layer + 1, self.architecture.depth + 1):
            z = self.layer(above, self.after(above - 1, z))
            yield above, z

    def logits(self, x: Tensor) -> Tensor:
        """`z_L` of shape (N, classes)."""
        return self.layer(self.architecture.depth, self.prefix(self.architecture.depth, x))


def initialise(net: NetSpec) -> Network:
    """The net at epoch 0: He-normal weights (variance 2 / fan-in; He et al. 2015), zero biases.

    Each layer has its own stream, named by seed, width and layer, so that nets of different widths
    share no numbers and are independent draws.
    """
    parameters: dict[str, Tensor] = {}
    shapes = input_shapes(net.architecture)
    for number, (layer, shape) in enumerate(zip(net.architecture.layers, shapes, strict=True), start=1):
        size = weight_shape(layer, shape)
        fan_in = torch.Size(size[1:]).numel()
        draws = torch.randn(size, generator=stream("init", net.seed, net.width, number))
        parameters[f"layers.{number}.weight"] = draws * (2.0 / fan_in) ** 0.5
        parameters[f"layers.{number}.bias"] = torch.zeros(layer.out)
    return Network(net.architecture, parameters)


def permute_channels(network: Network, *names: int | str) -> Network:
    """The same function with every hidden layer's channels permuted, the next layer's inputs alike.

    `names` name the stream that the permutations are drawn from.
    """
    architecture = network.architecture
    parameters = dict(network.parameters)
    for number in range(1, architecture.depth):
        channels = architecture.layers[number - 1].out
        order = torch.randperm(channels, generator=stream("permute", number, *names))
        for part in ("weight", "bias"):
            parameters[f"layers.{number}.{part}"] = parameters[f"layers.{number}.{part}"][order]
        above = parameters[f"layers.{number + 1}.weight"]
        # A dense layer reads the flattened (C, H, W): its inputs move in blocks of H x W.
        blocks = above.reshape(above.shape[0], channels, -1)
        parameters[f"layers.{number + 1}.weight"] = blocks[:, order].reshape(above.shape)
    return Network(architecture, parameters)
