"""Second moments of patches, and what one factorisation of them gives (docs/method.md, section 2).

Legend: D = d, the inputs of one output channel (kernel^2 x channels, in the order of a weight
flattened from its second axis on); C output channels; M rows, images x positions. Sums are float64.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from espalier.tasks.grafting.fvu import known_variance
from espalier.tasks.grafting.lag_gram import LagSums
from espalier.tasks.grafting.layer_input import LayerInput, rounding
from espalier.tasks.grafting.row_gram import RowSums

CACHED = 1 << 15
"""Numbers of an output that are looked at together: half the time of all at once, of 20 x 32 x 28 x 28."""

K = TypeVar("K", bound=Hashable)


def add_to(sums: dict[K, Tensor], name: K, more: Tensor) -> None:
    """Add to a named sum, which starts on the device of its first term."""
    if name in sums:
        sums[name] += more
    else:
        sums[name] = more


def channel_sums(z: Tensor) -> Tensor:
    """Sum (C,) over images and positions of (N, C) or (N, C, H, W)."""
    return z.flatten(2).sum((0, 2)) if z.dim() == 4 else z.sum(0)


def _in_cache(z: Tensor) -> Sequence[Tensor]:
    """An output in groups of images whose float64 copies stay in a core's cache; on a GPU as it is."""
    if z.device.type != "cpu" or not z.numel():
        return (z,)
    return z.split(max(1, CACHED * len(z) // z.numel()))


class ChannelMoments:
    """Running sums of the rows of a layer's output, per channel."""

    def __init__(self, channels: int) -> None:
        self.rows = 0
        self.sum_C = torch.zeros(channels, dtype=torch.float64)
        self.square_C = torch.zeros(channels, dtype=torch.float64)

    def add(self, z: Tensor) -> None:
        """Add an output (N, C) or (N, C, H, W)."""
        self.rows += z.numel() // z.shape[1]
        # where the images are; in place, so that no small tensor is made between large ones
        self.sum_C, self.square_C = self.sum_C.to(z.device), self.square_C.to(z.device)
        for part in _in_cache(z):
            wide = part.double()
            self.sum_C += channel_sums(wide)
            self.square_C += channel_sums(wide.square())

    @property
    def mean_C(self) -> Tensor:
        """Mean of each channel."""
        return self.sum_C / self.rows

    @property
    def variance_C(self) -> Tensor:
        """Variance of each channel over rows, 0 where it is rounding."""
        return known_variance(self.mean_C, self.square_C / self.rows - self.mean_C.square())


class _Whole(NamedTuple):
    """A finished matrix, to which nothing is added any more."""

    matrix_DD: Tensor

    def gram_DD(self) -> Tensor:
        """The matrix."""
        return self.matrix_DD


class PatchMoments:
    """Running sums of a source's patches at one layer: their number, sum and Gram matrix.

    While there are fewer patches than D the patches themselves are kept (`tasks.grafting.row_gram`).
    `rounding` is the share of the largest eigenvalue that the products' type leaves uncertain.
    """

    def __init__(self, dim: int) -> None:
        self.rows = 0
        self.rounding = 0.0
        self.products = ""
        self.sum_D = torch.zeros(dim, dtype=torch.float64)
        self._sums: LagSums | RowSums | _Whole | None = None

    def add(self, inputs: LayerInput) -> None:
        """Add a batch of a layer's input."""
        self.rows += inputs.rows
        self.rounding, self.products = max(self.rounding, inputs.rounding), inputs.products
        sum_D = inputs.sum_D()
        self.sum_D = self.sum_D.to(sum_D.device)
        self.sum_D += sum_D
        sums = self._sums or inputs.new_sums()
        assert not isinstance(sums, _Whole), "a selection is not added to"
        inputs.add_to(sums)
        self._sums = sums

    @property
    def dim(self) -> int:
        """D."""
        return len(self.sum_D)

    @property
    def gram_DD(self) -> Tensor:
        """`U^T U`, put together anew each time."""
        assert self._sums is not None, "no batch was added"
        return self._sums.gram_DD()

    def few_MD(self) -> Tensor | None:
        """The patches, if they are fewer than D."""
        return self._sums.few_MD() if isinstance(self._sums, RowSums) else None

    @cached_property
    def _whole_DD(self) -> Tensor:
        """`U^T U`, kept for many selections."""
        return self.gram_DD

    def select(self, chosen_d: Tensor) -> PatchMoments:
        """The moments of the patch dimensions `chosen_d` alone, as if no other had been there."""
        part, few_MD = PatchMoments(0), self.few_MD()
        part.rows, part.products = self.rows, self.products
        part.rounding, part.sum_D = rounding(self.products, len(chosen_d)), self.sum_D[chosen_d]
        if few_MD is None:
            part._sums = _Whole(self._whole_DD[chosen_d[:, None], chosen_d])
        else:
            part._sums = RowSums()
            part._sums.add(few_MD[:, chosen_d])
        return part


@dataclass(frozen=True)
class CentredRows:
    """A source's few centred patches `U` at one layer."""

    rows: int
    mean_D: Tensor
    rows_MD: Tensor

    def variance_D(self) -> Tensor:
        """Of each patch dimension."""
        return self.rows_MD.square().mean(0)

    def explained(self, weight_DC: Tensor) -> Tensor:
        """`w^T G w` of each column of `weight_DC`, shape (C,)."""
        return (self.rows_MD @ weight_DC).square().sum(0)


@dataclass(frozen=True)
class CentredGram:
    """A source's centred Gram matrix `G` at one layer, as it is."""

    rows: int
    mean_D: Tensor
    gram_DD: Tensor

    def variance_D(self) -> Tensor:
        """Of each patch dimension."""
        return self.gram_DD.diagonal() / self.rows

    def explained(self, weight_DC: Tensor) -> Tensor:
        """`w^T G w` of each column of `weight_DC`, shape (C,)."""
        return (weight_DC * (self.gram_DD @ weight_DC)).sum(0)


Centred = CentredRows | CentredGram


def centre(moments: PatchMoments) -> Centred:
    """Subtract the contribution of the mean."""
    mean_D, few_MD = moments.sum_D / moments.rows, moments.few_MD()
    if few_MD is not None:
        return CentredRows(moments.rows, mean_D, few_MD - mean_D)
    centred_DD = moments.gram_DD - moments.rows * torch.outer(mean_D, mean_D)
    return CentredGram(moments.rows, mean_D, centred_DD)


@dataclass(frozen=True)
class Factor:
    """The eigendecomposition of a source's centred Gram matrix, `G = Q S Q^T`, at one layer.

    It depends on the source alone and serves every target and every ridge. Eigenvalues that are rounding
    are left out, which gives the minimum-norm solution. `live` dimensions are not constant. `held` is the
    source's Gram matrix on images that were held back to choose a ridge, if any were.
    """

    rows: int
    products: str
    mean_D: Tensor
    values_K: Tensor
    vectors_DK: Tensor
    live: int
    held: Centred | None = None

    @property
    def dim(self) -> int:
        """D."""
        return len(self.mean_D)

    @property
    def square_D(self) -> Tensor:
        """Mean square of each patch dimension."""
        return (self.vectors_DK.square() @ self.values_K) / self.rows + self.mean_D.square()

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
        return self.path(cross_DC, (ridge,))

    def path(self, cross_DC: Tensor, ridges: Sequence[float]) -> Tensor:
        """The solutions of several ridges side by side, (D, ridges x C): Q is read twice for all of them."""
        projected_KC = self.vectors_DK.T @ cross_DC
        shifts = [ridge * self.values_K.sum() / self.dim for ridge in ridges]
        shrunk = [projected_KC / (self.values_K + shift)[:, None] for shift in shifts]
        return self.vectors_DK @ torch.cat(shrunk, 1)

    def explained(self, weight_DC: Tensor) -> Tensor:
        """`w^T G w` of each column of `weight_DC`, shape (C,)."""
        return (self.values_K[:, None] * (self.vectors_DK.T @ weight_DC).square()).sum(0)


NEARLY_CONSTANT = 1e-6
"""Variation over the square of the mean up to which a source is left to `factorise`."""


def ridge_solution(centred: CentredGram, cross_DC: Tensor, ridge: float) -> Tensor | None:
    """`Factor.solve` by Cholesky, where no spectrum is asked for: 7 to 10 times faster (D of 216 to 1,536).

    For ridges that rule what rounding leaves of the least eigenvalues (`row_rule.shrunk`), in float64. None
    where rounding may be all there is: of a source that is nearly constant.
    """
    gram_DD = (centred.gram_DD + centred.gram_DD.T) / 2
    trace = gram_DD.trace()
    if not trace > NEARLY_CONSTANT * centred.rows * centred.mean_D.square().sum():
        return None
    gram_DD.diagonal().add_(ridge * trace / len(gram_DD))
    lower_DD, problem = torch.linalg.cholesky_ex(gram_DD)
    return None if problem.item() else torch.cholesky_solve(cross_DC, lower_DD)


def factorise(moments: PatchMoments) -> Factor:
    """Centre and eigendecompose in float64."""
    centred = centre(moments)
    if isinstance(centred, CentredRows):
        # U U^T has the eigenvalues of U^T U that are not 0; U^T v is an eigenvector for each v of its own.
        values, vectors = torch.linalg.eigh(centred.rows_MD @ centred.rows_MD.T)
        trace = centred.rows_MD.square().sum() + moments.rows * centred.mean_D.square().sum()
    else:
        values, vectors = torch.linalg.eigh((centred.gram_DD + centred.gram_DD.T) / 2)
        trace = centred.gram_DD.trace() + moments.rows * centred.mean_D.square().sum()
    # A constant source leaves only the rounding of the centring, which the uncentred trace measures.
    kept = values > moments.rounding * torch.maximum(values[-1], 1e-3 * trace)
    values, vectors = values[kept], vectors[:, kept]
    if isinstance(centred, CentredRows):
        vectors = centred.rows_MD.T @ (vectors / values.sqrt())
    live = int(known_variance(centred.mean_D, centred.variance_D()).count_nonzero())
    return Factor(moments.rows, moments.products, centred.mean_D, values, vectors, live)
