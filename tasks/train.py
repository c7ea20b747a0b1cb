"""Train one net from one snapshot to the next: plain SGD, resumable at snapshots with the same bits."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.optim.sgd import sgd

from tasks.architectures import EVALUATION_BATCH, is_map_weight, is_trained, parameter_count
from tasks.batch_norm import Training
from tasks.data import Data
from tasks.loss import count_right, mean_loss, plus, share, summed_loss
from tasks.network import Network, initialise
from tasks.rows import net_axes
from tasks.seeds import stream
from tasks.spec import Loss, NetSpec, Recipe, Schedule, Snapshot, TrainSegment


class Diverged(ArithmeticError):
    """The loss is no finite number any more; the same key would diverge again."""

    hopeless = True


@dataclass(frozen=True)
class State:
    """Where training stands after `epoch`: parameters, with BN's statistics, and SGD's momentum, by name."""

    parameters: dict[str, Tensor]
    momentum: dict[str, Tensor]
    epoch: int


@dataclass(frozen=True)
class Trained:
    """What a segment gives: the net, its state to go on from, a row of `nets`, rows of `curves`."""

    network: Network
    state: State
    net_row: dict[str, Any]
    curve_rows: list[dict[str, Any]]


def factor(schedule: Schedule, epoch: float) -> float:
    """The learning rate at `epoch` (a real number) as a share of the recipe's.

    >>> cosine = Schedule("cosine", warmup_epochs=1.0, epochs=10)
    >>> [round(factor(cosine, epoch), 3) for epoch in (0.5, 5.0, 10.0)]
    [0.497, 0.5, 0.0]
    """
    warm = min(1.0, epoch / schedule.warmup_epochs) if schedule.warmup_epochs else 1.0
    if schedule.kind == "cosine":
        if schedule.epochs is None:
            raise ValueError("a cosine schedule needs its number of epochs")
        return warm * 0.5 * (1.0 + math.cos(math.pi * min(1.0, epoch / schedule.epochs)))
    passed = sum(epoch > milestone for milestone in schedule.milestones)
    return warm * schedule.gamma**passed


@torch.no_grad()
def evaluate(
    network: Network, x: Tensor, y: Tensor, loss: Loss = "cross_entropy"
) -> tuple[float, float | None]:
    """Mean loss and accuracy (None of a regression) over images `x` (N, C, H, W) with labels `y` (N,)."""
    total = 0.0
    right: int | None = 0
    for images, labels in zip(x.split(EVALUATION_BATCH), y.split(EVALUATION_BATCH), strict=True):
        outputs = network.logits(images)
        total += summed_loss(loss, outputs, labels)
        right = plus(right, count_right(loss, outputs, labels))
    return total / len(y), share(right, len(y))


def order(net: NetSpec, epoch: int, images: int) -> Tensor:
    """The order of the training images in `epoch` (from 1), from a stream of its own: no state to resume."""
    return torch.randperm(images, generator=stream("order", *net.order, epoch))


class _Sgd:
    """SGD on named parameters, by PyTorch's own functional step.

    The class `torch.optim.SGD` takes the same step, but its first one imports PyTorch's compiler: 5 s of
    every worker.
    """

    def __init__(self, recipe: Recipe, parameters: dict[str, Tensor], momentum: dict[str, Tensor]) -> None:
        self._recipe = recipe
        self._parameters = {name: value for name, value in parameters.items() if is_trained(name)}
        self._buffers: dict[str, Tensor | None] = dict.fromkeys(self._parameters)
        self._buffers |= {name: buffer.clone() for name, buffer in momentum.items()}

    @property
    def momentum(self) -> dict[str, Tensor]:
        """The momentum buffers that exist: none before the first step."""
        return {name: buffer for name, buffer in self._buffers.items() if buffer is not None}

    def step(self, loss: Tensor, rate: float) -> None:
        """Take one step; weights of linear maps decay, biases and BN do not."""
        gradients = dict(
            zip(self._parameters, torch.autograd.grad(loss, list(self._parameters.values())), strict=True)
        )
        decay = self._recipe.reg_weight if self._recipe.regularizer == "l2" else 0.0
        weights = [name for name in self._parameters if is_map_weight(name)]
        others = [name for name in self._parameters if not is_map_weight(name)]
        for names, weight_decay in ((weights, decay), (others, 0.0)):
            self._step(names, gradients, rate, weight_decay)

    @torch.no_grad()
    def _step(self, names: list[str], gradients: dict[str, Tensor], rate: float, decay: float) -> None:
        buffers = [self._buffers[name] for name in names]
        sgd(
            [self._parameters[name] for name in names],
            [gradients[name] for name in names],
            buffers,
            foreach=True,
            weight_decay=decay,
            momentum=self._recipe.momentum,
            lr=rate,
            dampening=0.0,
            nesterov=self._recipe.nesterov,
            maximize=False,
        )
        self._buffers |= dict(zip(names, buffers, strict=True))


def _epoch(
    network: Network, optimizer: _Sgd, net: NetSpec, epoch: int, data: Data
) -> dict[str, float | None]:
    """One pass over the training images; the mean loss and accuracy seen on the way."""
    recipe, images = net.recipe, len(data.y_train)
    batches = order(net, epoch, images).split(recipe.batch_size)
    total, rate = 0.0, 0.0
    right: int | None = 0
    for step, batch in enumerate(batches, start=1):
        rate = recipe.lr * factor(recipe.schedule, epoch - 1 + step / len(batches))
        # BN's statistics move in place; the masks of dropout have a stream for each step.
        training = replace(network, mode=Training(net.seed, net.width, epoch, step))
        outputs = training.logits(data.x_train[batch])
        loss = mean_loss(recipe.loss, outputs, data.y_train[batch])
        optimizer.step(loss, rate)
        total += loss.item() * len(batch)
        right = plus(right, count_right(recipe.loss, outputs.detach(), data.y_train[batch]))
    return {"loss_train": total / images, "accuracy_train": share(right, images), "learning_rate": rate}


def initial_state(net: NetSpec) -> State:
    """The state before any training."""
    return State(dict(initialise(net).parameters), {}, 0)


def train(segment: TrainSegment, state: State, data: Data) -> Trained:
    """Go from `state` to the segment's snapshot.

    Raises:
        Diverged: The loss is NaN or infinite; says at which epoch.
    """
    snapshot, net = segment.snapshot, segment.snapshot.net
    parameters = {
        name: value.clone().requires_grad_(is_trained(name)) for name, value in state.parameters.items()
    }
    network = Network(net.architecture, parameters)
    optimizer = _Sgd(net.recipe, parameters, state.momentum)
    curve_rows: list[dict[str, Any]] = []
    for epoch in range(state.epoch + 1, snapshot.epoch + 1):
        start = time.perf_counter()
        row = _epoch(network, optimizer, net, epoch, data)
        row["loss_test"], row["accuracy_test"] = evaluate(network, data.x_test, data.y_test, net.recipe.loss)
        _check_finite(row, net, epoch)
        row["seconds"] = time.perf_counter() - start
        at = Snapshot(snapshot.key, snapshot.net_key, net, epoch)
        curve_rows.append({"key": snapshot.net_key, **net_axes(at), **row})
    plain = {name: value.detach() for name, value in parameters.items()}
    trained = Network(net.architecture, plain)
    return Trained(
        trained,
        State(plain, optimizer.momentum, snapshot.epoch),
        net_row(snapshot, trained, data),
        curve_rows,
    )


def _check_finite(row: dict[str, float | None], net: NetSpec, epoch: int) -> None:
    for name in ("loss_train", "loss_test"):
        value = row[name]
        if value is None or not math.isfinite(value):
            raise Diverged(
                f"{name} is {value} in epoch {epoch} at width {net.width}, seed {net.seed}: "
                f"a lower train.lr than {net.recipe.lr:g} or a longer train.warmup_epochs would do"
            )


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
