"""Held-out scores of a tile's grafts: errors at the grafted layer and above, loss and accuracy.

Legend: as in `tasks.gram`; l the grafted layer, m >= l a layer at which the error is measured.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

from tasks.data import Data
from tasks.fit import Fits
from tasks.gram import ChannelMoments, channel_sums
from tasks.layer_input import LayerInput
from tasks.walk import Batch, Source, Step, Walk, position_order, scatter_positions, seen


@dataclass
class GraftScore:
    """Sums over held-out images of one graft: squared error (C,) at each m, loss, right answers."""

    error_C: dict[int, Tensor] = field(default_factory=dict)
    loss: float = 0.0
    right: int = 0

    def add_error(self, layer: int, difference: Tensor) -> None:
        """Add the squares of `z_hat - z` at a layer."""
        total = channel_sums(difference.double().square())
        self.error_C[layer] = self.error_C[layer] + total if layer in self.error_C else total


@dataclass(frozen=True)
class Scores:
    """Everything measured on held-out images.

    Attributes:
        grafts: By (pair key, l).
        outputs: Moments of a target's own z, by (target, m).
        target_right, source_right: Images that the nets themselves classify rightly.
        images: Held-out images.
    """

    grafts: dict[tuple[str, int], GraftScore]
    outputs: dict[tuple[int, int], ChannelMoments]
    target_right: dict[int, int]
    source_right: dict[Source, int]
    images: int


def score(walk: Walk, fits: Fits, data: Data) -> Scores:
    """Send the held-out images through every grafted net of the tile."""
    layers = enumerate(walk.architecture.layers, start=1)
    outputs = {(t, number): ChannelMoments(layer.out) for number, layer in layers for t in walk.targets}
    scores = Scores(defaultdict(GraftScore), outputs, defaultdict(int), defaultdict(int), len(data.y_test))
    for batch in walk.batches(len(data.y_test), "test"):
        steps = list(walk.steps(data.x_test, batch))
        for step in steps:
            for target, features in step.targets.items():
                outputs[target, step.layer].add(features.z)
        for target, features in steps[-1].targets.items():
            scores.target_right[target] += count_right(features.z, data.y_test[batch.plain_N])
        for source, features in steps[-1].sources.items():
            scores.source_right[source] += count_right(features.z, data.y_test[seen(source, batch)])
        _score_batch(walk, fits, steps, batch, data.y_test[batch.plain_N], scores)
    return scores


def _score_batch(
    walk: Walk, fits: Fits, steps: list[Step], batch: Batch, labels: Tensor, scores: Scores
) -> None:
    inputs = _Inputs(walk, steps)
    for source, pair, layer in walk.grafts():
        entry = scores.grafts[pair.key, layer]
        target, own = walk.networks[pair.target], [step.targets[pair.target].z for step in steps]
        fitted = fits.fits[pair.key, layer]
        z_hat = inputs.get(source, layer).predict(fitted.weight_DC, fitted.bias_C)
        if source.variant == "shuffled_images":
            z_hat = scatter_positions(z_hat, position_order(batch.plain_N, z_hat[0, 0].numel()))
        entry.add_error(layer, z_hat - own[layer - 1].double())
        logits = z_hat.float()
        for later, z in target.suffix(layer, logits):
            if later > layer:
                entry.add_error(later, z - own[later - 1])
            logits = z
        entry.loss += F.cross_entropy(logits, labels, reduction="sum").double().item()
        entry.right += count_right(logits, labels)


class _Inputs:
    """The input of one source at one layer, for as long as its pairs ask for it."""

    def __init__(self, walk: Walk, steps: list[Step]) -> None:
        self._walk, self._steps = walk, steps
        self._place: tuple[Source, int] | None = None
        self._inputs: LayerInput | None = None

    def get(self, source: Source, layer: int) -> LayerInput:
        if self._inputs is None or self._place != (source, layer):
            description = self._walk.architecture.layers[layer - 1]
            h = self._steps[layer - 1].sources[source].h_in
            self._inputs = LayerInput(description, h, self._walk.tile.options.products)
            self._place = (source, layer)
        return self._inputs


def count_right(logits: Tensor, labels: Tensor) -> int:
    """Number of images classified rightly."""
    return int((logits.argmax(1) == labels).sum())
