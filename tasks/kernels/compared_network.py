"""A network in use that compares its compiled convs' maps with others (`tasks.kernels.compared_conv`).

It goes on where a graft ends: from a layer's map, or from a map that was fitted in a layer's place. What a
conv leaves to do after it is done by `after`, as in `tasks.kernels.compiled_network`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from espalier.tasks.kernels.compared_conv import Filters, compared
from espalier.tasks.kernels.compiled_network import CompiledNetwork, compiled
from espalier.tasks.kernels.tiling import CHANNELS, outputs_of
from espalier.tasks.networks.network import Network


@dataclass(frozen=True)
class ComparedNetwork:
    """`network` by compiled kernels; `filters` are those transformed so far, by layer."""

    network: CompiledNetwork
    filters: dict[int, Filters] = field(default_factory=dict)

    def takes(self, layer: int, h: Tensor) -> bool:
        """Whether the map of a layer that reads `h` (N, C, H, W) is made and compared here."""
        return layer in self.network.convs and h.shape[1] % CHANNELS == 0

    def step(self, layer: int, h: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """What `after` goes on from, and the summed squares (O,) of z - `own`; `h` is what `after` gave."""
        if layer not in self.filters:
            weight, bias = (self.network.parameters[f"layers.{layer}.{part}"] for part in ("weight", "bias"))
            self.filters[layer] = Filters.of(weight, bias, outputs_of(*h.shape[2:]))
        taken = self.network.convs[layer]
        filters = self.filters[layer]
        return compared(h, filters, own, rectified=taken.relu_before, pooled=taken.pool_after)

    def fitted(
        self, layer: int, h: Tensor, weight_DO: Tensor, bias: Tensor, own: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `step`, for a map of these weights (C x 9, O) in the layer's place."""
        filters = Filters.of_columns(weight_DO, bias, outputs_of(*h.shape[2:]))
        return compared(h, filters, own, pooled=self.network.convs[layer].pool_after)

    def after(self, layer: int, made: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """`h_l`, but for the ReLU that the next layer takes."""
        return self.network.after(layer, made, shortcut)

    def sharing(self, network: Network) -> ComparedNetwork:
        """A network with the same maps and other statistics of BN."""
        other = comparing(network)
        assert other is not None, "the same maps are compiled alike"
        return ComparedNetwork(other.network, self.filters)


def comparing(network: Network) -> ComparedNetwork | None:
    """The network, if any of its convs is compiled."""
    made = compiled(network)
    return ComparedNetwork(made) if isinstance(made, CompiledNetwork) and made.convs else None
