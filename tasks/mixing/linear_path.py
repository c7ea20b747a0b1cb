"""Loss and accuracy on the straight line between the parameters of two nets, and its barrier.

    W(t) = (1 - t) A + t B        barrier = max over t of loss(W(t)) - ((1 - t) loss(A) + t loss(B))

as in Entezari et al. 2022 ("The Role of Permutation Invariance in Linear Mode Connectivity"), after Frankle
et al. 2020. Legend: N images, K outputs, T places on the line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from espalier.tasks.data.tensors import Data
from espalier.tasks.mixing.temperature import best_inverse_temperature, tempered_loss
from espalier.tasks.networks.architectures import evaluation_batch
from espalier.tasks.networks.network import Network
from espalier.tasks.spec import Loss
from espalier.tasks.training.loss import count_right, share, summed_loss


class Score(NamedTuple):
    """A net's loss and accuracy, and its losses at the inverse temperature that the training images choose.

    A regression has neither accuracy nor temperature: None. So is a loss that is not finite, with all that
    depends on it.
    """

    loss_train: float | None = None
    loss_test: float | None = None
    accuracy_train: float | None = None
    accuracy_test: float | None = None
    inverse_temperature: float | None = None
    tempered_loss_train: float | None = None
    tempered_loss_test: float | None = None


UNKNOWN = Score()
"""Of a net whose parameters are not finite."""

LOSSES = ("loss_train", "loss_test", "tempered_loss_train", "tempered_loss_test")
ACCURACIES = ("accuracy_train", "accuracy_test")
MEASURES = (*LOSSES, *ACCURACIES)
"""The fields of a score that have a barrier."""


class Barrier(NamedTuple):
    """The values at both ends, the largest distance from the line between them, and the t where it is.

    Of a loss the distance counts upwards, of an accuracy downwards: a barrier is never negative. All is None
    where a value on the path is.
    """

    source: float | None
    target: float | None
    barrier: float | None
    peak: float | None


def places(points: int) -> list[float]:
    """Evenly spaced places t from 0 to 1, both ends included.

    >>> places(3)
    [0.0, 0.5, 1.0]
    """
    return [number / (points - 1) for number in range(points)]


def between(a: Network, b: Network, t: float) -> Network:
    """The net at place t: every tensor, BN's statistics too. Of two equal nets it is that net, to the bit."""
    mixed = {name: torch.lerp(value, b.parameters[name], t) for name, value in a.parameters.items()}
    return Network(a.architecture, mixed)


def score(network: Network, data: Data, loss: Loss) -> Score:
    """Loss and accuracy on the training and the held-out images."""
    train, test = (_outputs(network, x) for x in (data.x_train, data.x_test))
    loss_train = _mean_loss(loss, train, data.y_train)
    loss_test = _mean_loss(loss, test, data.y_test)
    found = Score(loss_train, loss_test)
    if loss_train is None or loss_test is None or loss == "mse":
        return found
    b = best_inverse_temperature(train, data.y_train)
    return found._replace(
        accuracy_train=share(count_right(loss, train, data.y_train), len(data.y_train)),
        accuracy_test=share(count_right(loss, test, data.y_test), len(data.y_test)),
        inverse_temperature=b,
        tempered_loss_train=tempered_loss(train, data.y_train, b),
        tempered_loss_test=tempered_loss(test, data.y_test, b),
    )


def _outputs(network: Network, x: Tensor) -> Tensor:
    return torch.cat([network.logits(images) for images in x.split(evaluation_batch(network.architecture))])


def _mean_loss(loss: Loss, outputs_NK: Tensor, y: Tensor) -> float | None:
    value = summed_loss(loss, outputs_NK, y) / len(y)
    return value if math.isfinite(value) else None


def barrier(measure: str, scores: Sequence[Score]) -> Barrier:
    """The barrier of one measure over the places of a path.

    >>> ends, middle = Score(loss_test=1.0), Score(loss_test=4.0)
    >>> barrier("loss_test", [ends, middle, ends])
    Barrier(source=1.0, target=1.0, barrier=3.0, peak=0.5)
    """
    values = [getattr(one, measure) for one in scores]
    if None in values:
        return Barrier(values[0], values[-1], None, None)
    y_T = np.array(values)
    rise_T = rises(y_T) if measure in LOSSES else -rises(y_T)
    peak = int(rise_T.argmax())
    return Barrier(values[0], values[-1], float(rise_T[peak]), places(len(values))[peak])


def rises(y_T: np.ndarray) -> np.ndarray:
    """How far a curve lies above the straight line between its ends; exactly 0 there."""
    t_T = np.array(places(len(y_T)))
    rise_T = y_T - (y_T[0] + t_T * (y_T[-1] - y_T[0]))
    rise_T[[0, -1]] = 0.0
    return rise_T
