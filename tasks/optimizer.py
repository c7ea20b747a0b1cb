"""The optimizer of a net's parameters, by PyTorch's own functional steps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.sgd import sgd

from tasks.architectures import is_map_weight, is_trained
from tasks.spec import Recipe


class Sgd:
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
