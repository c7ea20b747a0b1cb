"""`sliced_w2`: Wasserstein distances of two nets' channels along random directions.

Defined in docs/method.md, section 5. Legend: B channels of both nets, D directions; n deals of the labels.
"""

from __future__ import annotations

from math import lcm

import torch
from torch import Tensor

from espalier.tasks.measures.channel_gram import PairMoments
from espalier.tasks.measures.channel_samples import deals
from espalier.tasks.measures.found import Found, nothing
from espalier.tasks.measures.layer_matrices import LayerMatrices
from espalier.tasks.measures.pair_measures import permutations_of
from espalier.tasks.seeds import stream

DIRECTIONS = 256

MOST_DEALS = 99
"""Deals of the labels at most: each sorts both nets' projections anew along every direction."""

BLOCK = 1 << 22
"""Labels (deals x directions x channels) that are sorted out at one time."""


def sliced_w2(layer: LayerMatrices) -> Found:
    """Sliced Wasserstein-2 distance (Rabin 2012; Bonneel 2015) of the two nets' channels as points.

    The root of the mean over directions g of W2^2 between the channels' projections on g, which is Gaussian
    of variance 1 in each coordinate of the principal axes of both nets' channels together: a channel's
    projection has its mean square as variance. In units of the root mean square of all values. It has a
    floor that falls with the width, which the null has too.
    """
    found = nothing("distance", "labels", layer.nets)
    for left, right in [*((net, net) for net in layer.sound), *layer.pairs]:
        pair = layer.gram.pair(left, right)
        counts = len(pair.x_C), len(pair.y_C)
        count = min(MOST_DEALS, permutations_of(max(counts), layer.permutations)) if left != right else 0
        projected_BD = projections(pair)
        values = sliced(projected_BD, deals(*counts, layer.permutations)[: 1 + count])
        apart = (projected_BD[: counts[0], None] - projected_BD[None, counts[0] :]).square()
        found.put(left, right, values[0].item(), apart.mean().sqrt().item())
        if left != right:
            found.nulls[left, right] = values[1:].cpu()
    return found


def projections(pair: PairMoments) -> Tensor:
    """Both nets' channels (B, D) along the directions, in float64.

    The directions are the same numbers for all pairs; an axis points where its third moment is positive, so
    the order of the channels does not matter.
    """
    both = torch.cat([torch.cat([pair.xx_CC, pair.xy_CC], 1), torch.cat([pair.xy_CC.T, pair.yy_CC], 1)])
    values, vectors = torch.linalg.eigh((both + both.T) / (2 * pair.rows * pair.scale**2))
    axes_BK = vectors.flip(1) * values.flip(0).clamp_min(0).sqrt()
    axes_BK = torch.where(axes_BK.pow(3).sum(0) < 0, -axes_BK, axes_BK)
    generator = stream("similarity directions")
    directions_KD = torch.randn(len(both), DIRECTIONS, generator=generator, dtype=torch.float64)
    return axes_BK @ directions_KD.to(axes_BK)


def sliced(projected_BD: Tensor, first_nB: Tensor) -> Tensor:
    """The distance (n,) for each deal of the labels, which is 1 for the first net's channels."""
    sorted_BD, order_BD = projected_BD.sort(0)
    step = max(1, BLOCK // projected_BD.numel())
    return torch.cat([_squares(sorted_BD.T, order_BD.T, part) for part in first_nB.split(step)]).sqrt()


def _squares(sorted_DB: Tensor, order_DB: Tensor, first_nB: Tensor) -> Tensor:
    """Mean over directions of W2^2: both nets' sorted values, each lasting 1 / C of the way from 0 to 1."""
    is_first = first_nB.to(order_DB.device)[:, order_DB]
    values = sorted_DB.expand(is_first.shape)
    x = values[is_first].unflatten(0, (*is_first.shape[:2], -1))
    y = values[~is_first].unflatten(0, (*is_first.shape[:2], -1))
    if x.shape[2] == y.shape[2]:
        return (x - y).square().mean((1, 2))
    place_x, place_y, share = (part.to(x.device) for part in _common_steps(x.shape[2], y.shape[2]))
    return ((x[..., place_x] - y[..., place_y]).square() * share).sum(2).mean(1)


def _common_steps(x: int, y: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which value of each sample lasts on each stretch where neither changes, and how long (sum 1)."""
    whole = lcm(x, y)
    ends = torch.unique(torch.cat([torch.arange(1, n + 1) * (whole // n) for n in (x, y)]))
    starts = torch.cat([torch.zeros(1, dtype=torch.long), ends[:-1]])
    return starts // (whole // x), starts // (whole // y), (ends - starts).double() / whole
