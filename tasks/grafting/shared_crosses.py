"""The cross terms of all pairs at one arm together, by compiled kernels: each net's map is transformed once.

Taken are the pairs whose products are float32 and whose map the kernels take (`tasks.kernels.cross_sums`), on
a CPU, and whose source sees positions in their own order. A pair's sums do not depend on the others.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from espalier.tasks.grafting.layer_input import LayerInput
from espalier.tasks.grafting.nulls.known_nulls import variant_of
from espalier.tasks.grafting.tile_nets import Layers, TileNets, arm_output
from espalier.tasks.grafting.tile_parts import Source
from espalier.tasks.kernels.compiled import crosses, summing_crosses
from espalier.tasks.networks.cuts import Arm, arm_sizes
from espalier.tasks.spec import Pair, in_float32


class SharedCrosses:
    """The sums of an arm over batches, for the pairs that are taken; memory for work is that of `beside`."""

    def __init__(self, nets: TileNets, arm: Arm, beside: SharedCrosses | None = None) -> None:
        self._arm = arm
        taken = [(s, p) for s, pairs in nets.pairs_of.items() for p in pairs if takes(nets, s, p, arm)]
        self.sources = list(dict.fromkeys(source for source, _ in taken))
        self._targets = list(dict.fromkeys(pair.target for _, pair in taken))
        places = [(self.sources.index(source), self._targets.index(pair.target)) for source, pair in taken]
        self._places = {pair.key: number for number, (_, pair) in enumerate(taken)}
        self._sums = summing_crosses(places, beside and beside._sums) if taken else None

    def has(self, pair: Pair) -> bool:
        """Whether a pair is taken."""
        return pair.key in self._places

    def add(self, inputs: Mapping[Source, LayerInput], targets: Mapping[int, Layers]) -> None:
        """Add a batch: what is read of every source that has a pair here, and all targets' features."""
        if self._sums is not None:
            written = [arm_output(self._arm, targets[target]) for target in self._targets]
            self._sums.add([inputs[source].map for source in self.sources], written)

    def done(self) -> None:
        """No batch follows: the memory for work is given up."""
        if self._sums is not None:
            self._sums.done()

    def of(self, pair: Pair) -> Tensor:
        """`Z^T U` (C, D) of a pair in float64."""
        assert self._sums is not None, "no pair was taken"
        return self._sums.of(self._places[pair.key])


def takes(nets: TileNets, source: Source, pair: Pair, arm: Arm) -> bool:
    """Whether the cross term of a pair is made here."""
    read, written = nets.networks[source.snapshot], nets.networks[pair.target]
    sizes = arm_sizes(read.architecture, written.architecture, arm)
    on_cpu = next(iter(read.parameters.values())).device.type == "cpu"
    single = in_float32(nets.tile.options.products, sizes.shape[0])
    in_place = variant_of(source.variant).positions is None
    return on_cpu and single and in_place and crosses(sizes.map, sizes.shape)


def shared_crosses(nets: TileNets) -> dict[Arm, SharedCrosses]:
    """Those of every arm; they share the memory for their work."""
    found: dict[Arm, SharedCrosses] = {}
    for arm in nets.arms:
        beside = next((some for some in found.values() if some.sources), None)
        found[arm] = SharedCrosses(nets, arm, beside)
    return found
