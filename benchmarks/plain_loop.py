"""Training as one writes it by hand: modules, `torch.optim.SGD`, shuffled batches, one net after another."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from espalier.tasks.data.tensors import Data
from espalier.tasks.networks.architectures import input_shapes
from espalier.tasks.networks.network import Parameters
from espalier.tasks.spec import Architecture, Recipe


def modules(architecture: Architecture) -> nn.Sequential:
    """The layers as modules; those of the families conv and VGG, which have no shortcuts."""
    made: list[nn.Module] = []
    for layer, (channels, height, width) in zip(architecture.layers, input_shapes(architecture), strict=True):
        if layer.kind == "dense":
            made += [nn.Flatten(), nn.Linear(channels * height * width, layer.out)]
        else:
            made.append(nn.Conv2d(channels, layer.out, layer.kernel, padding=layer.padding))
        if layer.batch_norm:
            made.append(nn.BatchNorm2d(layer.out))
        if layer.activation == "relu":
            made.append(nn.ReLU())
        if layer.pool > 1:
            made.append(nn.MaxPool2d(layer.pool))
        if layer.dropout:
            made.append(nn.Dropout(layer.dropout))
    return nn.Sequential(*made)


def begin_from(model: nn.Sequential, parameters: Parameters) -> None:
    """Give the modules a net's parameters (of one without BN), so that both start alike."""
    with torch.no_grad():
        for value, given in zip(model.parameters(), parameters.values(), strict=True):
            value.copy_(given)


def optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD; weights of maps decay, biases and BN do not."""
    weights = [value for value in model.parameters() if value.dim() > 1]
    others = [value for value in model.parameters() if value.dim() == 1]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": recipe.reg_weight},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov)


def fit(
    model: nn.Sequential, recipe: Recipe, epochs: int, data: Data, orders: list[Tensor] | None = None
) -> list[tuple[float, float]]:
    """Train; mean training loss and held-out accuracy by epoch. `orders` replaces the shuffles."""
    steps, curve = optimizer(model, recipe), []
    for epoch in range(epochs):
        model.train()
        total = 0.0
        shuffled = torch.randperm(len(data.y_train)) if orders is None else orders[epoch]
        for batch in shuffled.split(recipe.batch_size):
            images, labels = data.x_train[batch], data.y_train[batch]
            steps.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            steps.step()
            total += loss.item() * len(batch)
        curve.append((total / len(shuffled), accuracy(model, data.x_test, data.y_test)))
    return curve


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor, batch: int = 1024) -> float:
    """Share of images classified rightly."""
    model.eval()
    right = sum(
        int((model(images).argmax(1) == labels).sum())
        for images, labels in zip(x.split(batch), y.split(batch), strict=True)
    )
    return right / len(y)


def train_nets(architecture: Architecture, recipe: Recipe, epochs: int, data: Data, nets: int) -> None:
    """Nets one after another, each judged on the training images too at its end."""
    for _ in range(nets):
        model = modules(architecture).to(data.x_train.device)
        fit(model, recipe, epochs, data)
        accuracy(model, data.x_train, data.y_train)
