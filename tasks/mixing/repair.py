"""The statistics of a net whose weights are a mixture of two nets', set right layer by layer.

Between two nets the variance of a channel collapses, since errors of matched channels average out (Jordan et
al. 2022, "REPAIR"). With BN its statistics are re-estimated ("reset"). A map without BN is rescaled, channel
by channel, so that its output has the mean and the standard deviation that lie between those of the ends.

Legend: N images, C channels, l a layer from 1 to L; t the place on the path. `z` of the maps of layers 1 to
L-1 and of the projections on shortcuts are set right, the logits are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from espalier.tasks.grafting.gram import ChannelMoments
from espalier.tasks.grafting.tile_nets import given
from espalier.tasks.mixing.hybrid_fit import maps_at
from espalier.tasks.mixing.weight_matching import Orders
from espalier.tasks.networks.architectures import images_per_batch
from espalier.tasks.networks.cuts import Arm
from espalier.tasks.networks.network import LayerFeatures, Network, sides
from espalier.tasks.spec import Architecture


class Scale(NamedTuple):
    """Mean and standard deviation (C,) of a map's output, by channel."""

    mean_C: Tensor
    sd_C: Tensor


class Change(NamedTuple):
    """A factor (C,) and then a shift (C,) of a map's output."""

    factor_C: Tensor
    shift_C: Tensor


Scales = Mapping[str, Scale]
"""By the name of a map without BN, such as `layers.2` or `layers.4.shortcut`."""


def output_scales(network: Network, x: Tensor) -> dict[str, Scale]:
    """What the maps without BN give on images `x` (N, C, H, W)."""
    found: dict[str, ChannelMoments] = {}
    architecture = network.architecture
    for images in x.split(images_per_batch(architecture)):
        for features in islice(network.features(images), architecture.depth - 1):
            for name, z in _given(architecture, features).items():
                if not _normed(architecture, name):
                    found.setdefault(name, ChannelMoments(z.shape[1])).add(z)
    return {name: Scale(moments.mean_C, moments.variance_C.sqrt()) for name, moments in found.items()}


def reordered_scales(architecture: Architecture, scales: Scales, orders: Orders) -> dict[str, Scale]:
    """The scales of a net whose channels were brought to other places."""
    moved = dict(scales)
    for name, scale in scales.items():
        written, _ = sides(architecture, f"{name}.weight")
        if written in orders:
            moved[name] = Scale(scale.mean_C[orders[written]], scale.sd_C[orders[written]])
    return moved


def scales_between(a: Scales, b: Scales, t: float) -> dict[str, Scale]:
    """Means and standard deviations at place t of the straight line between two nets'."""
    pairs = {name: zip(scale, b[name], strict=True) for name, scale in a.items()}
    return {name: Scale(*(torch.lerp(one, other, t) for one, other in pair)) for name, pair in pairs.items()}


def repaired(network: Network, wanted: Scales, x: Tensor, held: bool = True) -> Network:
    """The net with statistics of BN of its own, and with the wanted scales where no BN is.

    Each layer is set right after all below it, over all images at once: no batch sees other statistics.

    Args:
        network: The net.
        wanted: For every map without BN, as `output_scales` gives them.
        x: Images (N, C, H, W).
        held: Whether one layer's features of all images are kept in memory. Otherwise they are computed anew
            for each layer, which changes a result by rounding alone.
    """
    parameters = dict(network.parameters)
    going = _Walk(Network(network.architecture, parameters), x, held)
    for layer in going.layers:
        for name, moments in going.moments(layer).items():
            if _normed(network.architecture, name):
                parameters |= _new_statistics(name, moments, parameters)
            else:
                change = _change(moments, wanted[name])
                parameters |= _rescaled(name, change, parameters)
                going.rescale(name, change)
    return Network(network.architecture, parameters)


class _Walk:
    """Layers 1 to L-1 of a net, one after the other, over all images.

    A net's features come layer by layer and read its parameters as they go. So what is changed in these, and
    in the outputs that are held, holds in all layers that follow.
    """

    def __init__(self, network: Network, x: Tensor, held: bool) -> None:
        self._network, self._batches = network, x.split(images_per_batch(network.architecture))
        self._going = [network.features(images) for images in self._batches] if held else []
        self._held: list[dict[str, Tensor]] = []

    @property
    def layers(self) -> range:
        """All but the last."""
        return range(1, self._network.architecture.depth)

    def moments(self, layer: int) -> dict[str, ChannelMoments]:
        """Of the outputs of the maps that read h_{l-1}, by name; of each layer once, in order."""
        found: dict[str, ChannelMoments] = {}
        self._held = []
        for outputs in self._outputs(layer):
            for name, z in outputs.items():
                found.setdefault(name, ChannelMoments(z.shape[1])).add(z)
            if self._going:
                self._held.append(outputs)
        return found

    def _outputs(self, layer: int) -> Iterator[dict[str, Tensor]]:
        for number, images in enumerate(self._batches):
            if self._going:
                features = next(self._going[number])
            else:
                features = next(islice(self._network.features(images), layer - 1, None))
            yield _given(self._network.architecture, features)

    def rescale(self, name: str, change: Change) -> None:
        """Change what is held of a map's output as the map is changed."""
        for z in (outputs[name] for outputs in self._held):
            across = (-1, *[1] * (z.dim() - 2))
            factor, shift = (values_C.to(z.dtype).reshape(across) for values_C in change)
            z.mul_(factor).add_(shift)


def _given(architecture: Architecture, features: LayerFeatures) -> dict[str, Tensor]:
    """The outputs of the maps that read what a layer reads, by name."""
    arms = (entry.arm for entry in maps_at(architecture, features.layer))
    return {_name(arm): given(arm, features) for arm in arms}


def _name(arm: Arm) -> str:
    return f"layers.{arm.into}" if arm.gives == "z" else f"layers.{arm.into}.shortcut"


def _normed(architecture: Architecture, name: str) -> bool:
    """Whether BN follows a map."""
    layer = architecture.layers[int(name.split(".")[1]) - 1]
    return (
        layer.shortcut is not None and layer.shortcut.batch_norm if "shortcut" in name else layer.batch_norm
    )


def _new_statistics(name: str, moments: ChannelMoments, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The statistics of the BN after a map; the variance is unbiased, as PyTorch's."""
    mean, var = f"{name}.bn.running_mean", f"{name}.bn.running_var"
    unbiased_C = moments.variance_C * moments.rows / max(1, moments.rows - 1)
    return {mean: moments.mean_C.to(like[mean].dtype), var: unbiased_C.to(like[var].dtype)}


def _change(moments: ChannelMoments, wanted: Scale) -> Change:
    """What brings a map's output to the wanted scale; a channel that is constant can only be shifted."""
    sd_C = moments.variance_C.sqrt()
    factor_C = torch.where(sd_C > 0, wanted.sd_C / sd_C, 1.0)
    return Change(factor_C, wanted.mean_C - factor_C * moments.mean_C)


def _rescaled(name: str, change: Change, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A map with its output changed."""
    weight, bias = (like[f"{name}.{part}"] for part in ("weight", "bias"))
    moved = weight.double() * change.factor_C.reshape(-1, *[1] * (weight.dim() - 1))
    shifted_C = bias.double() * change.factor_C + change.shift_C
    return {f"{name}.weight": moved.to(weight.dtype), f"{name}.bias": shifted_C.to(bias.dtype)}
