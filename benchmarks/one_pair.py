"""The two ways to one graft without sharing: Adam as in Gu et al. 2020, and patches with one solve.

Legend: N images, C output channels, D patch dimensions, M rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from espalier.tasks.data.tensors import Data
from espalier.tasks.grafting.adam import AdamMap, drawn, initial_weight, rates
from espalier.tasks.grafting.fvu import fraction_unexplained
from espalier.tasks.grafting.gram import ChannelMoments, channel_sums
from espalier.tasks.grafting.layer_input import LayerInput, channel_rows
from espalier.tasks.networks.cuts import Arm, arm_sizes
from espalier.tasks.networks.network import Network
from espalier.tasks.spec import GraftOptions, Layer
from espalier.tasks.training.loss import count_right, summed_loss

PATCH_BYTES = 2**28
"""Patches of so many images are held at once."""


@dataclass(frozen=True)
class OnePair:
    """A layer of `target` to be fitted on what `source` feeds it."""

    source: Network
    target: Network
    layer: int
    data: Data

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the layer reads of the source, and what it gives in the target."""
        return self.source.prefix(self.layer, x), self.target.layer(
            self.layer, self.target.prefix(self.layer, x)
        )

    @property
    def map(self) -> Layer:
        """The layer's linear map."""
        return self.target.architecture.layers[self.layer - 1]

    @torch.no_grad()
    def naive(self, ridge: float) -> float:
        """Patches by im2col, float64 products, one solve; held-out FVU."""
        sums: list[Any] = [0.0] * 5
        for x in self.data.x_train.split(self.images):
            h, z = self.features(x)
            u_MD, z_MC = LayerInput(self.map, h, "float64").patches_MD, channel_rows(z)
            parts = len(u_MD), u_MD.sum(0), z_MC.sum(0), u_MD.T @ u_MD, z_MC.T @ u_MD
            sums = [total + part for total, part in zip(sums, parts, strict=True)]
        return self.held_out(*solution(sums, ridge))

    @property
    def images(self) -> int:
        """Images whose patches are held at once."""
        arm = Arm(self.layer - 1, "z", self.layer)
        sizes = arm_sizes(self.source.architecture, self.target.architecture, arm)
        return max(1, PATCH_BYTES // (8 * sizes.dim * sizes.positions))

    @torch.no_grad()
    def held_out(self, weight_DC: Tensor, bias_C: Tensor) -> float:
        """FVU on the held-out images; the grafted net's answers are counted too, as the engine does."""
        z_hat, z = [], []
        split = (part.split(self.images) for part in (self.data.x_test, self.data.y_test))
        for x, y in zip(*split, strict=True):
            h, own = self.features(x)
            z_hat.append(LayerInput(self.map, h, "float64").predict(weight_DC, bias_C))
            *_, (_, outputs) = self.target.suffix(self.layer, z_hat[-1].float())
            summed_loss("cross_entropy", outputs, y)
            count_right("cross_entropy", outputs, y)
            z.append(own)
        return fraction(torch.cat(z_hat), torch.cat(z))

    def adam(self) -> Iterator[AdamMap]:
        """The map after each of Adam's steps, the features of each batch made for it alone."""
        yield from self._steps(lambda batch_N: self.features(self.data.x_train[batch_N]))

    @torch.no_grad()
    def adam_fvu(self) -> float:
        """Held-out FVU after Adam's whole schedule, the features made once: that changes no step."""
        parts = [self.features(x) for x in self.data.x_train.split(self.images)]
        h, z = (torch.cat(side) for side in zip(*parts, strict=True))
        *_, last = self._steps(lambda batch_N: (h[batch_N], z[batch_N]))
        return self.held_out(last.weight.flatten(1).T.double(), last.bias.double())

    @torch.no_grad()
    def _steps(self, features: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Iterator[AdamMap]:
        shape = self.target.parameters[f"layers.{self.layer}.weight"].shape
        fitted = AdamMap(self.map, initial_weight(shape, self.layer).to(self.data.x_train.device))
        options = GraftOptions()
        for rate, batch_N in zip(rates(options), drawn(len(self.data.x_train), options), strict=True):
            fitted.step(*features(batch_N), rate)
            yield fitted


def solution(sums: Sequence[Any], ridge: float) -> tuple[Tensor, Tensor]:
    """Weight (D, C) and bias (C,) from the number of rows, their sums, `U^T U` and `Z^T U`, not centred."""
    rows, u_D, z_C, gram_DD, cross_CD = sums
    u_D, z_C = u_D / rows, z_C / rows
    gram_DD -= rows * torch.outer(u_D, u_D)
    gram_DD.diagonal().add_(ridge * gram_DD.trace() / len(u_D))
    weight_DC = torch.linalg.solve(gram_DD, (cross_CD - rows * torch.outer(z_C, u_D)).T)
    return weight_DC, z_C - u_D @ weight_DC


def fraction(z_hat: Tensor, z: Tensor) -> float:
    """FVU of a prediction."""
    moments = ChannelMoments(z.shape[1])
    moments.add(z)
    error_C = channel_sums((z_hat - z).double().square()) / moments.rows
    return fraction_unexplained(error_C, moments.variance_C) or 0.0
