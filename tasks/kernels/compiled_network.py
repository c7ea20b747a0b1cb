"""A network that computes its 3x3 convs and its large BNs by compiled kernels, with ReLUs and pooling.

`shared_out` says for an architecture which layer's map is made by `tasks.kernels.winograd`, which BN by
`tasks.kernels.fused_norm`, and what is left for PyTorch. A ReLU may be taken by the conv that reads it, and
come after pooling as well as before.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from espalier.tasks.kernels import fused_norm, winograd
from espalier.tasks.kernels.norm_kernels import Ends
from espalier.tasks.kernels.tiling import POOL, suits
from espalier.tasks.networks.architectures import input_shapes, output_size
from espalier.tasks.networks.batch_norm import Training
from espalier.tasks.networks.network import Network
from espalier.tasks.spec import Architecture, Layer


class Taken(NamedTuple):
    """What a layer's conv does beside its map: the ReLU of what it reads, the pooling and ReLU after it."""

    relu_before: bool
    pool_after: bool


class Shares(NamedTuple):
    """The division of work by layer: what PyTorch does after each map, what convs do, what BNs do."""

    rest: Architecture
    convs: dict[int, Taken]
    norms: dict[int, Ends]


@dataclass(frozen=True)
class CompiledNetwork(Network):
    """A network for its logits alone; `architecture` says what is left to do after each layer's map."""

    convs: dict[int, Taken] = field(default_factory=dict)
    norms: dict[int, Ends] = field(default_factory=dict)

    def layer(self, layer: int, h: Tensor) -> Tensor:
        """What a layer's conv makes of the layer below; elsewhere `z_l`."""
        if layer not in self.convs:
            return super().layer(layer, h)
        weight, bias = (self.parameters[f"layers.{layer}.{part}"] for part in ("weight", "bias"))
        relu_before, pool_after = self.convs[layer]
        return winograd.conv(h, weight, bias, rectified=relu_before, pooled=pool_after)

    def after(self, layer: int, z: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """`h_l`, but for the ReLU that the next layer takes."""
        if ends := self.norms.get(layer):
            names = ("weight", "bias", "running_mean", "running_var")
            weight, bias, mean, var = (self.parameters[f"layers.{layer}.bn.{name}"] for name in names)
            normalised = fused_norm.trained if isinstance(self.mode, Training) else fused_norm.stored
            z = normalised(z, weight, bias, mean, var, ends)
        return super().after(layer, z, shortcut)


def compiled(network: Network) -> Network:
    """The same function of float32 images on a CPU, but for rounding.

    For other types, under autocast, and for several nets, it is the network itself.
    Ask only for its `logits`. Outside training mode of BN it gives no gradients.
    """
    first = next(iter(network.parameters.values()))
    other = torch.is_autocast_enabled("cpu") or network.nets > 1
    if other or (first.dtype, first.device.type) != (torch.float32, "cpu"):
        return network
    rest, convs, norms = shared_out(network.architecture)
    return CompiledNetwork(rest, network.parameters, network.mode, convs=convs, norms=norms)


def compiles(architecture: Architecture) -> bool:
    """Whether any layer can be compiled."""
    _, convs, norms = shared_out(architecture)
    return bool(convs or norms)


@cache
def shared_out(architecture: Architecture) -> Shares:
    """The division of work in this architecture."""
    shapes, layers = input_shapes(architecture), architecture.layers
    made = {n for n, both in enumerate(zip(layers, shapes, strict=True), start=1) if suits(*both)}
    read_past = {layer.shortcut.reads for layer in layers if layer.shortcut is not None}
    rest, before, after, norms = [], set[int](), set[int](), dict[int, Ends]()
    for number, (layer, shape) in enumerate(zip(layers, shapes, strict=True), start=1):
        left = layer
        if number in made and _only_pools(layer):
            after.add(number)
            left = replace(layer, activation="none", pool=1)
        elif ends := fused_norm.suits(layer, output_size(layer, shape)):
            norms[number] = ends
            pool = 1 if ends == "pooled" else layer.pool
            left = replace(layer, batch_norm=False, activation="none", pool=pool)
        elif number + 1 in made and number not in read_past and _ends_with_relu(layer):
            before.add(number + 1)
            left = replace(layer, activation="none")
        rest.append(left)
    convs = {number: Taken(number in before, number in after) for number in made}
    return Shares(replace(architecture, layers=tuple(rest)), convs, norms)


def _only_pools(layer: Layer) -> bool:
    """Whether ReLU and pooling are next after the map."""
    more = layer.batch_norm or layer.shortcut is not None
    return layer.activation == "relu" and layer.pool == POOL and not more


def _ends_with_relu(layer: Layer) -> bool:
    """Whether a ReLU is the last thing that happens, or could be: pooling and dropout may come before it."""
    return layer.activation == "relu" and not layer.global_pool
