"""Held-out scores of a tile's grafts: errors at the grafted layer and above, loss and accuracy.

Legend: as in `tasks.grafting.gram`; l the grafted layer, m >= l a layer at which the error is measured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from espalier.tasks.data.tensors import Data
from espalier.tasks.grafting.error_blocks import BlockMoments, block_of, image_sums, into_blocks
from espalier.tasks.grafting.fit import Fits
from espalier.tasks.grafting.grafted_net import Joiner, Joint, Tops, run_top, tops
from espalier.tasks.grafting.gram import ChannelMoments, channel_sums
from espalier.tasks.grafting.tile_nets import Batch, Features, TileNets, seen
from espalier.tasks.grafting.tile_parts import Source
from espalier.tasks.networks.cuts import Cut
from espalier.tasks.networks.network import Network
from espalier.tasks.spec import Loss
from espalier.tasks.training.loss import right_answers, summed_loss

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
        total = channel_sums(difference.double().square())
        self.error_C[layer] = self.error_C[layer] + total if layer in self.error_C else total

    def add_blocks(self, difference: Tensor, block_N: Tensor) -> None:
        """Add the squares of `z_hat - z` at l to the images' blocks."""
        total_K = into_blocks(image_sums(difference.double().square()), block_N).cpu()
        self.error_K = total_K if self.error_K is None else self.error_K + total_K

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
        scores.blocks.update({place: BlockMoments(len(moments.sum_C)) for place, moments in outputs.items()})
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
        joint = joiner.joint(source, pair, cut)
        for statistics in nets.statistics(pair.target, cut):
            graft = (pair.key, cut, statistics)
            outputs = send(above[graft], cut, joint, own, scores.grafts[graft])
            scores.grafts[graft].add_answers(nets.loss, outputs, labels)
            if block_N is not None:
                scores.grafts[graft].add_blocks(joint.z - own[cut.layer - 1].double(), block_N)


def send(top: Network, cut: Cut, joint: Joint, own: Sequence[Tensor], entry: GraftScore) -> Tensor:
    """The grafted net's outputs; adds its errors to `entry`. `own` is the target's z of layers 1 to L."""
    entry.add_error(cut.layer, joint.z - own[cut.layer - 1].double())
    outputs = joint.z
    for layer, outputs in run_top(top, cut, joint):
        if layer > cut.layer:
            entry.add_error(layer, outputs - own[layer - 1])
    return outputs
