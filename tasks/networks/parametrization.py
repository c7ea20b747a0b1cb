"""How initial weights and learning rates depend on the width: sp, ntk, mup, mean_field.

The forward pass is plain in every parametrization: tensors are the *effective* maps, the ones that a
checkpoint holds and a graft fits. A multiplier c in front of a weight (z = c w h) is folded into its initial
scale and its learning rate, which changes no trained function (Yang & Hu 2021, "Tensor Programs
IV: Feature Learning in Infinite-Width Neural Networks", section 3; Yang et al. 2022, "Tensor Programs V",
Lemma J.1): the deviation times c, SGD's rate times c^2, Adam's rate times c and its epsilon divided by c.

So a parametrization is, for each tensor, three factors on what standard parametrization (sp) does: variance
2 / fan-in, the recipe's rate and epsilon for all. docs/parametrizations.md has the tables and their sources.

Legend: m = width / base width; f the fan-in of a map, N that of the last one; g the richness. Every hidden
layer has channels in proportion to the width; the image and the outputs do not. A dense layer after a conv
reads channels x positions, so its fan-in is in proportion to the width too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod, sqrt
from typing import Literal

from espalier.tasks.networks.architectures import is_map_weight, is_trained, parameter_shapes
from espalier.tasks.spec import Architecture, NetSpec, Optimizer

Role = Literal["first", "hidden", "last", "only", "vector", "output_bias"]
"""Which of its sides grow with the width.

A map from the image has a growing fan-out (`first`), one to the outputs a growing fan-in (`last`), one in
between both (`hidden`), one from the image to the outputs none (`only`). Biases, and BN's scales and
shifts, of hidden layers are `vector`: a map from a constant.
"""


@dataclass(frozen=True)
class Factors:
    """Factors on the variance of the initial weights, on the learning rate, and on Adam's epsilon."""

    variance: float = 1.0
    rate: float = 1.0
    epsilon: float = 1.0


@dataclass(frozen=True)
class Sizes:
    """The sizes of a tensor and its net that the factors depend on: m, f, N, g of the legend."""

    growth: float
    fan_in: int
    last_fan_in: int
    richness: float


def factors(net: NetSpec) -> dict[str, Factors]:
    """The factors of every trained tensor of a net, by its name."""
    shapes = parameter_shapes(net.architecture)
    last = prod(shapes[f"layers.{net.architecture.depth}.weight"][1:])
    found: dict[str, Factors] = {}
    for name, shape in shapes.items():
        if is_trained(name):
            fan_in = prod(shape[1:])  # 1 of a vector
            sizes = Sizes(net.width / net.base_width, fan_in, last, net.richness)
            made = _TABLES[net.parametrization](role(net.architecture, name), net.recipe.optimizer, sizes)
            found[name] = made
    return found


def role(architecture: Architecture, name: str) -> Role:
    """What a tensor is, by its name (docs/checkpoints.md)."""
    number = int(name.split(".")[1])
    final = number == architecture.depth
    if not is_map_weight(name):
        return "output_bias" if final else "vector"
    shortcut = architecture.layers[number - 1].shortcut
    reads = shortcut.reads if shortcut is not None and ".shortcut." in name else number - 1
    if reads == 0:
        return "only" if final else "first"
    return "last" if final else "hidden"


def _standard(role: Role, optimizer: Optimizer, sizes: Sizes) -> Factors:  # noqa: ARG001
    return Factors()


def _mup(role: Role, optimizer: Optimizer, sizes: Sizes) -> Factors:
    """Table 3 of Tensor Programs V, over sp at the base width; epsilon follows the gradients, 1 / m."""
    m = sizes.growth
    if role in ("only", "output_bias"):
        return Factors()
    if role == "last":
        return Factors(variance=1.0 / m, rate=1.0 / m)
    if optimizer == "sgd":
        return Factors(rate=1.0 if role == "hidden" else m)
    return Factors(rate=1.0 / m if role == "hidden" else 1.0, epsilon=1.0 / m)


def _ntk(role: Role, optimizer: Optimizer, sizes: Sizes) -> Factors:
    """Jacot et al. 2018 over sp at the base width (Sohl-Dickstein et al. 2020); gradients are 1 / sqrt(m).

    Adam has the rates of the limit in which features do not move (Yang & Littwin 2023): the multiplier
    1 / sqrt(f) alone would let hidden layers move by sqrt(m).
    """
    m = sizes.growth
    if role in ("only", "output_bias"):
        return Factors()
    if role == "last":
        return Factors(rate=1.0 / m)
    if optimizer == "sgd":
        return Factors(rate=1.0 / m if role == "hidden" else 1.0)
    return Factors(rate=m**-1.5 if role == "hidden" else m**-0.5, epsilon=m**-0.5)


def _mean_field(role: Role, optimizer: Optimizer, sizes: Sizes) -> Factors:
    """Bordelon & Pehlevan 2022: maps sqrt(2 / f), the last one further divided by gamma = g sqrt(N).

    SGD's rate is that of the raw weights, gamma^2, times the multiplier squared. Adam's moves every map's
    output by g for each unit of the rate, and the net's output by 1.
    """
    gamma_squared = sizes.richness**2 * sizes.last_fan_in
    if role == "output_bias":
        return Factors()
    if role in ("last", "only"):
        rate = 2.0 if optimizer == "sgd" else sqrt(2.0)
        return Factors(variance=1.0 / gamma_squared, rate=rate / sizes.fan_in)
    if optimizer == "sgd":
        return Factors(rate=gamma_squared * (1.0 if role == "vector" else 2.0 / sizes.fan_in))
    rate = sizes.richness * (1.0 if role == "vector" else sqrt(2.0) / sizes.fan_in)
    return Factors(rate=rate, epsilon=1.0 / (sizes.richness * sizes.last_fan_in))


_TABLES: dict[str, Callable[[Role, Optimizer, Sizes], Factors]] = {
    "sp": _standard,
    "mup": _mup,
    "ntk": _ntk,
    "mean_field": _mean_field,
}
