"""A sweep's recipe as one writes it by hand, beside what the sweep gave: both curves in one figure.

Modules, `torch.optim.SGD` with a `LambdaLR`, penalty and crops as plain code: nothing of `tasks` but the
images and the layer list. Where the curves part by more than seeds do, one of them trains something else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.plain_loop import accuracy, begin_from, modules
from espalier import Sweep
from espalier import load as load_tables
from espalier.analysis.limits.selection import where
from espalier.orchestrator.planning.nets import nets
from espalier.tasks.data import load as load_images
from espalier.tasks.data.tensors import Data
from espalier.tasks.networks.network import Parameters
from espalier.tasks.spec import NetSpec, Recipe

BORDER = 4


def run(folder: Path, width: int, seed: int) -> dict[str, Any]:
    """Train one net of a sweep's recipe by hand; write its curve and the figure to `FOLDER/plain`.

    Raises:
        ValueError: The sweep has no net of that width, or its recipe is not SGD.
    """
    sweep = Sweep(folder)
    found = [net for net in nets(sweep.config, sweep.facts) if net.width == width]
    if not found:
        raise ValueError(f"--width {width}: {folder} has widths {list(sweep.config.sweep.widths)}")
    refuse_more_than_is_here(found[0])
    data_config = sweep.config.data
    data = load_images(
        data_config.dataset,
        limit_train=data_config.limit_train,
        limit_test=data_config.limit_test,
        folder=folder,
    )
    curve = fit(found[0], sweep.config.train.epochs, data, seed)
    out = folder / "plain"
    out.mkdir(exist_ok=True)
    result = {"width": width, "seed": seed, "torch": torch.__version__, "epochs": curve}
    (out / f"width-{width}-seed-{seed}.json").write_text(json.dumps(result, indent=2) + "\n")
    draw(folder)
    return result


def refuse_more_than_is_here(net: NetSpec) -> None:
    """Raise ValueError where a recipe asks for what this loop does not have."""
    recipe = net.recipe
    odd = {
        "optimizer": recipe.optimizer != "sgd",
        "schedule": recipe.schedule.kind == "cosine",
        "precision": recipe.precision != "float32",
        "label_noise": bool(recipe.label_noise),
        "class_keep": bool(recipe.class_keep),
        "parametrization": net.parametrization != "sp",
    }
    for name, asked in odd.items():
        if asked:
            raise ValueError(f"the plain loop knows nothing of this sweep's {name}: compare another one")


def fit(
    net: NetSpec,
    epochs: int,
    data: Data,
    seed: int,
    begin: Parameters | None = None,
    orders: list[Tensor] | None = None,
) -> list[dict[str, float]]:
    """Train by hand; one line per epoch. `begin` and `orders` take the place of what `seed` draws."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    recipe, model = net.recipe, modules(net.architecture)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    if begin is not None:
        begin_from(model, begin)
    optimizer = torch.optim.SGD(model.parameters(), recipe.lr, recipe.momentum, nesterov=recipe.nesterov)
    steps = -(-len(data.y_train) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(recipe, (step + 1) / steps))
    curve = []
    for epoch in range(1, epochs + 1):
        model.train()
        total = 0.0
        shuffled = torch.randperm(len(data.y_train)) if orders is None else orders[epoch - 1]
        for batch in shuffled.split(recipe.batch_size):
            images = data.x_train[batch]
            if recipe.augment == "crop_flip":
                images = torch.stack([cropped(image) for image in images])
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), data.y_train[batch])
            (loss + recipe.reg_weight * penalty(model, recipe.regularizer, recipe.reg_biases)).backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        held_out = accuracy(model, data.x_test, data.y_test)
        curve.append({"epoch": epoch, "loss_train": total / len(data.y_train), "accuracy_test": held_out})
    return curve


def rate(recipe: Recipe, epoch: float) -> float:
    """The schedule's factor: warm-up, then steps."""
    warm = min(1.0, epoch / recipe.schedule.warmup_epochs) if recipe.schedule.warmup_epochs else 1.0
    return warm * recipe.schedule.gamma ** sum(epoch > milestone for milestone in recipe.schedule.milestones)


def cropped(image_CHW: Tensor) -> Tensor:
    """A random crop from a border of zeros, flipped half of the time."""
    height, width = image_CHW.shape[1:]
    top, left = torch.randint(2 * BORDER + 1, (2,)).tolist()
    crop = F.pad(image_CHW, (BORDER,) * 4)[:, top : top + height, left : left + width]
    return crop.flip(2) if torch.rand(()) < 0.5 else crop


def penalty(model: nn.Module, regularizer: str, biases: bool = False) -> Tensor:
    """Half the squares, or Gu et al.'s l12, of all maps' weights; with `biases` l2 of all parameters."""
    weights = [layer.weight for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    if regularizer == "none":
        return torch.zeros(())
    if regularizer == "l2":
        squared = model.parameters() if biases else weights
        return sum((weight.square().sum() / 2 for weight in squared), torch.zeros(()))
    by_input = [weight.transpose(0, 1).flatten(1).abs() * weight.shape[1] ** 0.5 for weight in weights]
    return sum((one.mean(1).square().mean() for one in by_input), torch.zeros(()))


def draw(folder: Path) -> None:
    """Every curve of the plain loop over those of the sweep's nets of the same width."""
    plain = [json.loads(path.read_text()) for path in sorted((folder / "plain").glob("*.json"))]
    curves = load_tables(folder).curves
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    shades = dict(zip(sorted({line["width"] for line in plain}), ("0.6", "0.3", "0.8"), strict=False))
    for axis, column in zip(axes, ("loss_train", "accuracy_test"), strict=True):
        for width, shade in shades.items():
            nets = where(curves, curves["width"] == width).sort_values("epoch").groupby("net")
            for number, (_, rows) in enumerate(nets):
                told = None if number else f"Espalier, width {width}, a line per seed"
                axis.plot(rows["epoch"], rows[column], color=shade, lw=1.5, label=told)
        for line in plain:
            by_hand = [epoch[column] for epoch in line["epochs"]]
            told = f"plain loop, width {line['width']}, seed {line['seed']}"
            axis.plot(range(1, len(by_hand) + 1), by_hand, lw=1.5, label=told)
        axis.set_xlabel("epoch")
        axis.set_ylabel({"loss_train": "training loss", "accuracy_test": "held-out accuracy"}[column])
    axes[0].legend(frameon=False)
    figure.savefig(folder / "plain" / "curves.png", dpi=150)
    plt.close(figure)
