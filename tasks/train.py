"""Train one net from one snapshot to the next, resumable at snapshots with the same bits."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tasks.architectures import is_trained
from tasks.augment import draws, training_batch
from tasks.batch_norm import Training
from tasks.data import Data
from tasks.evaluation import evaluate, net_row
from tasks.loss import count_right, mean_loss, plus, share
from tasks.network import Network, initialise
from tasks.optimizer import Optimizer, make_optimizer
from tasks.rows import net_axes
from tasks.schedule import factor
from tasks.seeds import stream
from tasks.spec import NetSpec, Snapshot, TrainSegment
from tasks.training_set import training_set


class Diverged(ArithmeticError):
    """The loss is no finite number any more; the same key would diverge again."""

    hopeless = True


@dataclass(frozen=True)
class State:
    """Where training stands after `epoch`: parameters, with BN's statistics, and the optimizer's state."""

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


def order(net: NetSpec, epoch: int, images: int) -> Tensor:
    """The order of the training images in `epoch` (from 1), from a stream of its own: no state to resume."""
    return torch.randperm(images, generator=stream("order", *net.order, epoch))


def _epoch(
    network: Network, optimizer: Optimizer, net: NetSpec, epoch: int, data: Data
) -> dict[str, float | None]:
    """One pass over the training images; the mean loss and accuracy seen on the way."""
    recipe, images = net.recipe, len(data.y_train)
    batches = order(net, epoch, images).split(recipe.batch_size)
    drawn = draws(net, epoch, images)
    total, rate = 0.0, 0.0
    right: int | None = 0
    for step, batch in enumerate(batches, start=1):
        rate = recipe.lr * factor(recipe.schedule, epoch - 1 + step / len(batches))
        # BN's statistics move in place; the masks of dropout have a stream for each step.
        training = replace(network, mode=Training(net.seed, net.width, epoch, step))
        outputs = training.logits(training_batch(data.x_train, batch, drawn))
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
    data = training_set(net.recipe, data)
    parameters = {
        name: value.clone().requires_grad_(is_trained(name)) for name, value in state.parameters.items()
    }
    network = Network(net.architecture, parameters)
    optimizer = make_optimizer(net, parameters, state.momentum)
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
