"""How far a few steps of training move each layer, and how that depends on the width.

The coordinate check of Yang et al. 2022 ("Tensor Programs V", appendix D): in a parametrization whose
features keep moving at any width, the change of each layer's z_l after a few steps is of one size everywhere.

The last layer starts at 0 here (as that appendix recommends for any training). Otherwise the first steps
unlearn random outputs, whose size falls with the width in `mup` and `mean_field`, and at widths such as 8 to
128 this dominates the changes.

Legend: N images, C channels, H x W positions; z_l(t) is layer l before its nonlinearity after t steps. BN
uses the statistics of the images themselves and there is no dropout, so that only parameters move z_l.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count, islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from espalier.tasks.data.augment import draws, training_batch
from espalier.tasks.data.tensors import Data
from espalier.tasks.data.training_set import training_set
from espalier.tasks.networks.architectures import is_trained
from espalier.tasks.networks.batch_norm import EPSILON, Mode, Training
from espalier.tasks.networks.network import Network, initialise
from espalier.tasks.spec import NetSpec, Schedule, layer_name
from espalier.tasks.tables.axes import coordinate_axes
from espalier.tasks.training.loss import mean_loss
from espalier.tasks.training.optimizer import make_optimizer
from espalier.tasks.training.train import order

IMAGES = 128
"""Held-out images on which the changes are measured."""


class BatchStatistics(Mode):
    """BN by the statistics of the images at hand, and no dropout."""

    def normalise(self, name: str, z: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """BN by the batch."""
        weight, bias = (parameters[f"{name}.{part}"] for part in ("weight", "bias"))
        return F.batch_norm(z, None, None, weight, bias, training=True, eps=EPSILON)


def at_a_constant_rate(net: NetSpec, lr: float | None = None) -> NetSpec:
    """The net with its recipe's rate, or `lr`, from the first step on."""
    recipe = replace(net.recipe, schedule=Schedule("constant"), lr=lr or net.recipe.lr)
    return replace(net, recipe=recipe)


def coordinate_changes(
    net: NetSpec, data: Data, steps: int, drawn_outputs: bool = False
) -> list[dict[str, Any]]:
    """Rows of `tasks.tables.schemas.COORDINATES`: the root mean square change of each layer after each step.

    The net is trained as by its recipe: its optimizer, order of images, augmentation and dropout. With
    `drawn_outputs` its last layer starts as drawn. A change is infinite or NaN if training diverges.
    """
    data = training_set(net.recipe, data)
    x_NCHW = data.x_test[:IMAGES]
    started = initialise(net)
    if not drawn_outputs:
        last = f"layers.{net.architecture.depth}.weight"
        started = replace(
            started, parameters=dict(started.parameters) | {last: torch.zeros_like(started.parameters[last])}
        )
    start = outputs(started, x_NCHW)
    rows: list[dict[str, Any]] = []
    for step, network in enumerate(islice(_trained(net, started, data), steps), start=1):
        for layer, z in outputs(network, x_NCHW).items():
            rows.append(
                coordinate_axes(net)
                | {
                    "step": step,
                    "layer": layer,
                    "layer_name": layer_name(net.architecture, layer),
                    "initial": _root_mean_square(start[layer]),
                    "change": _root_mean_square(z - start[layer]),
                }
            )
    return rows


@torch.no_grad()
def outputs(network: Network, x_NCHW: Tensor) -> dict[int, Tensor]:
    """z_l of every layer, by its number."""
    measured = replace(network, mode=BatchStatistics())
    return {feature.layer: feature.z for feature in measured.features(x_NCHW)}


def _trained(net: NetSpec, started: Network, data: Data) -> Iterator[Network]:
    """The net after every step, the same one each time."""
    parameters = {
        name: value.clone().requires_grad_(is_trained(name)) for name, value in started.parameters.items()
    }
    network = Network(net.architecture, parameters)
    optimizer = make_optimizer(net, parameters)
    images = len(data.y_train)
    for epoch in count(1):
        drawn = draws(net, epoch, images)
        for step, batch in enumerate(order(net, epoch, images).split(net.recipe.batch_size), start=1):
            training = replace(network, mode=Training(net.seed, net.width, epoch, step))
            logits = training.logits(training_batch(data.x_train, batch, drawn))
            optimizer.step(mean_loss(net.recipe.loss, logits, data.y_train[batch]), net.recipe.lr)
            yield network


def _root_mean_square(values: Tensor) -> float:
    return values.double().square().mean().sqrt().item()
