"""Networks as functions of a plain `Architecture`: whole, up to a layer, from a layer on.

Legend: N images, C channels, H x W positions, l a layer from 1 to L. A layer is a linear map and
what follows it (docs/method.md, section 1), of which BN, the shortcut s_l and the pooling may be missing:

    z_l = W_l * h_{l-1} + b_l        h_l = pool(activation(BN(z_l) + s_l))        h_0 = the image

`z_L` are the logits. Nothing here knows a network's name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from espalier.tasks.networks.architectures import parameter_shapes, shortcut_map
from espalier.tasks.networks.batch_norm import USE, Mode
from espalier.tasks.networks.dense_products import dense_products
from espalier.tasks.networks.parametrization import factors
from espalier.tasks.seeds import stream
from espalier.tasks.spec import Architecture, Init, Layer, NetSpec

Parameters = Mapping[str, Tensor]
Shortcuts = Mapping[int, Tensor]
"""By the layer that they are added to: what shortcuts give, before their BN."""


class LayerFeatures(NamedTuple):
    """What layer `layer` reads and gives before its nonlinearity, and what shortcuts carry past it.

    `shortcuts` are those into this layer and above that start below it. Later layers need them and `z` alone.
    """

    layer: int
    h_in: Tensor
    z: Tensor
    shortcuts: Shortcuts


def linear(layer: Layer, h: Tensor, weight: Tensor, bias: Tensor | None, nets: int = 1) -> Tensor:
    """`z_l` of shape (N, C) or (N, C, H, W) from `h_{l-1}`; of several nets, side by side in C."""
    if layer.kind == "conv":
        return F.conv2d(h, weight, bias, stride=layer.stride, padding=layer.padding, groups=nets)
    if nets > 1 and bias is not None:
        return dense_products(h.flatten(1), weight, bias, nets)
    return F.linear(h.flatten(1), weight, bias)


def activate(layer: Layer, h: Tensor) -> Tensor:
    """The nonlinearity, then the pooling."""
    if layer.pool > 1 and layer.activation == "relu" and h.requires_grad:
        # The ReLU of the largest is the largest ReLU, with the same gradients, and sees fewer numbers.
        return activate(replace(layer, pool=1), max_pool(h, layer.pool))
    if layer.activation != "none":
        h = F.relu(h) if layer.activation == "relu" else h.tanh()
    if layer.pool > 1:
        h = max_pool(h, layer.pool)
    return h.mean((2, 3), keepdim=True) if layer.global_pool else h


def max_pool(h: Tensor, size: int) -> Tensor:
    """Largest value of each `size` x `size` square; what is left over at the right and below is dropped.

    PyTorch's own pooling also notes where each value was. Only gradients need that, and it takes ten times as
    long as comparing rows and then columns (one core, maps of 14x14 and 28x28).
    """
    if h.requires_grad:
        return F.max_pool2d(h, size, size)
    height, width = (length - length % size for length in h.shape[2:])
    rows = reduce(torch.maximum, (h[:, :, start:height:size, :width] for start in range(size)))
    return reduce(torch.maximum, (rows[..., start::size] for start in range(size)))


@dataclass(frozen=True)
class Network:
    """An architecture and its parameters (docs/checkpoints.md); `mode` is how BN and dropout act.

    Several `nets` of one architecture are one whose parameters lie end to end (`tasks.training.stack`): S
    times the channels, of which each net reads and writes its own. Only training makes use of that.
    """

    architecture: Architecture
    parameters: Parameters
    mode: Mode = USE
    nets: int = 1

    def _map(self, name: str, layer: Layer, h: Tensor) -> Tensor:
        weight, bias = self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]
        return linear(layer, h, weight, bias, self.nets)

    def layer(self, layer: int, h: Tensor) -> Tensor:
        """`z_l` from `h_{l-1}`."""
        return self._map(f"layers.{layer}", self.architecture.layers[layer - 1], h)

    def shortcut(self, layer: int, h: Tensor) -> Tensor:
        """What the shortcut into `layer` gives, before its BN, from the activation that it reads."""
        description = self.architecture.layers[layer - 1]
        if description.shortcut is None or not description.shortcut.projection:
            return h
        return self._map(f"layers.{layer}.shortcut", shortcut_map(description), h)

    def shortcuts_from(self, reads: int, h: Tensor) -> dict[int, Tensor]:
        """What every shortcut that starts at `h_reads` gives."""
        described = enumerate(self.architecture.layers, start=1)
        starts = {n: layer.shortcut.reads for n, layer in described if layer.shortcut is not None}
        return {number: self.shortcut(number, h) for number, start in starts.items() if start == reads}

    def after(self, layer: int, z: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """`h_l` from `z_l` and what the shortcut into it gives."""
        description = self.architecture.layers[layer - 1]
        h = self._normalised(f"layers.{layer}", description.batch_norm, z)
        if description.shortcut is not None:
            if shortcut is None:
                raise ValueError(
                    f"layer {layer} adds a shortcut: h_{layer} does not follow from z_{layer} alone"
                )
            h = h + self._normalised(f"layers.{layer}.shortcut", description.shortcut.batch_norm, shortcut)
        return self.mode.drop(layer, description.dropout, activate(description, h))

    def _normalised(self, name: str, batch_norm: bool, z: Tensor) -> Tensor:
        return self.mode.normalise(f"{name}.bn", z, self.parameters) if batch_norm else z

    def features(self, x: Tensor) -> Iterator[LayerFeatures]:
        """Every layer's input and output in one forward pass over images (N, C, H, W)."""
        h, shortcuts = x, dict[int, Tensor]()
        for layer in range(1, self.architecture.depth + 1):
            shortcuts = shortcuts | self.shortcuts_from(layer - 1, h)
            z = self.layer(layer, h)
            yield LayerFeatures(layer, h, z, shortcuts)
            h = self.after(layer, z, shortcuts.get(layer))
            shortcuts = _without(shortcuts, layer)

    def prefix(self, layer: int, x: Tensor) -> Tensor:
        """`h_{l-1}`, what layer l reads: layers 1 to l-1."""
        h, shortcuts = x, dict[int, Tensor]()
        for below in range(1, layer):
            shortcuts |= self.shortcuts_from(below - 1, h)
            h = self.after(below, self.layer(below, h), shortcuts.pop(below, None))
        return h

    def suffix(
        self, layer: int, z: Tensor, shortcuts: Shortcuts | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """`(m, z_m)` for m from l to L, given `z_l` and the shortcuts past it; the last are the logits."""
        carried = dict(shortcuts or {})
        yield layer, z
        for above in range(layer + 1, self.architecture.depth + 1):
            h = self.after(above - 1, z, carried.pop(above - 1, None))
            carried |= self.shortcuts_from(above - 1, h)
            z = self.layer(above, h)
            yield above, z

    def logits(self, x: Tensor) -> Tensor:
        """`z_L` of shape (N, classes)."""
        return self.layer(self.architecture.depth, self.prefix(self.architecture.depth, x))


def _without(shortcuts: dict[int, Tensor], layer: int) -> dict[int, Tensor]:
    return {number: given for number, given in shortcuts.items() if number != layer}


def initialise(net: NetSpec) -> Network:
    """The net at epoch 0: weights of variance 2 / fan-in (He et al. 2015) times the parametrization's factor.

    Each layer has its own stream, named by seed, width and layer, so that nets of different widths
    share no numbers and are independent draws. BN starts as the identity on normalised values, with mean 0
    and variance 1 as its statistics, biases as zeros.
    """
    parameters: dict[str, Tensor] = {}
    scales = factors(net)
    for name, size in parameter_shapes(net.architecture).items():
        if name.endswith((".bn.weight", ".running_var")):
            parameters[name] = torch.ones(size)
        elif name.endswith(".weight"):
            _, number, *part = name.removesuffix(".weight").split(".")
            generator = stream("init", net.seed, net.width, int(number), *part)
            parameters[name] = initial_weight(net.init, size, generator, scales[name].variance)
        else:
            parameters[name] = torch.zeros(size)
    return Network(net.architecture, parameters)


def initial_weight(
    init: Init, size: tuple[int, ...], generator: torch.Generator, factor: float = 1.0
) -> Tensor:
    """Weights of variance `factor` x 2 / fan-in, normal or uniform (Gu et al. 2020 compare the two)."""
    variance = factor * (2.0 / prod(size[1:]))
    if init == "uniform":
        return (2.0 * torch.rand(size, generator=generator) - 1.0) * (3.0 * variance) ** 0.5
    return torch.randn(size, generator=generator) * variance**0.5


def streams(architecture: Architecture) -> list[int]:
    """For each h_0 to h_L the residual stream it is part of, named by its lowest layer.

    An identity shortcut ties two activations channel by channel; a projection does not.
    """
    lowest = list(range(architecture.depth + 1))
    for number, layer in enumerate(architecture.layers, start=1):
        if layer.shortcut is not None and not layer.shortcut.projection:
            lowest[number] = lowest[layer.shortcut.reads]
    return lowest


def free_streams(architecture: Architecture) -> dict[int, int]:
    """The channels of every stream whose order may change: all but those tied to the image or the logits."""
    tied = streams(architecture)
    channels = [architecture.input[0], *(layer.out for layer in architecture.layers)]
    return {number: channels[number] for number in sorted(set(tied) - {0, tied[-1]})}


def permute_channels(network: Network, *names: int | str) -> Network:
    """The same function with every hidden layer's channels permuted, the inputs of what reads them alike.

    Layers that write to one residual stream share a permutation; the image and the logits keep their order.
    `names` name the stream of random numbers that the permutations are drawn from.
    """
    free = free_streams(network.architecture).items()
    return reordered(
        network,
        {
            number: torch.randperm(count, generator=stream("permute", number, *names))
            for number, count in free
        },
    )


def reordered(network: Network, orders: Mapping[int, Tensor]) -> Network:
    """The same function with other orders of channels: by stream, which channel comes to each place."""
    moved: dict[str, Tensor] = {}
    for name, value in network.parameters.items():
        written, read = sides(network.architecture, name)
        rows = value[orders[written]] if written in orders else value
        moved[name] = reordered_inputs(rows, orders[read]) if rows.dim() > 1 and read in orders else rows
    return Network(network.architecture, moved)


def sides(architecture: Architecture, name: str) -> tuple[int, int]:
    """The streams that a tensor's map writes to and reads from."""
    tied, number = streams(architecture), int(name.split(".")[1])
    shortcut = architecture.layers[number - 1].shortcut
    reads = shortcut.reads if shortcut is not None and ".shortcut." in name else number - 1
    return tied[number], tied[reads]


def reordered_inputs(weight: Tensor, order: Tensor) -> Tensor:
    """A dense layer reads the flattened (C, H, W): its inputs move in blocks of H x W."""
    return weight.reshape(len(weight), len(order), -1)[:, order].reshape(weight.shape)
