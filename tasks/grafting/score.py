"""Held-out scores of a tile's grafts: errors at the grafted layer and above, loss and accuracy.

Legend: as in `tasks.grafting.gram`; l the grafted layer, m >= l a layer at which the error is measured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from espalier.tasks.data.tensors import Data
from espalier.tasks.grafting.error_blocks import BlockMoments, block_of, image_sums, into_blocks
from espalier.tasks.grafting.fit import Fits
from espalier.tasks.grafting.grafted_net import Compared, Joiner, Joint, Top, Tops, run_top, tops
from espalier.tasks.grafting.gram import ChannelMoments, add_to, channel_sums
from espalier.tasks.grafting.tile_nets import Batch, Features, TileNets, seen
from espalier.tasks.grafting.tile_parts import Source
from espalier.tasks.networks.cuts import Cut
from espalier.tasks.networks.network import Network
from espalier.tasks.spec import Loss
from espalier.tasks.training.loss import right_answers, summed_loss

if TYPE_CHECKING:
    from espalier.tasks.kernels.compiled import ComparedNetwork

Graft = tuple[str, Cut, str]
"""(pair key, cut, whose BN statistics): what has a row of its own."""


@dataclass
class GraftScore:
    """Sums over held-out images of one graft: squared error (C,) at each m, and loss.

    `right` tells, a batch at a time, which images are classified rightly; a regression has none. `error_K`
    are the squared errors at l by blocks of images, where these are kept.
    """

    error_C: dict[int, Tensor] = field(default_factory=dict)
    loss: float = 0.0
    right: list[Tensor] = field(default_factory=list)
    error_K: Tensor | None = None

    @property
    def right_N(self) -> Tensor | None:
        """Which of the images, in the order in which they were added, are classified rightly."""
        return torch.cat(self.right) if self.right else None

    @property
    def count(self) -> int | None:
        """Images that are classified rightly."""
        return int(torch.cat(self.right).sum()) if self.right else None

    def add_error(self, layer: int, difference: Tensor) -> None:
        """Add the squares of `z_hat - z` at a layer."""
        self.add_squares(layer, channel_sums(difference.double().square()))

    def add_squares(self, layer: int, square_C: Tensor) -> None:
        """Add the summed squares at a layer."""
        add_to(self.error_C, layer, square_C)

    def add_blocks(self, square_K: Tensor) -> None:
        """Add the summed squares of `z_hat - z` at l of each block of images."""
        self.error_K = square_K if self.error_K is None else self.error_K + square_K

    def add_answers(self, loss: Loss, outputs: Tensor, y: Tensor) -> None:
        """Add the loss and the right answers of a batch."""
        self.loss += summed_loss(loss, outputs, y)
        right_N = right_answers(loss, outputs, y)
        if right_N is not None:
            self.right.append(right_N)


@dataclass(frozen=True)
class Scores:
    """Everything measured on held-out images.

    Attributes:
        grafts: By graft.
        outputs: Moments of a target's own z, by (target, m).
        targets, sources: The nets themselves, without errors.
        images: Held-out images.
        blocks: The same moments by blocks of images, if these are kept; else none.
    """

    grafts: dict[Graft, GraftScore]
    outputs: dict[tuple[int, int], ChannelMoments]
    targets: dict[int, GraftScore]
    sources: dict[Source, GraftScore]
    images: int
    blocks: dict[tuple[int, int], BlockMoments] = field(default_factory=dict)


def score(nets: TileNets, fits: Fits, data: Data) -> Scores:
    """Send the held-out images through every grafted net of the tile."""
    outputs = {
        (target, number): ChannelMoments(layer.out)
        for target in nets.targets
        for number, layer in enumerate(nets.networks[target].architecture.layers, start=1)
    }
    new = GraftScore
    scores = Scores(defaultdict(new), outputs, defaultdict(new), defaultdict(new), len(data.y_test))
    if nets.tile.options.error_blocks:
        layers = {cut.layer for cut in nets.cuts}
        wanted = {place: moments for place, moments in outputs.items() if place[1] in layers}
        scores.blocks.update({place: BlockMoments(len(moments.sum_C)) for place, moments in wanted.items()})
    above = tops(nets, fits, data.x_train)
    for batch in nets.batches(len(data.y_test), "test"):
        _score_batch(nets, fits, above, data, batch, scores)
    return scores


def _score_batch(nets: TileNets, fits: Fits, above: Tops, data: Data, batch: Batch, scores: Scores) -> None:
    """Add a batch. Its features are freed before the next batch."""
    features = nets.features(data.x_test, batch)
    _score_nets(nets, features, batch, data.y_test, scores)
    joiner = Joiner(nets, fits, features.sources, batch)
    _score_grafts(nets, joiner, above, features, data.y_test[batch.plain_N], batch, scores)


def _score_nets(nets: TileNets, features: Features, batch: Batch, y: Tensor, scores: Scores) -> None:
    for (target, layer), moments in scores.outputs.items():
        moments.add(features.targets[target][layer - 1].z)
    for (target, layer), moments in scores.blocks.items():
        moments.add(features.targets[target][layer - 1].z, block_of(batch.plain_N, scores.images))
    for target, layers in features.targets.items():
        scores.targets[target].add_answers(nets.loss, layers[-1].z, y[batch.plain_N])
    for source, layers in features.sources.items():
        scores.sources[source].add_answers(nets.loss, layers[-1].z, y[seen(source, batch)])


def _score_grafts(
    nets: TileNets,
    joiner: Joiner,
    above: Tops,
    features: Features,
    labels: Tensor,
    batch: Batch,
    scores: Scores,
) -> None:
    block_N = block_of(batch.plain_N, scores.images) if scores.blocks else None
    for source, pair, cut in nets.grafts():
        own = [layer.z for layer in features.targets[pair.target]]
        some = nets.statistics(pair.target, cut)
        made = joiner.compared(source, pair, cut, above[pair.key, cut, some[0]], own[cut.layer - 1])
        joint = made or joiner.joint(source, pair, cut)
        square_K = None
        if block_N is not None:  # needs z itself, which kernels that compare do not keep
            whole = joiner.joint(source, pair, cut) if isinstance(joint, Compared) else joint
            square_K = into_blocks(image_sums((whole.z - own[cut.layer - 1].double()).square()), block_N)
        for statistics in some:
            graft = (pair.key, cut, statistics)
            outputs = send(above[graft], cut, joint, own, scores.grafts[graft])
            scores.grafts[graft].add_answers(nets.loss, outputs, labels)
            if square_K is not None:
                scores.grafts[graft].add_blocks(square_K)


def send(top: Top, cut: Cut, joint: Joint | Compared, own: Sequence[Tensor], entry: GraftScore) -> Tensor:
    """The grafted net's outputs; adds its errors to `entry`. `own` is the target's z of layers 1 to L."""
    if isinstance(joint, Compared):
        entry.add_squares(cut.layer, joint.square_C)
    else:
        entry.add_error(cut.layer, joint.z - own[cut.layer - 1].double())
    if top.compared is not None:
        return _ascend(top.network, top.compared, cut.layer, joint, own, entry)
    assert isinstance(joint, Joint)
    outputs = joint.z
    for layer, outputs in run_top(top.network, cut, joint):
        if layer > cut.layer:
            entry.add_error(layer, outputs - own[layer - 1])
    return outputs


def _ascend(
    network: Network,
    compared: ComparedNetwork,
    layer: int,
    joint: Joint | Compared,
    own: Sequence[Tensor],
    entry: GraftScore,
) -> Tensor:
    """The outputs by compiled kernels, from the joint at a layer on; adds the errors above."""
    carried = {} if isinstance(joint, Compared) else dict(joint.shortcuts)
    z = joint.made if isinstance(joint, Compared) else joint.z.float()
    if layer == len(own):
        return z
    first = compared if isinstance(joint, Compared) else network
    h = first.after(layer, z, carried.pop(layer, None))
    for above in range(layer + 1, len(own) + 1):
        carried |= network.shortcuts_from(above - 1, h)
        if compared.takes(above, h):
            z, square_C = compared.step(above, h, own[above - 1])
            entry.add_squares(above, square_C)
        else:
            z = network.layer(above, h)
            entry.add_error(above, z - own[above - 1])
        if above < len(own):
            h = compared.after(above, z, carried.pop(above, None))
    return z
