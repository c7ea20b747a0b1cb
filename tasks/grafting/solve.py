"""One map from its sums: weight, bias and errors, and the ridge that held-back images choose.

No second pass over the images: errors of any map follow from the sums. Legend: as in `tasks.grafting.gram`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from espalier.tasks.grafting.fvu import ROUNDING, fraction_unexplained
from espalier.tasks.grafting.gram import Centred, ChannelMoments, Factor
from espalier.tasks.grafting.layer_input import rounding
from espalier.tasks.seeds import stream
from espalier.tasks.spec import GraftOptions


class Fit(NamedTuple):
    """A fitted map: weight (D, C) and bias (C,) in float64, its error on the fitting images, its ridge.

    FVU is None where the target is constant. One that is smaller than `floor` is rounding.
    """

    weight_DC: Tensor
    bias_C: Tensor
    fvu_train: float | None
    ridge: float | None
    floor: float = 0.0


class Trial(NamedTuple):
    """A ridge that was tried for one map: its errors on the fitting and on the held-back images."""

    ridge: float
    fvu_train: float | None
    fvu_validation: float | None
    chosen: bool


class Sums(NamedTuple):
    """The sums from which the error of any map on some images follows.

    The source's patches, the uncentred cross term `U^T Z` (D, C), and the target's output.
    """

    patches: Factor | Centred
    cross_DC: Tensor
    output: ChannelMoments

    @property
    def centred_DC(self) -> Tensor:
        """The centred cross term."""
        return self.cross_DC - self.patches.rows * torch.outer(self.patches.mean_D, self.output.mean_C)

    def errors(self, weight_DC: Tensor, bias_C: Tensor) -> Tensor:
        """Mean squared error (C,) of any weight and bias.

        Per channel `w^T G w - 2 w^T r + z^T z` is the squared error of the centred map, to which the bias
        adds the square of what it leaves of the means. Of several maps side by side C counts all.
        """
        maps = weight_DC.shape[1] // len(self.output.mean_C)
        mean_C, variance_C = self.output.mean_C.repeat(maps), self.output.variance_C.repeat(maps)
        centred_DC = self.centred_DC.repeat(1, maps)
        residual_C = self.patches.explained(weight_DC) - 2 * (weight_DC * centred_DC).sum(0)
        shift_C = bias_C + self.patches.mean_D @ weight_DC - mean_C
        return residual_C / self.output.rows + variance_C + shift_C.square()

    def unexplained(self, weight_DC: Tensor, bias_C: Tensor) -> float | None:
        """FVU of any weight and bias."""
        return fraction_unexplained(self.errors(weight_DC, bias_C), self.output.variance_C)

    def each_unexplained(self, weight_DC: Tensor, bias_C: Tensor) -> list[float | None]:
        """FVU of several maps side by side."""
        parts = self.errors(weight_DC, bias_C).split(len(self.output.mean_C))
        return [fraction_unexplained(error_C, self.output.variance_C) for error_C in parts]


def solve(factor: Factor, sums: Sums, ridge: float) -> Fit:
    """The map of least squares with a ridge."""
    weight_DC = factor.solve(sums.centred_DC, ridge)
    bias_C = sums.output.mean_C - factor.mean_D @ weight_DC
    floor = sums_floor(factor, weight_DC, sums.output)
    return Fit(weight_DC, bias_C, sums.unexplained(weight_DC, bias_C), ridge, floor)


def float32_floor(factor: Factor, weight_DC: Tensor, output: ChannelMoments) -> float:
    """FVU that the rounding of float32 features leaves: of what the map reads, and of what it is to give.

    Errors of one size, `ROUNDING` of each number's, independent of one another.
    """
    read = (weight_DC.square() * factor.square_D[:, None]).sum()
    given = (output.mean_C.square() + output.variance_C).sum()
    return _share(ROUNDING**2 * (read + given).item(), output)


def sums_floor(factor: Factor, weight_DC: Tensor, output: ChannelMoments) -> float:
    """FVU that a map from sums of products may miss: what rounding of G hides, and `float32_floor`.

    `w^T G w` is uncertain by G's rounding, a share of its largest eigenvalue, times the square of w.
    """
    if not len(factor.values_K):
        return 0.0
    unsure = rounding(factor.products, factor.dim) * factor.values_K.max() / factor.rows
    hidden = _share((unsure * weight_DC.square().sum()).item(), output)
    return hidden + float32_floor(factor, weight_DC, output)


def _share(error: float, output: ChannelMoments) -> float:
    variance = output.variance_C.sum().item()
    return error / variance if variance > 0 else 0.0


def choose(factor: Factor, sums: Sums, held: Sums, ridges: Sequence[float]) -> tuple[Fit, list[Trial]]:
    """The map whose ridge leaves the least unexplained on the held-back images; of equals the first."""
    weight_DC = factor.path(sums.centred_DC, ridges)
    bias_C = sums.output.mean_C.repeat(len(ridges)) - factor.mean_D @ weight_DC
    train, validation = (part.each_unexplained(weight_DC, bias_C) for part in (sums, held))
    known = [math.inf if error is None or math.isnan(error) else error for error in validation]
    best, count = known.index(min(known)), len(sums.output.mean_C)
    tried = [
        Trial(ridge, train[number], validation[number], number == best) for number, ridge in enumerate(ridges)
    ]
    chosen = weight_DC.split(count, 1)[best].clone(), bias_C.split(count)[best].clone()
    return Fit(*chosen, train[best], ridges[best], sums_floor(factor, chosen[0], sums.output)), tried


def split(images: int, options: GraftOptions) -> tuple[Tensor, Tensor]:
    """Indices of the fitting and of the held-back images, each rising; all are fitted on without a choice.

    Raises:
        ValueError: One of the two would have no image.
    """
    count = options.validation_images(images)
    if options.ridges and not 0 < count < images:
        raise ValueError(
            f"validation = {options.validation:g} of {images} images holds back {count}: "
            "both parts need some, so use more images or another share"
        )
    order_N = torch.randperm(images, generator=stream("validation", images))
    return order_N[count:].sort().values, order_N[:count].sort().values
