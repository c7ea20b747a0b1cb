"""The optimizer of a net's parameters, by PyTorch's own functional steps.

SGD with momentum takes its steps in one pass (`tasks.kernels.compiled`) wherever tensors are float32 on a CPU
and kernels may be used, in every way of training.

Every tensor's rate is the schedule's times its factor in the net's parametrization
(`tasks.networks.parametrization`). The regularizer is left out of that: whatever the factor, a weight decays
by the schedule's rate times the weight of the regularizer times its gradient, so that decay takes as many
steps at every width. (Rates that carry the decay along would let it grow with the width in mup's first layer,
and vanish in its last one.)

`torch.optim.SGD` and `AdamW` take the same steps, but their first one imports PyTorch's compiler: 5 s of
every worker.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from espalier.tasks.kernels.compiled import sgd_step
from espalier.tasks.networks.architectures import is_trained
from espalier.tasks.networks.parametrization import factors
from espalier.tasks.spec import NetSpec
from espalier.tasks.training.regularizer import decays, gradient


@dataclass(frozen=True)
class _Group:
    """Tensors that take the same step: their factors, and their decay in units of their own rate."""

    names: tuple[str, ...]
    rate: float
    epsilon: float
    decay: float


class Optimizer(ABC):
    """Steps of named parameters, in place; tensors may be views of larger ones."""

    def __init__(self, net: NetSpec, parameters: Mapping[str, Tensor]) -> None:
        self._recipe = net.recipe
        self._parameters = {name: value for name, value in parameters.items() if is_trained(name)}
        self._groups = _groups(net, self._parameters)

    @property
    @abstractmethod
    def momentum(self) -> dict[str, Tensor]:
        """The state, from which another optimizer continues with the same bits; at first empty."""

    @abstractmethod
    def _step(self, group: _Group, gradients: dict[str, Tensor], rate: float) -> None: ...

    def step(self, loss: Tensor, rate: float) -> None:
        """Take one step down the loss, at the schedule's `rate`."""
        found = torch.autograd.grad(loss, list(self._parameters.values()))
        self.apply(dict(zip(self._parameters, found, strict=True)), rate)

    @torch.no_grad()
    def apply(self, gradients: dict[str, Tensor], rate: float) -> None:
        """Take one step by the loss's gradients and the regularizer."""
        for group in self._groups:
            self._step(group, gradients, rate)


def make_optimizer(
    net: NetSpec, parameters: Mapping[str, Tensor], state: Mapping[str, Tensor] | None = None
) -> Optimizer:
    """The optimizer of a net's recipe on its parameters, resuming from the `momentum` of an earlier one."""
    made = Sgd if net.recipe.optimizer == "sgd" else AdamW
    return made(net, parameters, state or {})


class Sgd(Optimizer):
    """SGD with momentum; the state is a buffer for each tensor, under its name."""

    def __init__(self, net: NetSpec, parameters: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
        super().__init__(net, parameters)
        self._buffers: dict[str, Tensor | None] = dict.fromkeys(self._parameters)
        self._buffers |= {name: buffer.clone() for name, buffer in state.items()}

    @property
    def momentum(self) -> dict[str, Tensor]:
        """The momentum buffers that exist: none before the first step."""
        return {name: buffer for name, buffer in self._buffers.items() if buffer is not None}

    def _step(self, group: _Group, gradients: dict[str, Tensor], rate: float) -> None:
        names, l12 = group.names, self._recipe.regularizer == "l12"
        given = [gradients[name] for name in names]
        if l12 and group.decay:
            given = [
                slope.add(gradient("l12", self._parameters[name]), alpha=group.decay)
                for name, slope in zip(names, given, strict=True)
            ]
        weights, decay = [self._parameters[name] for name in names], 0.0 if l12 else group.decay
        momentum, nesterov = self._recipe.momentum, self._recipe.nesterov
        buffers = [self._buffers[name] for name in names]
        step = sgd_step(weights, rate=rate * group.rate, decay=decay, momentum=momentum, nesterov=nesterov)
        if step:
            taken = [step.after(*each) for each in zip(weights, given, buffers, strict=True)]
            self._buffers |= dict(zip(names, taken, strict=True))
            return
        sgd(
            weights,
            given,
            buffers,
            foreach=True,
            weight_decay=decay,
            momentum=momentum,
            lr=rate * group.rate,
            dampening=0.0,
            nesterov=nesterov,
            maximize=False,
        )
        self._buffers |= dict(zip(names, buffers, strict=True))


class AdamW(Optimizer):
    """Adam with decoupled decay (Loshchilov & Hutter 2019), of l12 too: `w -= rate reg_weight dR/dw`.

    The state is `mean.NAME` and `square.NAME`, the running means of each tensor's gradient and of its
    square, and `steps`, how many were taken.
    """

    def __init__(self, net: NetSpec, parameters: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
        super().__init__(net, parameters)
        self._means, self._squares = (
            {
                name: state[f"{kind}.{name}"].clone()
                if state
                else torch.zeros_like(value, requires_grad=False)
                for name, value in self._parameters.items()
            }
            for kind in ("mean", "square")
        )
        self._steps = state["steps"].clone() if state else torch.zeros(())

    @property
    def momentum(self) -> dict[str, Tensor]:
        """The running means and the count; none before the first step."""
        if not self._steps:
            return {}
        means = {f"mean.{name}": value for name, value in self._means.items()}
        squares = {f"square.{name}": value for name, value in self._squares.items()}
        return means | squares | {"steps": self._steps}

    def apply(self, gradients: dict[str, Tensor], rate: float) -> None:
        """As `Optimizer.apply`, one more step counted."""
        super().apply(gradients, rate)
        self._steps += 1

    def _step(self, group: _Group, gradients: dict[str, Tensor], rate: float) -> None:
        recipe, names, l12 = self._recipe, group.names, self._recipe.regularizer == "l12"
        if l12 and group.decay:
            for name in names:
                weight = self._parameters[name]
                weight.sub_(gradient("l12", weight), alpha=rate * group.rate * group.decay)
        adamw(
            [self._parameters[name] for name in names],
            [gradients[name] for name in names],
            [self._means[name] for name in names],
            [self._squares[name] for name in names],
            [],
            [self._steps.clone() for _ in names],
            foreach=True,
            amsgrad=False,
            beta1=recipe.beta1,
            beta2=recipe.beta2,
            lr=rate * group.rate,
            weight_decay=0.0 if l12 else group.decay,
            eps=recipe.eps * group.epsilon,
            maximize=False,
        )


def _groups(net: NetSpec, parameters: Mapping[str, Tensor]) -> list[_Group]:
    """The tensors by their factors, those that decay apart, in the order of their names' first ones."""
    found: dict[tuple[float, float, float], list[str]] = {}
    by_name = factors(net)
    recipe = net.recipe
    for name in parameters:
        scale = by_name[name]
        decayed = decays(recipe.regularizer, recipe.reg_biases, name)
        decay = recipe.reg_weight / scale.rate if decayed else 0.0
        found.setdefault((scale.rate, scale.epsilon, decay), []).append(name)
    return [_Group(tuple(names), *key) for key, names in found.items()]
