"""A net of the same distribution as a trained one, drawn layer by layer: a rainbow network.

Guth, Menard, Rochette & Mallat 2023, "A rainbow in deep network black boxes": the weights of a layer are
independent draws of a Gaussian whose covariance is that of the trained layer. They read the layer below
through the rotation that aligns its drawn features to the trained net's. Legend: as in
`tasks.grafting.nulls.sample_walk`; K inputs of one channel, its bias included.
"""

from __future__ import annotations

import torch
from torch import Tensor

from espalier.tasks.grafting.nulls.sample_walk import Walk, channels_CR
from espalier.tasks.networks.batch_norm import EPSILON
from espalier.tasks.networks.network import Network
from espalier.tasks.seeds import stream


def drawn_anew(trained: Network, x: Tensor, *names: int | str) -> Network:
    """A net whose layers below the last are drawn from Gaussians with the trained ones' mean and covariance.

    A channel's inputs and bias are one vector, with the layer's BN taken into it; the Gaussian has the mean
    and the covariance of these vectors over the layer's channels. The last layer is the trained one, aligned.

    Args:
        trained: The net, without shortcuts.
        x: Training images (N, C, H, W), on which layers are aligned.
        names: Name the stream of random numbers.
    """
    made = dict(trained.parameters)
    network = Network(trained.architecture, made)
    here, there, depth = Walk(x), Walk(x), trained.architecture.depth
    for layer in range(1, depth + 1):
        weight, bias_C = _affine(trained, layer)
        if layer < depth:
            weight, bias_C = draw(weight, bias_C, stream("resampled", *names, layer))
        turn_CC = rotation(here, there)
        made[f"layers.{layer}.weight"] = _turned(weight, turn_CC).float()
        made[f"layers.{layer}.bias"] = bias_C.float()
        made.update(_no_norm(trained, layer))
        here.pass_through(network, layer)
        there.pass_through(trained, layer)
    return network


def draw(weight: Tensor, bias_C: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """As many vectors of weight and bias, from the Gaussian with their mean and covariance.

    Sums of the centred vectors with independent normal coefficients have that covariance, whatever its rank.
    """
    rows_CK = torch.cat([weight.flatten(1), bias_C[:, None]], 1)
    mean_K = rows_CK.mean(0)
    count = len(rows_CK)
    mix_CC = torch.randn(count, count, generator=generator, dtype=torch.float64).to(rows_CK.device)
    drawn_CK = mean_K + mix_CC @ (rows_CK - mean_K) / count**0.5
    return drawn_CK[:, :-1].reshape(weight.shape), drawn_CK[:, -1]


def rotation(here: Walk, there: Walk) -> Tensor:
    """The orthogonal map (C, C) that takes the features of `here` nearest to those of `there`.

    The orthogonal Procrustes problem (Schonemann 1966): `U V^T` for the singular vectors of the two nets'
    uncentred cross-covariance.
    """
    pairs = zip(there.inputs(), here.inputs(), strict=True)
    cross_CC = sum((channels_CR(one) @ channels_CR(other).T for one, other in pairs), torch.zeros(()))
    left_CC, _, right_CC = torch.linalg.svd(cross_CC)
    return left_CC @ right_CC


def _turned(weight: Tensor, turn_CC: Tensor) -> Tensor:
    """The weight (out, C, ...) that reads what `turn_CC` makes of its inputs; a dense layer's in blocks."""
    blocks = weight.reshape(len(weight), len(turn_CC), -1)
    return torch.einsum("ocp,cd->odp", blocks, turn_CC).reshape(weight.shape)


def _no_norm(trained: Network, layer: int) -> dict[str, Tensor]:
    """BN of a layer that changes nothing, if it has one."""
    values = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0 - EPSILON}
    names = {
        name: value
        for part, value in values.items()
        if (name := f"layers.{layer}.bn.{part}") in trained.parameters
    }
    return {name: torch.full_like(trained.parameters[name], value) for name, value in names.items()}


def _affine(trained: Network, layer: int) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer in float64, its BN taken into them."""
    name = f"layers.{layer}"
    weight, bias_C = (trained.parameters[f"{name}.{part}"].double() for part in ("weight", "bias"))
    if not trained.architecture.layers[layer - 1].batch_norm:
        return weight, bias_C
    scale_C, shift_C, mean_C, variance_C = (
        trained.parameters[f"{name}.bn.{part}"].double()
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    factor_C = scale_C / (variance_C + EPSILON).sqrt()
    factors = factor_C.reshape(-1, *[1] * (weight.dim() - 1))
    return weight * factors, (bias_C - mean_C) * factor_C + shift_C
