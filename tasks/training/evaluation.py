"""Evaluation of a net: loss and accuracy over whole splits, and the row of table `nets`."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from espalier.tasks.networks.architectures import evaluation_batch, parameter_count
from espalier.tasks.networks.network import Network
from espalier.tasks.spec import Loss, Snapshot
from espalier.tasks.tables.axes import net_axes
from espalier.tasks.training.loss import count_right, plus, share, summed_loss


class Judged(NamedTuple):
    """Mean loss and accuracy (None of a regression) over a split."""

    loss: float
    accuracy: float | None


@torch.no_grad()
def evaluate(network: Network, x: Tensor, y: Tensor, loss: Loss = "cross_entropy") -> Judged:
    """Mean loss and accuracy (None of a regression) over images `x` (N, C, H, W) with labels `y` (N,)."""
    total = 0.0
    right: int | None = 0
    batch = evaluation_batch(network.architecture)
    for images, labels in zip(x.split(batch), y.split(batch), strict=True):
        outputs = network.logits(images)
        total += summed_loss(loss, outputs, labels)
        right = plus(right, count_right(loss, outputs, labels))
    return Judged(total / len(y), share(right, len(y)))


def net_row(snapshot: Snapshot, train: Judged, test: Judged) -> dict[str, Any]:
    """The snapshot's row of table `nets`."""
    return {
        "key": snapshot.key,
        **net_axes(snapshot),
        "loss_train": train.loss,
        "loss_test": test.loss,
        "accuracy_train": train.accuracy,
        "accuracy_test": test.accuracy,
        "parameters": parameter_count(snapshot.net.architecture),
        "checkpoint": f"{snapshot.key}.safetensors",
        "sha256": None,
        "state_sha256": None,
    }
