"""A trial of a study: nets trained on part of the training images and evaluated on the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from espalier.tasks.data.tensors import Data
from espalier.tasks.seeds import stream
from espalier.tasks.spec import Snapshot, TrainMode, TrainSegment, TrialSegment
from espalier.tasks.training.train import Diverged, State, train_group

_COLUMNS = {"loss_test": "loss_validation", "accuracy_test": "accuracy_validation"}
_KEPT = (
    "seed", "epoch", "loss_train", "loss_test", "accuracy_train", "accuracy_test", "learning_rate", "seconds",
)  # fmt: skip

MODE = TrainMode(layout="channels_last")
"""How trials are trained: few of their nets share a recipe, and each recipe would need a probe of its own."""


def held_back(y: Tensor, share: float, split: int) -> Tensor:
    """Which of the labels `y` (N,) are held back for validation, ascending; float `y` is a regression's.

    Of each class `share` of its images (rounded, at least one, and at least one is left; the only image of
    a class is left). They are the first in the order of the stream of `split` and the class.
    """
    classes = (
        [torch.arange(len(y))] if y.is_floating_point() else [(y == c).nonzero()[:, 0] for c in y.unique()]
    )
    chosen = [_some(rows, share, stream("validation", split, number)) for number, rows in enumerate(classes)]
    return torch.cat(chosen).sort().values


def _some(rows: Tensor, share: float, generator: torch.Generator) -> Tensor:
    count = min(max(round(share * len(rows)), 1), len(rows) - 1)
    return rows[torch.randperm(len(rows), generator=generator)[:count]]


def validation_split(data: Data, share: float, split: int) -> Data:
    """Data from the training images alone: those to fit on, and those held back in place of the test images.

    >>> y = torch.tensor([0, 0, 0, 0, 1, 1])
    >>> x, none = torch.arange(6.0).reshape(6, 1, 1, 1), torch.empty(0)
    >>> parts = validation_split(Data(x, y, none, none), 0.25, 0)
    >>> [len(part) for part in parts]
    [4, 4, 2, 2]
    """
    validation = held_back(data.y_train.cpu(), share, split)
    fitted = torch.ones(len(data.y_train), dtype=torch.bool)
    fitted[validation] = False
    x, y = data.x_train, data.y_train
    return Data(x[fitted], y[fitted], x[validation], y[validation])


def train_trial(
    segment: TrialSegment, states: Mapping[int, State], data: Data
) -> tuple[list[dict[str, Any]], dict[int, State]]:
    """Go from `states` to the segment's epoch: rows of the curves with the number of images held back, and
    the states, both by seed.

    Raises:
        Diverged: A net's loss is NaN or infinite; the trial is none then.
    """
    parts = validation_split(data, segment.validation, segment.split)
    rows: list[dict[str, Any]] = []
    after: dict[int, State] = {}
    for net in segment.nets:
        piece = TrainSegment(Snapshot("", "", net, segment.epoch), segment.start or None, keep_state=True)
        (trained,) = train_group([piece], [states[net.seed]], parts, MODE, with_rows=False)
        if isinstance(trained, Diverged):
            raise trained
        shown = [{_COLUMNS.get(name, name): row[name] for name in _KEPT} for row in trained.curve_rows]
        rows += [row | {"images_validation": len(parts.y_test)} for row in shown]
        after[net.seed] = trained.state
    return rows, after
