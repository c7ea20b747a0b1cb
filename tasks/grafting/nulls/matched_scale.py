"""An initial net at a trained net's statistics: every channel's mean and deviation, layer by layer.

Legend: as in `tasks.grafting.nulls.sample_walk`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from espalier.tasks.grafting.fvu import known_variance
from espalier.tasks.grafting.nulls.sample_walk import Walk, channels_CR
from espalier.tasks.networks.batch_norm import EPSILON, batch_norm
from espalier.tasks.networks.network import Network, initialise
from espalier.tasks.spec import NetSpec


def at_the_scale_of(trained: Network, net: NetSpec, x: Tensor) -> Network:
    """The net at epoch 0, with the channel means and deviations that the trained one has before each ReLU.

    Channel by channel: those of training grew out of the initial ones. A map without BN is scaled and
    shifted; with BN its statistics are the initial net's own, and its weight and bias give the trained net's.
    A channel that is constant at epoch 0 becomes constant at the trained channel's mean.

    Args:
        trained: A snapshot of the net, with BN as it is used.
        net: Its description, from which the initial weights follow.
        x: Training images (N, C, H, W).
    """
    start = initialise(net)
    made = {name: value.to(x.device) for name, value in start.parameters.items()}
    network = Network(start.architecture, made)
    here, there = Walk(x), Walk(x)
    layers = trained.architecture.layers
    for layer, described in enumerate(layers, start=1):
        for into, above in enumerate(layers, start=1):
            crossing = above.shortcut
            if crossing is not None and crossing.projection and crossing.reads == layer - 1:
                outputs = here.shortcut(network, into), there.shortcut(trained, into)
                _match(made, f"layers.{into}.shortcut", *outputs, trained, crossing.batch_norm)
        outputs = here.outputs(network, layer), there.outputs(trained, layer)
        _match(made, f"layers.{layer}", *outputs, trained, described.batch_norm)
        here.pass_through(network, layer)
        there.pass_through(trained, layer)
    return network


def _match(
    made: dict[str, Tensor],
    name: str,
    here: Sequence[Tensor],
    there: Sequence[Tensor],
    trained: Network,
    normed: bool,
) -> None:
    """Give a map of the initial net the moments of the trained net's, which gave `there`, after its BN."""
    mean_C, variance_C = _moments(here)
    if normed:
        there = [batch_norm(f"{name}.bn", z, trained.parameters) for z in there]
    wanted_C, wanted_variance_C = _moments(there)
    live_C = variance_C > 0
    scale_C = torch.where(live_C, wanted_variance_C / variance_C.where(live_C, 1.0), 0.0).sqrt()
    if normed:
        values = {
            "running_mean": mean_C,
            "running_var": variance_C,
            "weight": scale_C * (variance_C + EPSILON).sqrt(),
            "bias": wanted_C,
        }
        made.update({f"{name}.bn.{part}": value.float() for part, value in values.items()})
        return
    weight, bias_C = made[f"{name}.weight"], made[f"{name}.bias"].double()
    rows_CD = weight.double().flatten(1) * scale_C[:, None]
    made[f"{name}.weight"] = rows_CD.reshape(weight.shape).float()
    made[f"{name}.bias"] = ((bias_C - mean_C) * scale_C + wanted_C).float()


def _moments(outputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and variance (C,) over images and positions; a variance that is rounding is 0."""
    rows_CR = torch.cat([channels_CR(z) for z in outputs], 1)
    mean_C = rows_CR.mean(1)
    return mean_C, known_variance(mean_C, rows_CR.var(1, correction=0))
