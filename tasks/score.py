"""Held-out scores of a tile's grafts: errors at the grafted layer and above, loss and accuracy.

Legend: as in `tasks.gram`; l the grafted layer, m >= l a layer at which the error is measured.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

from tasks.architectures import weight_shape
from tasks.data import Data
from tasks.fit import Fit, Fits
from tasks.gram import ChannelMoments, channel_rows
from tasks.network import Network, linear
from tasks.walk import Batch, Source, Step, Walk, position_order, scatter_positions, seen


@dataclass
class GraftScore:
    """Sums over held-out images of one graft: squared error (C,) at each m, loss, right answers."""

    error_C: dict[int, Tensor] = field(default_factory=dict)
    loss: float = 0.0
    right: int = 0

    def add_error(self, layer: int, difference: Tensor) -> None:
        """Add the squares of `z_hat - z` at a layer."""
        total = channel_rows(difference).square().sum(0)
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
                outputs[target, step.layer].add(channel_rows(features.z))
        for target, features in steps[-1].targets.items():
            scores.target_right[target] += count_right(features.z, data.y_test[batch.plain_N])
        for source, features in steps[-1].sources.items():
            scores.source_right[source] += count_right(features.z, data.y_test[seen(source, batch)])
        _score_batch(walk, fits, steps, batch, data.y_test[batch.plain_N], scores)
    return scores


def _score_batch(
    walk: Walk, fits: Fits, steps: list[Step], batch: Batch, labels: Tensor, scores: Scores
) -> None:
    for source, pair, layer in walk.grafts():
        entry = scores.grafts[pair.key, layer]
        target, own = walk.networks[pair.target], [step.targets[pair.target].z for step in steps]
        z_hat = apply_fit(target, layer, steps[layer - 1].sources[source].h_in, fits.fits[pair.key, layer])
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


def apply_fit(target: Network, layer: int, h: Tensor, fit: Fit) -> Tensor:
    """`z_l` in float64: next to a near-singular Gram matrix float32 weights would lose what was fitted."""
    description = target.architecture.layers[layer - 1]
    channels, height, width = h.shape[1], *(h.shape[2:] if h.dim() == 4 else (1, 1))
    weight = fit.weight_DC.T.reshape(weight_shape(description, (channels, height, width)))
    return linear(description, h.double(), weight, fit.bias_C)


def count_right(logits: Tensor, labels: Tensor) -> int:
    """Number of images classified rightly."""
    return int((logits.argmax(1) == labels).sum())
