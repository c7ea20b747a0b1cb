"""A pair's hybrids, all shares together, fitted layer by layer in one pass over the images for each layer.

Legend: N images, C channels, D inputs of one output channel; l a layer from 1 to L. The fits of layer l are
those of every map that reads the hybrid's own h_{l-1}: the layer's, and the projections that start there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from torch import Tensor

from espalier.tasks.grafting.graft import warning
from espalier.tasks.grafting.gram import ChannelMoments, PatchMoments, add_to, factorise
from espalier.tasks.grafting.layer_input import LayerInput
from espalier.tasks.grafting.solve import Fit, Sums, solve
from espalier.tasks.grafting.tile_nets import ArmFit, given
from espalier.tasks.mixing.mixture import Masks, channels_of_a, mix, mixed_norms
from espalier.tasks.networks.architectures import images_per_batch, parameter_shapes
from espalier.tasks.networks.cuts import Arm, Reading, arm_map, arm_sizes, reading, shortcuts_past
from espalier.tasks.networks.network import LayerFeatures, Network
from espalier.tasks.spec import Architecture, GraftOptions, layer_name


@dataclass(frozen=True)
class Hybrid:
    """An unfinished hybrid: which channels are A's, the parameters fitted so far, and its warnings."""

    of_a: Masks
    network: Network
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parents:
    """The two nets whose channels a hybrid mixes."""

    a: Network
    b: Network

    def features(self, layer: int, x: Tensor) -> tuple[LayerFeatures, LayerFeatures]:
        """Both nets' features at one layer."""
        at = [next(islice(net.features(x), layer - 1, None)) for net in (self.a, self.b)]
        return at[0], at[1]


def unfitted(parents: Parents, share: float, *names: int | str) -> Hybrid:
    """A hybrid before its first fit: its channels are chosen, and with them BN's tensors."""
    architecture = parents.a.architecture
    of_a = channels_of_a(architecture, share, *names)
    return Hybrid(of_a, Network(architecture, mixed_norms(parents.a, parents.b, of_a)))


def maps_at(architecture: Architecture, layer: int) -> list[ArmFit]:
    """Every linear map that reads h_{l-1}: the layer's own first."""
    past = shortcuts_past(architecture, layer).items()
    starting = [n for n, shortcut in past if shortcut.projection and shortcut.reads == layer - 1]
    arms = [Arm(layer - 1, "z", layer), *(Arm(layer - 1, "shortcut", number) for number in starting)]
    return [ArmFit(arm, arm_map(architecture, arm), reading(architecture, arm)) for arm in arms]


def mixture(of_a: Masks, arm: Arm, a: LayerFeatures, b: LayerFeatures) -> Tensor:
    """The output that a map of the hybrid must reproduce: each channel is that of the net it came from."""
    return mix(of_a[arm.into], given(arm, a), given(arm, b))


class _Sums:
    """What one pass over the images adds up for the maps of one hybrid that read h_{l-1}."""

    def __init__(self, architecture: Architecture, maps: Sequence[ArmFit]) -> None:
        self._maps = maps
        sizes = {fit.arm: arm_sizes(architecture, architecture, fit.arm) for fit in maps}
        self._grams: dict[Reading, PatchMoments] = {
            fit.reading: PatchMoments(sizes[fit.arm].dim) for fit in maps
        }
        self._outputs = {arm: ChannelMoments(size.out) for arm, size in sizes.items()}
        self._crosses: dict[Arm, Tensor] = {}

    def add(self, h: Tensor, wanted: Mapping[Arm, Tensor], options: GraftOptions) -> None:
        """Add a batch: the hybrid's own h_{l-1}, and what each map is to give."""
        inputs = {entry.reading: LayerInput(entry.map, h, options.products) for entry in self._maps}
        for place, entry in inputs.items():
            self._grams[place].add(entry)
        for arm, _, place in self._maps:
            self._outputs[arm].add(wanted[arm])
            add_to(self._crosses, arm, inputs[place].cross_CD(wanted[arm]))

    def solve(self, ridge: float, images: int) -> tuple[dict[Arm, Fit], list[str]]:
        """Every map's fit, and its warnings."""
        factors = {place: factorise(moments) for place, moments in self._grams.items()}
        fits = {
            arm: solve(factors[place], Sums(factors[place], self._crosses[arm].T, self._outputs[arm]), ridge)
            for arm, _, place in self._maps
        }
        said = [warning(len(factor.values_K), factor.dim, images) for factor in factors.values()]
        return fits, [text for text in said if text]


def fit_hidden(parents: Parents, hybrids: Sequence[Hybrid], x: Tensor, options: GraftOptions) -> list[Hybrid]:
    """The hybrids with layers 1 to L-1 fitted on images `x` (N, C, H, W)."""
    fitted = list(hybrids)
    for layer in range(1, parents.a.architecture.depth):
        fitted = _fit_layer(parents, fitted, layer, x, options)
    return fitted


def _fit_layer(
    parents: Parents, hybrids: Sequence[Hybrid], layer: int, x: Tensor, options: GraftOptions
) -> list[Hybrid]:
    architecture = parents.a.architecture
    maps = maps_at(architecture, layer)
    sums = [_Sums(architecture, maps) for _ in hybrids]
    for images in x.split(images_per_batch(architecture)):
        a, b = parents.features(layer, images)
        for hybrid, entry in zip(hybrids, sums, strict=True):
            wanted = {arm: mixture(hybrid.of_a, arm, a, b) for arm, _, _ in maps}
            entry.add(hybrid.network.prefix(layer, images), wanted, options)
    return [
        _extended(hybrid, layer, *entry.solve(options.ridge, len(x)))
        for hybrid, entry in zip(hybrids, sums, strict=True)
    ]


def _extended(hybrid: Hybrid, layer: int, fits: Mapping[Arm, Fit], warnings: Sequence[str]) -> Hybrid:
    """The hybrid with the maps that were fitted at a layer."""
    architecture = hybrid.network.architecture
    parameters = {**hybrid.network.parameters}
    for arm, fit in fits.items():
        name = f"layers.{arm.into}" if arm.gives == "z" else f"layers.{arm.into}.shortcut"
        shape = parameter_shapes(architecture)[f"{name}.weight"]
        parameters[f"{name}.weight"] = fit.weight_DC.T.reshape(shape).float()
        parameters[f"{name}.bias"] = fit.bias_C.float()
    said = [f"{layer_name(architecture, layer)}: {text}" for text in warnings]
    network = replace(hybrid.network, parameters=parameters)
    return replace(hybrid, network=network, warnings=(*hybrid.warnings, *said))
