"""Batch normalisation and dropout: what differs between a net in use, in training, and under re-estimation.

BN as in Ioffe & Szegedy (ICML 2015) and PyTorch: per channel `(z - mean) / sqrt(var + eps) x weight + bias`.
Legend: N images, C channels, H x W positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from espalier.tasks.seeds import stream

EPSILON = 1e-5
MOMENTUM = 0.1
"""Share of the newest batch in the running statistics."""


class Mode:
    """A net in use: BN by its stored statistics, no dropout."""

    def normalise(self, name: str, z: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """BN `name` (such as `layers.2.bn`) of `z` (N, C) or (N, C, H, W)."""
        return batch_norm(name, z, parameters)

    def drop(self, layer: int, share: float, h: Tensor) -> Tensor:  # noqa: ARG002
        """Dropout of `h_layer`."""
        return h


USE = Mode()


def batch_norm(name: str, z: Tensor, parameters: Mapping[str, Tensor], training: bool = False) -> Tensor:
    """BN by the stored statistics; in training by the batch's, which move the stored ones in place."""
    weight, bias, mean, var = (
        parameters[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
    )
    return F.batch_norm(z, mean, var, weight, bias, training=training, momentum=MOMENTUM, eps=EPSILON)


class Training(Mode):
    """A net in training, at one step: BN by the batch's statistics, dropout from the step's own streams.

    `names` name the streams: the net, the epoch and the step, so that a run that was cut draws the same
    masks. `others` are those of the nets that are trained beside it, side by side in C: each has its own.
    """

    def __init__(self, *names: int | str, others: Sequence[tuple[int | str, ...]] = ()) -> None:
        self._nets = (names, *others)

    def normalise(self, name: str, z: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """BN by the batch's statistics, which also update the stored ones."""
        return batch_norm(name, z, parameters, training=True)

    def drop(self, layer: int, share: float, h: Tensor) -> Tensor:
        """Zeros in the place of a random share, the rest scaled up."""
        if not share:
            return h
        shape = (len(h), h.shape[1] // len(self._nets), *h.shape[2:])
        draws = [torch.rand(shape, generator=stream("dropout", *names, layer)) for names in self._nets]
        return h * (torch.cat(draws, 1).to(h.device) >= share) / (1.0 - share)


class Reestimation(Mode):
    """BN by the batch's statistics, whose moments over all batches become the new stored ones.

    The variance is that of all values together, not a mean over batches. `channels` has every BN that may be
    passed: its sums are made at once, since small tensors that are made between large ones and outlive them
    keep the allocator from giving memory back (300 MB more for 126 grafts of a ResNet-20).
    """

    def __init__(self, channels: Mapping[str, int]) -> None:
        self._rows = dict.fromkeys(channels, 0)
        self._moments_2C = {
            name: torch.zeros(2, count, dtype=torch.float64) for name, count in channels.items()
        }

    def normalise(self, name: str, z: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """BN by the batch, whose moments are added up."""
        over = [axis for axis in range(z.dim()) if axis != 1]
        wide = z.double()
        moments_2C = self._moments_2C[name] = self._moments_2C[name].to(z.device)
        moments_2C[0] += wide.sum(over)
        moments_2C[1] += wide.square().sum(over)
        self._rows[name] += z.numel() // z.shape[1]
        weight, bias = (parameters[f"{name}.{part}"] for part in ("weight", "bias"))
        return F.batch_norm(z, None, None, weight, bias, training=True, eps=EPSILON)

    def statistics(self) -> dict[str, Tensor]:
        """The new `running_mean` and `running_var` (unbiased) of every BN that was passed."""
        found: dict[str, Tensor] = {}
        for name, rows in self._rows.items():
            if rows:
                mean_C, square_C = self._moments_2C[name] / rows
                variance_C = (square_C - mean_C.square()).clamp_min(0.0)
                found[f"{name}.running_mean"] = mean_C.float()
                found[f"{name}.running_var"] = (variance_C * rows / max(1, rows - 1)).float()
        return found
