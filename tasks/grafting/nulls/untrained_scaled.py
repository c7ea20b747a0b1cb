"""The null `untrained_scaled`: the source before training, at the trained source's own channel statistics.

An initial net has other scales than a trained one, and BN's statistics of its first day. Where the null
`untrained` is served badly for that reason alone, this one is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from espalier.tasks.grafting.nulls.null import Ladder, Null, Variant
from espalier.tasks.spec import NetSpec, Snapshot

if TYPE_CHECKING:
    from espalier.tasks.data.tensors import Data
    from espalier.tasks.networks.network import Network


def _trained(ladder: Ladder, position: int, same: bool) -> Iterator[Snapshot]:
    """Another net at the target's epoch, from which both the scale and the initial weights follow."""
    if not same and ladder[position].epoch > 0:
        yield ladder[position]


def _scaled(network: Network, net: NetSpec, data: Data) -> Network:
    from espalier.tasks.grafting.nulls.matched_scale import at_the_scale_of  # here, since it loads torch

    return at_the_scale_of(network, net, data.x_train)


UNTRAINED_SCALED = Null("untrained_scaled", _trained, Variant(network=_scaled, walks=2))
