"""Train nets from one snapshot to the next, resumable at snapshots with the same bits.

Nets of one architecture and recipe may be trained together, as one net with as many times the channels
(`tasks.training.stack`): each has its own order of images, place in the schedule and masks of dropout, and
one that diverges leaves the others alone. Legend: S nets, N images of a batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from espalier.tasks.data.augment import draws, training_batch
from espalier.tasks.data.tensors import Data
from espalier.tasks.data.training_set import training_set
from espalier.tasks.kernels.compiled import faster
from espalier.tasks.networks.architectures import is_trained
from espalier.tasks.networks.batch_norm import Training
from espalier.tasks.networks.layout import laid
from espalier.tasks.networks.network import Network, initialise
from espalier.tasks.seeds import stream
from espalier.tasks.spec import ALONE, COMPILED, NetSpec, Snapshot, TrainMode, TrainSegment
from espalier.tasks.tables.axes import net_axes
from espalier.tasks.training.evaluation import Judged, evaluate, net_row
from espalier.tasks.training.loss import net_losses, net_right
from espalier.tasks.training.precision import autocast, tf32
from espalier.tasks.training.schedule import factor
from espalier.tasks.training.stack import moved, own, part, stack
from espalier.tasks.training.steps import Steps


class Diverged(ArithmeticError):
    """The loss or a parameter is no longer finite; training the same key again would diverge again."""

    hopeless = True


@dataclass(frozen=True)
class State:
    """Where training stands after `epoch`: parameters, with BN's statistics, and the optimizer's state."""

    parameters: dict[str, Tensor]
    momentum: dict[str, Tensor]
    epoch: int


@dataclass(frozen=True)
class Trained:
    """The result of a segment: the net, a state to resume from, a row of `nets` if wanted, its `curves`."""

    network: Network
    state: State
    net_row: dict[str, Any]
    curve_rows: list[dict[str, Any]]


def order(net: NetSpec, epoch: int, images: int) -> Tensor:
    """The order of the training images in `epoch` (from 1), from its own random stream: no state is kept."""
    return torch.randperm(images, generator=stream("order", *net.order, epoch))


def initial_state(net: NetSpec) -> State:
    """The state before any training."""
    return State(dict(initialise(net).parameters), {}, 0)


def train(segment: TrainSegment, state: State, data: Data, mode: TrainMode = ALONE) -> Trained:
    """Go from `state` to the segment's snapshot.

    Raises:
        Diverged: A loss or a parameter is NaN or infinite; says at which epoch.
    """
    (result,) = train_group([segment], [state], data, mode)
    if isinstance(result, Diverged):
        raise result
    return result


def train_group(
    segments: Sequence[TrainSegment],
    states: Sequence[State],
    data: Data,
    mode: TrainMode,
    *,
    with_rows: bool = True,
) -> list[Trained | Diverged]:
    """Go from each state to its segment's snapshot, all at once or one after another, as `mode` says.

    A net's row takes an evaluation of all images; without `with_rows` it is empty.

    Raises:
        ValueError: The nets differ in more than seed, order and epochs.
    """
    if len({replace(s.snapshot.net, seed=0, order=(), tuning=None) for s in segments}) > 1:
        raise ValueError("nets that are trained together may differ in seed and order alone")
    data = training_set(segments[0].snapshot.net.recipe, data)
    near = data._replace(x_train=laid(data.x_train, mode.layout), x_test=laid(data.x_test, mode.layout))
    if not mode.grouped:
        pairs = zip(segments, states, strict=True)
        return [Group([one], [state], near, mode, with_rows=with_rows).run()[0] for one, state in pairs]
    # Convs of one group have other bits than those of several, whose number makes no difference: so a net
    # left alone is trained beside a copy of itself.
    copies = 2 if len(segments) == 1 else 1
    group = Group([*segments] * copies, [*states] * copies, near, mode, with_rows=with_rows)
    return group.run()[: len(segments)]


class Group:
    """Nets in training, their tensors stacked."""

    def __init__(
        self,
        segments: Sequence[TrainSegment],
        states: Sequence[State],
        data: Data,
        mode: TrainMode,
        *,
        with_rows: bool = True,
    ) -> None:
        self._segments, self._data, self._mode, self._with_rows = segments, data, mode, with_rows
        self._nets, self._epochs = len(segments), [state.epoch for state in states]
        self._net = segments[0].snapshot.net
        device = data.x_train.device
        tensors = moved(stack([state.parameters for state in states], mode.layout), device)
        self._parameters = {name: value.requires_grad_(is_trained(name)) for name, value in tensors.items()}
        aligned = (
            len({(s.snapshot.epoch, epoch) for s, epoch in zip(segments, self._epochs, strict=True)}) == 1
        )
        momentum = [moved(state.momentum, device) for state in states]
        self._steps = Steps(self._net, self._parameters, momentum, aligned, mode.layout)
        self._curves: list[list[dict[str, Any]]] = [[] for _ in segments]
        self._results: dict[int, Trained | Diverged] = {}

    def run(self) -> list[Trained | Diverged]:
        """Train until every net has diverged or is where its segment ends."""
        self._finish()
        while open_nets := [index for index in range(self._nets) if index not in self._results]:
            start = time.perf_counter()
            rows = self.epoch()
            seconds = (time.perf_counter() - start) / len(open_nets)
            for index in open_nets:
                self._tested(index, rows[index], seconds)
            self._finish()
        return [self._results[index] for index in range(self._nets)]

    def epoch(self) -> list[dict[str, float | None]]:
        """One more pass over the training images; each net's mean loss and accuracy during it."""
        with tf32(self._net.recipe.precision):
            return self._epoch()

    def _epoch(self) -> list[dict[str, float | None]]:
        self._epochs = [epoch + 1 for epoch in self._epochs]
        recipe, nets, x, y = self._net.recipe, self._nets, self._data.x_train, self._data.y_train
        architecture = self._net.architecture
        specs, epochs, images = [s.snapshot.net for s in self._segments], self._epochs, len(y)
        numbered = list(zip(specs, epochs, strict=True))
        orders_SN = torch.stack([order(net, epoch, images) for net, epoch in numbered])
        drawn = [draws(net, epoch, images) for net, epoch in numbered]
        batches, losses, right = orders_SN.split(recipe.batch_size, 1), [], []
        rates: list[float] = []
        for step, batch_SN in enumerate(batches, start=1):
            rates = [recipe.lr * factor(recipe.schedule, epoch - 1 + step / len(batches)) for epoch in epochs]
            # BN's statistics move in place; the masks of dropout have a stream for each step.
            first, *others = [(net.seed, net.width, epoch, step) for net, epoch in numbered]
            acting = Training(*first, others=others)
            network = self._form(Network(architecture, self._parameters, acting, nets))
            seen = [training_batch(x, batch, draw) for batch, draw in zip(batch_SN, drawn, strict=True)]
            with autocast(recipe.precision, x):
                outputs = network.logits(laid(torch.cat(seen, 1), self._mode.layout))
            outputs = outputs.to(x.dtype)
            labels = y[batch_SN.t()]
            each = net_losses(recipe.loss, outputs, labels, nets)
            self._steps.take(each.sum(), rates)
            losses.append(each.detach())
            right.append(net_right(recipe.loss, outputs.detach(), labels, nets))
        sizes = [batch.shape[1] for batch in batches]
        return [
            {
                "loss_train": sum(loss * size for loss, size in zip(of_net, sizes, strict=True)) / images,
                "accuracy_train": share,
                "learning_rate": rate,
            }
            for of_net, share, rate in zip(
                torch.stack(losses, 1).tolist(), _shares(right, images, nets), rates, strict=True
            )
        ]

    def _form(self, network: Network) -> Network:
        """The network as the mode computes it, for evaluation as for training."""
        whole = self._net.recipe.precision != "bf16"  # compiled kernels know float32 alone
        return faster(network) if self._mode == COMPILED and whole else network

    def network(self, index: int) -> Network:
        """One of the nets: views of its tensors, which go on changing."""
        plain = {name: value.detach() for name, value in self._parameters.items()}
        return Network(self._net.architecture, part(plain, index, self._nets))

    def _tested(self, index: int, row: dict[str, Any], seconds: float) -> None:
        """Finish an epoch's row of one net; `seconds` is its share of the epoch so far."""
        start, snapshot, data = time.perf_counter(), self._segments[index].snapshot, self._data
        judged = self._judge(index, data.x_test, data.y_test)
        row["loss_test"], row["accuracy_test"] = judged
        epoch = self._epochs[index]
        if problem := _infinite(row | self._largest(index), snapshot.net, epoch):
            self._results[index] = Diverged(problem)
            return
        row["seconds"] = seconds + time.perf_counter() - start
        at = Snapshot(snapshot.key, snapshot.net_key, snapshot.net, epoch)
        self._curves[index].append({"key": snapshot.net_key, **net_axes(at), **row})

    def _judge(self, index: int, x: Tensor, y: Tensor) -> Judged:
        network = self.network(index)
        if self._nets > 1:
            # Where tensors begin in memory may change a product's bits: a copy begins where every net's does.
            copies = {name: value.clone() for name, value in network.parameters.items()}
            network = Network(network.architecture, copies)
        return evaluate(self._form(network), x, y, self._net.recipe.loss)

    def _net_row(self, index: int) -> dict[str, Any]:
        """The row of a net where its segment ends; its last epoch evaluated it on the test images."""
        snapshot, data = self._segments[index].snapshot, self._data
        last = self._curves[index][-1:]
        test = (
            Judged(last[0]["loss_test"], last[0]["accuracy_test"])
            if last
            else self._judge(index, data.x_test, data.y_test)
        )
        train = self._judge(index, data.x_train, data.y_train)
        return net_row(snapshot, train, test)

    def _largest(self, index: int) -> dict[str, float]:
        """A net's largest parameter: NaN or infinite if any is."""
        of_net = part(self._parameters, index, self._nets)
        found = [value.detach().abs().max() for name, value in of_net.items() if is_trained(name)]
        return {"largest parameter": float(torch.stack(found).max())}

    def _finish(self) -> None:
        """Collect the nets whose segments have ended."""
        for index, segment in enumerate(self._segments):
            snapshot = segment.snapshot
            if index not in self._results and self._epochs[index] >= snapshot.epoch:
                network = self.network(index)
                row = self._net_row(index) if self._with_rows else {}
                plain = own(network.parameters)
                state = State(plain, self._steps.state(index), snapshot.epoch)
                net = Network(network.architecture, plain)
                self._results[index] = Trained(net, state, row, self._curves[index])


def _shares(right: Sequence[torch.Tensor | None], images: int, nets: int) -> list[float | None]:
    """Each net's accuracy from its right answers by batch; None of a regression."""
    counts = [count for count in right if count is not None]
    return [int(count) / images for count in torch.stack(counts).sum(0)] if counts else [None] * nets


def _infinite(row: dict[str, float | None], net: NetSpec, epoch: int) -> str:
    """What is not finite after an epoch, losses or parameters, if anything."""
    for name in ("loss_train", "loss_test", "largest parameter"):
        value = row[name]
        if value is None or not math.isfinite(value):
            return (
                f"{name} is {value} in epoch {epoch} at width {net.width}, seed {net.seed}: "
                f"a lower train.lr than {net.recipe.lr:g} or a longer train.warmup_epochs would do"
            )
    return ""
