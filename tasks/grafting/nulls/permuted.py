"""The null `permuted`: a net's copy with its channels permuted, which is to be recovered exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.tasks.grafting.nulls.null import Null, Variant, itself
from espalier.tasks.spec import NetSpec

if TYPE_CHECKING:
    from espalier.tasks.data.tensors import Data
    from espalier.tasks.networks.network import Network


def _permuted(network: Network, net: NetSpec, data: Data) -> Network:  # noqa: ARG001
    from espalier.tasks.networks.network import permute_channels  # here, since it loads torch

    return permute_channels(network, net.seed, net.width)


PERMUTED = Null("permuted", itself, Variant(network=_permuted), by_default=True)
