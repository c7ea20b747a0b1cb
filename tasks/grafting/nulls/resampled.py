"""The null `resampled`: a net of the same distribution as the source that was never trained itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.tasks.grafting.nulls.null import Null, Variant, another
from espalier.tasks.spec import NetSpec

if TYPE_CHECKING:
    from espalier.tasks.data.tensors import Data
    from espalier.tasks.networks.network import Network


def _resampled(network: Network, net: NetSpec, data: Data) -> Network:
    from espalier.tasks.grafting.nulls.rainbow_draw import drawn_anew  # here, since it loads torch

    return drawn_anew(network, data.x_train, net.seed, net.width)


def _unfit(net: NetSpec) -> str:
    """A shortcut ties a layer's channels to those of another, which independent draws are not.

    Of one channel the covariance is 0: its draw would be the trained channel itself.
    """
    layers = net.architecture.layers
    if any(layer.shortcut is not None for layer in layers):
        return "its layers are drawn one by one, which shortcuts do not allow"
    if any(layer.out == 1 for layer in layers[:-1]):  # the last layer is not drawn
        return "a layer of one channel has no covariance to draw from"
    return ""


RESAMPLED = Null("resampled", another, Variant(network=_resampled, walks=2), unfit=_unfit)
