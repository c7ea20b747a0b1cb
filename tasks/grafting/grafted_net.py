"""Bottom of the source, fitted arms, top of the target: the grafted net, batch by batch.

Legend: N images; l the cut's layer; m a layer from l on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from espalier.tasks.grafting.fit import Fits
from espalier.tasks.grafting.layer_input import LayerInput
from espalier.tasks.grafting.nulls.known_nulls import variant_of
from espalier.tasks.grafting.tile_nets import Batch, Layers, TileNets, at_target_positions
from espalier.tasks.grafting.tile_parts import Source
from espalier.tasks.kernels.compiled import comparing
from espalier.tasks.networks.batch_norm import Reestimation
from espalier.tasks.networks.cuts import Arm, Cut, Reading, norms_from, shortcut_arm, shortcuts_past
from espalier.tasks.networks.network import Network
from espalier.tasks.spec import Architecture, Pair

if TYPE_CHECKING:
    from espalier.tasks.kernels.compiled import ComparedNetwork

Sources = Mapping[Source, Layers]
"""One batch's features."""


class Joint(NamedTuple):
    """What the target's top receives: `z_l` (fitted, or from a stitched h), and the shortcuts past it."""

    z: Tensor
    shortcuts: dict[int, Tensor]


class Compared(NamedTuple):
    """A joint that was compared: what the target's top goes on from, and the summed squares (C,) at z_l."""

    made: Tensor
    square_C: Tensor


class Top(NamedTuple):
    """A net that goes on from a joint, and the same by compiled kernels, if they take any of its convs."""

    network: Network
    compared: ComparedNetwork | None = None

    @classmethod
    def of(cls, network: Network) -> Top:
        """By kernels where they are allowed."""
        return cls(network, comparing(network))

    def with_statistics(self, found: Mapping[str, Tensor]) -> Top:
        """The same maps with other statistics of BN."""
        network = replace(self.network, parameters={**self.network.parameters, **found})
        return Top(network, self.compared and self.compared.sharing(network))


class Joiner:
    """The joints of one batch. The input from a source at a cut is prepared once for all its pairs."""

    def __init__(self, nets: TileNets, fits: Fits, sources: Sources, batch: Batch) -> None:
        self._nets, self._fits, self._sources, self._batch = nets, fits, sources, batch
        self._place: tuple[Source, Cut] | None = None
        self._inputs: dict[Reading, LayerInput] = {}

    def joint(self, source: Source, pair: Pair, cut: Cut) -> Joint:
        """The joint of a pair at a cut."""
        target = self._nets.networks[pair.target]
        given = {arm: self._predict(source, pair, cut, arm) for arm in cut.arms}
        into = shortcuts_past(target.architecture, cut.layer)
        if cut.method == "stitch":
            h = {arm.reads: value.float() for arm, value in given.items()}
            z = target.layer(cut.layer, h[cut.layer - 1])
            given = {number: target.shortcut(number, h[entry.reads]) for number, entry in into.items()}
            return Joint(z, given)
        return exact_joint(target.architecture, cut, given)

    def compared(self, source: Source, pair: Pair, cut: Cut, top: Top, own: Tensor) -> Compared | None:
        """The joint compared with the target's `own` z_l, where the compiled kernels can do both at once."""
        moved = variant_of(source.variant).positions is not None
        arm, *others = cut.arms
        if top.compared is None or moved or others or arm.gives != "z":
            return None
        inputs, fitted = self._input(source, cut, arm), self._fits.of(pair.key, cut, arm)
        found = inputs.compared(top.compared, cut.layer, fitted.weight_DC, fitted.bias_C, own)
        return found and Compared(*found)

    def _predict(self, source: Source, pair: Pair, cut: Cut, arm: Arm) -> Tensor:
        fitted = self._fits.of(pair.key, cut, arm)
        output = self._input(source, cut, arm).predict(fitted.weight_DC, fitted.bias_C)
        return at_target_positions(source, output, self._batch)

    def _input(self, source: Source, cut: Cut, arm: Arm) -> LayerInput:
        if self._place != (source, cut):
            self._place, self._inputs = (source, cut), {}
        entry = self._nets.arms[arm]
        place = entry.reading
        if place not in self._inputs:
            h = self._sources[source][arm.reads].h_in
            self._inputs[place] = entry.input(h, self._nets.tile.options.products)
        return self._inputs[place]


def exact_joint(architecture: Architecture, cut: Cut, given: Mapping[Arm, Tensor]) -> Joint:
    """The joint of an exact graft from what its fitted arms give."""
    into = shortcuts_past(architecture, cut.layer)
    arms = {number: shortcut_arm(number, entry) for number, entry in into.items()}
    return Joint(given[cut.arms[0]], {number: given[arm].float() for number, arm in arms.items()})


Tops = dict[tuple[str, Cut, str], Top]
"""By (pair key, cut, whose BN statistics): the net that goes on from the joint."""


def tops(nets: TileNets, fits: Fits, x: Tensor) -> Tops:
    """The tops of every graft; BN statistics are re-estimated on the fitting images `x` where asked for."""
    modes = {
        (pair.key, cut): Reestimation(norms_from(nets.networks[pair.target].architecture, cut.layer))
        for _, pair, cut in nets.grafts()
        if "reestimated" in nets.statistics(pair.target, cut)
    }
    for batch in nets.mixed_batches(len(x), "train") if modes else ():
        _reestimate(nets, Joiner(nets, fits, nets.source_features(x, batch), batch), modes)
    found: Tops = {}
    plain = {target: Top.of(nets.networks[target]) for target in nets.targets}
    for _, pair, cut in nets.grafts():
        for statistics in nets.statistics(pair.target, cut):
            top = plain[pair.target]
            if statistics == "reestimated":
                top = top.with_statistics(modes[pair.key, cut].statistics())
            found[pair.key, cut, statistics] = top
    return found


def _reestimate(nets: TileNets, joiner: Joiner, modes: dict[tuple[str, Cut], Reestimation]) -> None:
    """Add a batch to the moments of every graft's top."""
    for source, pair, cut in nets.grafts():
        if (pair.key, cut) in modes:
            top = replace(nets.networks[pair.target], mode=modes[pair.key, cut])
            for _ in run_top(top, cut, joiner.joint(source, pair, cut)):
                pass


def run_top(top: Network, cut: Cut, joint: Joint) -> Iterator[tuple[int, Tensor]]:
    """`(m, z_m)` from the cut on; the last are the logits."""
    return top.suffix(cut.layer, joint.z.float(), joint.shortcuts)
