"""How good a net is: loss and accuracy over whole splits, and the row of table `nets`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tasks.architectures import evaluation_batch, parameter_count
from tasks.axes import net_axes
from tasks.data import Data
from tasks.loss import count_right, plus, share, summed_loss
from tasks.network import Network
from tasks.spec import Loss, Snapshot


@torch.no_grad()
def evaluate(
    network: Network, x: Tensor, y: Tensor, loss: Loss = "cross_entropy"
) -> tuple[float, float | None]:
    """Mean loss and accuracy (None of a regression) over images `x` (N, C, H, W) with labels `y` (N,)."""
    total = 0.0
    right: int | None = 0
    batch = evaluation_batch(network.architecture)
    for images, labels in zip(x.split(batch), y.split(batch), strict=True):
        outputs = network.logits(images)
        total += summed_loss(loss, outputs, labels)
        right = plus(right, count_right(loss, outputs, labels))
    return total / len(y), share(right, len(y))


def net_row(snapshot: Snapshot, network: Network, data: Data) -> dict[str, Any]:
    """The snapshot's row of table `nets`."""
    loss = snapshot.net.recipe.loss
    loss_train, accuracy_train = evaluate(network, data.x_train, data.y_train, loss)
    loss_test, accuracy_test = evaluate(network, data.x_test, data.y_test, loss)
    return {
        "key": snapshot.key,
        **net_axes(snapshot),
        "loss_train": loss_train,
        "loss_test": loss_test,
        "accuracy_train": accuracy_train,
        "accuracy_test": accuracy_test,
        "parameters": parameter_count(network.architecture),
        "checkpoint": f"{snapshot.key}.safetensors",
    }
