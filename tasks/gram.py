"""Second moments of patches, and what one factorisation of them gives (docs/method.md, section 2).

Legend: D = d, the inputs of one output channel (kernel^2 x channels, in the order of a weight
flattened from its second axis on); C output channels; M rows, images x positions. Sums are float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.layer_input import LayerInput, rounding


def channel_sums(z: Tensor) -> Tensor:
    """Sum (C,) over images and positions of (N, C) or (N, C, H, W)."""
    return z.flatten(2).sum((0, 2)) if z.dim() == 4 else z.sum(0)


class ChannelMoments:
    """Running sums of the rows of a layer's output, per channel."""

    def __init__(self, channels: int) -> None:
        self.rows = 0
        self.sum_C = torch.zeros(channels, dtype=torch.float64)
        self.square_C = torch.zeros(channels, dtype=torch.float64)

    def add(self, z: Tensor) -> None:
        """Add an output (N, C) or (N, C, H, W)."""
        self.rows += z.numel() // z.shape[1]
        self.sum_C += channel_sums(z.double())
        self.square_C += channel_sums(z.double().square())

    @property
    def mean_C(self) -> Tensor:
        """Mean of each channel."""
        return self.sum_C / self.rows

    @property
    def variance_C(self) -> Tensor:
        """Variance of each channel over rows, never below 0."""
        return (self.square_C / self.rows - self.mean_C.square()).clamp_min(0.0)


class PatchMoments:
    """Running sums of a source's patches at one layer: their number, sum and Gram matrix.

    `rounding` is the share of the largest eigenvalue that the products' type leaves uncertain.
    """

    def __init__(self, dim: int) -> None:
        self.rows = 0
        self.rounding = 0.0
        self.products = ""
        self.sum_D = torch.zeros(dim, dtype=torch.float64)
        self.gram_DD = torch.zeros(dim, dim, dtype=torch.float64)

    def add(self, inputs: LayerInput) -> None:
        """Add a batch of a layer's input."""
        self.rows += inputs.rows
        self.rounding, self.products = max(self.rounding, inputs.rounding), inputs.products
        self.sum_D += inputs.sum_D()
        self.gram_DD += inputs.gram_DD()

    def select(self, chosen_d: Tensor) -> PatchMoments:
        """The moments of the patch dimensions `chosen_d` alone, as if no other had been there."""
        part = PatchMoments(0)
        part.rows, part.products = self.rows, self.products
        part.rounding = rounding(self.products, len(chosen_d))
        part.sum_D, part.gram_DD = self.sum_D[chosen_d], self.gram_DD[chosen_d[:, None], chosen_d]
        return part


@dataclass(frozen=True)
class Centred:
    """A source's centred Gram matrix `G` at one layer, as it is."""

    rows: int
    mean_D: Tensor
    gram_DD: Tensor

    def explained(self, weight_DC: Tensor) -> Tensor:
        """`w^T G w` of each column of `weight_DC`, shape (C,)."""
        return (weight_DC * (self.gram_DD @ weight_DC)).sum(0)


def centre(moments: PatchMoments) -> Centred:
    """Subtract what the mean contributes."""
    mean_D = moments.sum_D / moments.rows
    return Centred(moments.rows, mean_D, moments.gram_DD - moments.rows * torch.outer(mean_D, mean_D))


@dataclass(frozen=True)
class Factor:
    """The eigendecomposition of a source's centred Gram matrix, `G = Q S Q^T`, at one layer.

    It depends on the source alone and serves every target and every ridge. Eigenvalues that are rounding
    are left out, which gives the minimum-norm solution. `held` is the source's Gram matrix on images that
    were held back to choose a ridge, if any were.
    """

    rows: int
    products: str
    mean_D: Tensor
    values_K: Tensor
    vectors_DK: Tensor
    held: Centred | None = None

    @property
    def dim(self) -> int:
        """D."""
        return len(self.mean_D)

    @property
    def effective_rank(self) -> float:
        """exp of the entropy of the normalised spectrum (Roy & Vetterli 2007); 0 for a constant source."""
        if not len(self.values_K):
            return 0.0
        share = self.values_K / self.values_K.sum()
        return torch.exp(-(share * share.log()).sum()).item()

    @property
    def condition_number(self) -> float:
        """Largest over least kept eigenvalue; 1 for a constant source."""
        return (self.values_K.max() / self.values_K.min()).item() if len(self.values_K) else 1.0

    def solve(self, cross_DC: Tensor, ridge: float) -> Tensor:
        """`W` (D, C) = (G + lambda I)^-1 R for a centred cross term R, lambda = ridge x trace(G) / D."""
        shift = ridge * self.values_K.sum() / self.dim
        projected = self.vectors_DK.T @ cross_DC
        return self.vectors_DK @ (projected / (self.values_K + shift)[:, None])

    def explained(self, weight_DC: Tensor) -> Tensor:
        """`w^T G w` of each column of `weight_DC`, shape (C,)."""
        return (self.values_K[:, None] * (self.vectors_DK.T @ weight_DC).square()).sum(0)


def factorise(moments: PatchMoments) -> Factor:
    """Centre and eigendecompose in float64."""
    centred = centre(moments)
    values, vectors = torch.linalg.eigh((centred.gram_DD + centred.gram_DD.T) / 2)
    # A constant source leaves only the rounding of the centring, which the uncentred trace measures.
    largest = max(values[-1].item(), moments.gram_DD.trace().item() * 1e-3)
    kept = values > moments.rounding * largest
    return Factor(moments.rows, moments.products, centred.mean_D, values[kept], vectors[:, kept])


DEAD_VARIANCE = 1e-8
"""A channel is dead if its variance is below this share of its layer's mean: float32 rounding is 1e-14."""


def live_channels(variance_C: Tensor) -> Tensor:
    """Mask (C,) of the channels with more than rounding's variance."""
    return variance_C > DEAD_VARIANCE * variance_C.mean()


def fraction_unexplained(error_C: Tensor, variance_C: Tensor) -> float:
    """FVU: mean squared error over variance, each summed over channels, never over the uncentred norm.

    Of a layer without any variance nothing is unexplained (0) if there is no error, else all (1).
    """
    tiny = torch.finfo(torch.float32).tiny
    error, variance = error_C.sum().item(), variance_C.sum().item()
    if variance > tiny:
        return max(0.0, error) / variance
    return float(error > tiny)


def fraction_unexplained_mean(error_C: Tensor, variance_C: Tensor) -> float:
    """Mean over live channels of error over variance (Gu et al. 2020's normalisation); 0 without any."""
    live = live_channels(variance_C)
    return (error_C[live] / variance_C[live]).mean().item() if live.any() else 0.0
