"""Measures from singular values of `X^T Y`: `cca_mean`, `pwcca` and `procrustes` (docs/method.md, section 6).

Legend: C channels of a net, K of their directions that are kept; S nets, n permutations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor

from espalier.tasks.measures.layer_matrices import LayerMatrices
from espalier.tasks.measures.pair_measures import PairMeasure, Statistic

ROWS_PER_CHANNEL = 10
"""Fewest rows for each channel of a net in a canonical correlation analysis: with fewer, noise fills it."""


LOST = 1e-5
"""Share of the largest singular value below which a smaller one's vectors are taken from no square."""


def nuclear_norms(products_nCC: Tensor) -> Tensor:
    """Sums of the singular values (n,), from eigenvalues of the smaller square."""
    wide = products_nCC.shape[-1] > products_nCC.shape[-2]
    square = products_nCC @ products_nCC.mT if wide else products_nCC.mT @ products_nCC
    return torch.linalg.eigvalsh(square).clamp_min(0).sqrt().sum(-1)


def singular_vectors(cross_nKK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """u (n, K, k), singular values (n, k) and v (n, K, k), from the eigenvectors of the smaller square.

    That takes half the time of a singular value decomposition, but small singular values and their vectors
    are lost in the rounding of their squares: where one is below `LOST`, all are decomposed.
    """
    if cross_nKK.shape[-1] > cross_nKK.shape[-2]:
        v, rho, u = singular_vectors(cross_nKK.mT)
        return u, rho, v
    squares, v = torch.linalg.eigh(cross_nKK.mT @ cross_nKK)
    rho = squares.clamp_min(0).sqrt()
    if (rho[..., 0] <= LOST * rho[..., -1]).any():
        u, rho, vh = torch.linalg.svd(cross_nKK, full_matrices=False)
        return u, rho, vh.mT
    return cross_nKK @ v / rho[..., None, :], rho, v


def procrustes(layer: LayerMatrices) -> PairMeasure:
    """Angle `arccos(|X^T Y|_* / (|X| |Y|))` of centred features, in radians (Williams 2021).

    A metric on nets up to orthogonal maps: 0 for any orthogonal map, a shift and a scale; at most pi / 2.
    """

    def make(left: int, right: int) -> tuple[float, Statistic]:
        xx, yy, xy = layer.gram.pair(left, right).centred
        lengths = (xx.trace() * yy.trace()).sqrt()

        def angles(products_nCC: Tensor) -> Tensor:
            return (nuclear_norms(products_nCC) / lengths).clamp(0, 1).arccos()

        return _angle(xy, lengths), angles

    return PairMeasure("distance", make, best=0.0)


def _angle(xy_CC: Tensor, lengths: Tensor) -> float:
    return (torch.linalg.svdvals(xy_CC).sum() / lengths).clamp(0, 1).arccos().item()


class Whitened(NamedTuple):
    """A net's centred channels made uncorrelated: `white = X @ map` has `white^T white = 1`."""

    map_CK: Tensor
    back_KC: Tensor


def whiten(gram_CC: Tensor, rounding: float) -> Whitened:
    """From the eigendecomposition of a centred Gram matrix; directions of rounding size are left out.

    `back` is `white^T X`, how much of each channel lies along each direction.
    """
    values, vectors = torch.linalg.eigh((gram_CC + gram_CC.T) / 2)
    kept = values > rounding * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    root = values.sqrt()
    return Whitened(vectors / root, (values / root)[:, None] * vectors.T)


def cca_mean(layer: LayerMatrices) -> PairMeasure:
    """Mean canonical correlation (Raghu 2017), over as many as the smaller of the two ranks.

    Unchanged by any invertible affine map. Refused where rows are fewer than 10 for each channel.
    """
    white = _whitener(layer)

    def make(left: int, right: int) -> tuple[float, Statistic]:
        x, y, xy = white(left, right)
        rank = min(x.map_CK.shape[1], y.map_CK.shape[1])

        def means(products_nCC: Tensor) -> Tensor:
            return nuclear_norms(x.map_CK.T @ products_nCC @ y.map_CK) / rank

        return torch.linalg.svdvals(x.map_CK.T @ xy @ y.map_CK).clamp(max=1).sum().item() / rank, means

    return PairMeasure("similarity", make, 1.0, partial(few_rows, layer))


def pwcca(layer: LayerMatrices) -> PairMeasure:
    """Projection-weighted CCA (Morcos 2018): canonical correlations, weighted by how much they carry.

    The weight of a canonical variable h is the sum over channels x of `|h . x|`. It depends on whose
    variables are taken; this is the mean of both ways, so that a pair has one value.
    """
    white = _whitener(layer)

    def make(left: int, right: int) -> tuple[float, Statistic]:
        x, y, xy = white(left, right)

        def weighted(products_nCC: Tensor) -> Tensor:
            u, rho, v = singular_vectors(x.map_CK.T @ products_nCC @ y.map_CK)
            sides = [(u.mT @ x.back_KC).abs().sum(-1), (v.mT @ y.back_KC).abs().sum(-1)]
            rho = rho.clamp(max=1)
            return sum(((side * rho).sum(-1) / side.sum(-1) for side in sides), torch.zeros(())) / 2

        return weighted(xy[None])[0].item(), weighted

    return PairMeasure("similarity", make, 1.0, partial(few_rows, layer), dear=True)


def _whitener(layer: LayerMatrices) -> Callable[[int, int], tuple[Whitened, Whitened, Tensor]]:
    """From a pair of nets to both, whitened, and their centred cross product; each net is whitened once."""

    @cache
    def net(number: int, products: str) -> Whitened:
        gram_CC = layer.gram.pair(number, number).centred[0]
        exact = len(gram_CC) * torch.finfo(torch.float64).eps
        return whiten(gram_CC, 1e-6 if products == "float32" else exact)

    def pair(left: int, right: int) -> tuple[Whitened, Whitened, Tensor]:
        found = layer.gram.pair(left, right)
        return net(left, found.products), net(right, found.products), found.centred[2]

    return pair


def few_rows(layer: LayerMatrices, left: int, right: int) -> str | None:
    """Why a pair has no canonical correlations: more channels than its rows can tell apart."""
    widest = max(layer.gram.channels[left], layer.gram.channels[right])
    if layer.gram.rows >= ROWS_PER_CHANNEL * widest:
        return None
    return (
        f"{layer.gram.rows} rows (images x positions) for {widest} channels: "
        f"canonical correlations need {ROWS_PER_CHANNEL} rows for each channel"
    )
