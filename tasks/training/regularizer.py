"""What is added to the loss, times `reg_weight`: l2, l12 (Gu et al. 2020) or nothing, of linear maps.

With `biases`, l2 is of everything that is trained: biases, and the scales and shifts of BN.

    l2   half the sum of squared weights
    l12  sum over maps of  mean over in of (mean over ky, kx, out of |w| sqrt(c_in))^2

A dense layer is a conv with a 1x1 kernel here: each number that it reads is one of its c_in inputs, also
where these are the positions of a conv's maps.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from espalier.tasks.networks.architectures import is_map_weight, is_trained
from espalier.tasks.spec import Regularizer


def decays(regularizer: Regularizer, biases: bool, name: str) -> bool:
    """Whether a net's tensor is one of those that the regularizer is of."""
    every = biases and regularizer == "l2"
    return regularizer != "none" and (is_trained(name) if every else is_map_weight(name))


def penalty(regularizer: Regularizer, parameters: Mapping[str, Tensor], biases: bool = False) -> Tensor:
    """The regularizer of a net, without its weight."""
    weights = [value for name, value in parameters.items() if decays(regularizer, biases, name)]
    if regularizer == "none" or not weights:
        return torch.zeros(())
    if regularizer == "l2":
        return 0.5 * torch.stack([weight.square().sum() for weight in weights]).sum()
    return torch.stack([_scaled_means(weight).square().mean() for weight in weights]).sum()


def gradient(regularizer: Regularizer, weight: Tensor) -> Tensor:
    """The penalty's gradient by the weight of one map; for l12 the slope of |w| at 0 is taken as 0."""
    if regularizer == "none":
        return torch.zeros_like(weight)
    if regularizer == "l2":
        return weight
    inputs, averaged = weight.shape[1], weight[:, 0].numel()
    means_I = _scaled_means(weight) * (2.0 * inputs**-0.5 / averaged)
    return weight.sign() * means_I.reshape(1, -1, *[1] * (weight.dim() - 2))


def _scaled_means(weight: Tensor) -> Tensor:
    """For each input channel the mean of |w| sqrt(c_in), of (out, in) or (out, in, ky, kx)."""
    rest = [axis for axis in range(weight.dim()) if axis != 1]
    return weight.abs().mean(rest) * weight.shape[1] ** 0.5
