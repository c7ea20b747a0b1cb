"""What a net is trained and evaluated by: cross-entropy and accuracy, or a regression's squared error.

Legend: N images, K outputs. A regression has no accuracy: its counts are None, and the tables' cells null.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from espalier.tasks.spec import Loss


def mean_loss(loss: Loss, outputs_NK: Tensor, y: Tensor) -> Tensor:
    """Mean over images of the cross-entropy (nats); or over images and outputs of the squared error."""
    return F.mse_loss(outputs_NK, y) if loss == "mse" else F.cross_entropy(outputs_NK, y)


def net_losses(loss: Loss, outputs: Tensor, y: Tensor, nets: int) -> Tensor:
    """`mean_loss` of each of S nets, (S,), of outputs (N, S x K) and each net's own labels (N, S, ...)."""
    if nets == 1:
        return mean_loss(loss, outputs, y[:, 0])[None]
    by_net = outputs.view(len(outputs), nets, -1)
    if loss == "mse":
        return F.mse_loss(by_net, y, reduction="none").transpose(0, 1).flatten(1).mean(1)
    each = F.cross_entropy(by_net.flatten(0, 1), y.flatten(), reduction="none")
    # By rows: the bits of a net's mean do not depend on the number of nets.
    return each.view(len(outputs), nets).t().contiguous().mean(1)


def net_right(loss: Loss, outputs: Tensor, y: Tensor, nets: int) -> Tensor | None:
    """`count_right` of each net, (S,)."""
    return None if loss == "mse" else (outputs.view(len(outputs), nets, -1).argmax(2) == y).sum(0)


def summed_loss(loss: Loss, outputs_NK: Tensor, y: Tensor) -> float:
    """The sum over images of what `mean_loss` is the mean of."""
    if loss == "mse":
        return (outputs_NK - y).double().square().mean(1).sum().item()
    return F.cross_entropy(outputs_NK, y, reduction="sum").double().item()


def right_answers(loss: Loss, outputs_NK: Tensor, y: Tensor) -> Tensor | None:
    """Which images are classified rightly, (N,)."""
    return None if loss == "mse" else outputs_NK.argmax(1) == y


def count_right(loss: Loss, outputs_NK: Tensor, y: Tensor) -> int | None:
    """Number of images classified rightly."""
    right_N = right_answers(loss, outputs_NK, y)
    return None if right_N is None else int(right_N.sum())


def plus(total: int | None, more: int | None) -> int | None:
    """The sum of two counts, None without classes."""
    return None if total is None or more is None else total + more


def share(count: int | None, images: int) -> float | None:
    """A count as a share of the images."""
    return None if count is None else count / images
