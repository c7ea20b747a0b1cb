"""The optimizers of nets that are trained together.

Nets at one place of one schedule take their steps as one, if the recipe treats every number by itself.
Otherwise each net has an optimizer of its own, on views.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from espalier.tasks.networks.architectures import is_trained
from espalier.tasks.spec import Layout, NetSpec
from espalier.tasks.training.optimizer import make_optimizer
from espalier.tasks.training.stack import Tensors, own, part, stack


class Steps:
    """Steps of S nets whose parameters, the leaves of the loss, are stacked in `parameters`.

    `states` are what earlier optimizers left of each net; `aligned` says that all nets are at the same epoch.
    """

    def __init__(
        self,
        net: NetSpec,
        parameters: dict[str, Tensor],
        states: Sequence[Tensors],
        aligned: bool,
        layout: Layout,
    ) -> None:
        self._nets, self._leaves = len(states), parameters
        # The means of l12 are taken over one net's weights.
        self._as_one = len(states) == 1 or (aligned and net.recipe.regularizer != "l12")
        if self._as_one:
            self._optimizers = [make_optimizer(net, parameters, stack(states, layout))]
            return
        plain = {name: value.detach() for name, value in parameters.items()}
        views = [part(plain, index, self._nets) for index in range(self._nets)]
        laid = [stack([state], layout) for state in states]
        self._optimizers = [make_optimizer(net, *both) for both in zip(views, laid, strict=True)]

    def take(self, loss: Tensor, rates: Sequence[float]) -> None:
        """Take one step of every net down the sum of their losses, each at its own learning rate."""
        names = [name for name in self._leaves if is_trained(name)]
        found = torch.autograd.grad(loss, [self._leaves[name] for name in names])
        gradients = dict(zip(names, found, strict=True))
        if self._as_one:
            self._optimizers[0].apply(gradients, rates[0])
            return
        for index, (optimizer, rate) in enumerate(zip(self._optimizers, rates, strict=True)):
            optimizer.apply(part(gradients, index, self._nets), rate)

    def state(self, index: int) -> dict[str, Tensor]:
        """The state from which one net's optimizer continues."""
        if self._as_one:
            return own(part(self._optimizers[0].momentum, index, self._nets))
        return own(self._optimizers[index].momentum)
