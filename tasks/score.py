"""Held-out scores of a tile's grafts: errors at the grafted layer and above, loss and accuracy.

Legend: as in `tasks.gram`; l the grafted layer, m >= l a layer at which the error is measured.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.data import Data
from tasks.fit import Fit, Fits
from tasks.gram import ChannelMoments, channel_rows, patches
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
    rows = _PatchCache(walk, steps)
    for source, pair, layer in walk.grafts():
        entry = scores.grafts[pair.key, layer]
        target, own = walk.networks[pair.target], [step.targets[pair.target].z for step in steps]
        z_hat = predict(rows.get(source, layer), fits.fits[pair.key, layer], like=own[layer - 1])
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


class _PatchCache:
    """The patches of one source at one layer, for as long as its pairs ask for them."""

    def __init__(self, walk: Walk, steps: list[Step]) -> None:
        self._walk, self._steps = walk, steps
        self._place: tuple[Source, int] | None = None
        self._rows_MD = torch.empty(0)

    def get(self, source: Source, layer: int) -> Tensor:
        if self._place != (source, layer):
            description = self._walk.architecture.layers[layer - 1]
            self._rows_MD = patches(description, self._steps[layer - 1].sources[source].h_in)
            self._place = (source, layer)
        return self._rows_MD


def predict(u_MD: Tensor, fit: Fit, like: Tensor) -> Tensor:
    """`z_l` in the shape of `like`, in float64: next to a near-singular Gram matrix float32 loses the fit."""
    z_MC = torch.addmm(fit.bias_C, u_MD, fit.weight_DC)
    if like.dim() == 2:
        return z_MC
    return z_MC.reshape(len(like), -1, like.shape[1]).transpose(1, 2).reshape(like.shape)


def count_right(logits: Tensor, labels: Tensor) -> int:
    """Number of images classified rightly."""
    return int((logits.argmax(1) == labels).sum())
