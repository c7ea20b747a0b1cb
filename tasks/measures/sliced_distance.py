"""`sliced_w2`: Wasserstein distances of two nets' channels along random directions.

Defined in docs/method.md, section 6. Legend: B channels of both nets, D directions; n deals of the labels.
"""

from __future__ import annotations

from math import lcm
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from espalier.tasks.measures.channel_gram import PairMoments
from espalier.tasks.measures.channel_samples import deals
from espalier.tasks.measures.found import Found, nothing
from espalier.tasks.measures.known_measures import DIRECTIONS, permutations_of
from espalier.tasks.measures.layer_matrices import LayerMatrices
from espalier.tasks.seeds import stream

Array = np.ndarray[Any, Any]


def sliced_w2(layer: LayerMatrices) -> Found:
    """Sliced Wasserstein-2 distance (Rabin 2012; Bonneel 2015) of the two nets' channels as points.

    The root of the mean over directions g of W2^2 between the channels' projections on g, which is Gaussian
    of variance 1 in each coordinate of the principal axes of both nets' channels together: a channel's
    projection has its mean square as variance. In units of the root mean square of all values. It has a
    floor that falls with the width, which the null has too.
    """
    found = nothing("distance", "labels", layer.nets)
    for left, right in [*layer.selves, *layer.pairs]:
        pair = layer.gram.pair(left, right)
        counts = len(pair.x_C), len(pair.y_C)
        count = permutations_of(max(counts), layer.permutations) if left != right else 0
        projected_BD = projections(pair)
        values = sliced(projected_BD, deals(*counts, layer.permutations)[: 1 + count])
        found.put(left, right, values[0].item(), _apart(*projected_BD.split(counts)))
        if left != right:
            found.nulls[left, right] = values[1:].cpu()
    return found


def _apart(x_CD: Tensor, y_CD: Tensor) -> float:
    """Root mean squared difference of a projection of one net and one of the other: W2 is no larger."""
    squares = x_CD.square().mean() + y_CD.square().mean()
    return (squares - 2 * (x_CD.mean(0) * y_CD.mean(0)).mean()).sqrt().item()


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
    """The distance (n,) for each deal of the labels, which is 1 for the first net's channels.

    NumPy takes the marked numbers out five times as fast as PyTorch on a CPU (128 channels, 256 directions).
    """
    sorted_BD, order_BD = projected_BD.sort(0)
    sorted_DB, order_DB = (part.T.contiguous().cpu().numpy() for part in (sorted_BD, order_BD))
    first = int(first_nB[0].sum())
    steps = _common_steps(first, len(projected_BD) - first)
    deals_nB = first_nB.cpu().numpy()
    return (
        torch.tensor([_square(sorted_DB, deal_B.take(order_DB), steps) for deal_B in deals_nB])
        .double()
        .sqrt()
    )


class _Steps(NamedTuple):
    """Which value of each sample lasts on each stretch where neither changes, and how long (sum 1)."""

    first: Array
    second: Array
    share: Array


def _common_steps(first: int, second: int) -> _Steps | None:
    """The stretches from 0 to 1 of two samples whose values last 1 / number each; None for equal numbers."""
    if first == second:
        return None
    whole = lcm(first, second)
    ends = np.union1d(*(np.arange(1, number + 1) * (whole // number) for number in (first, second)))
    starts = np.concatenate([[0], ends[:-1]])
    return _Steps(starts // (whole // first), starts // (whole // second), (ends - starts) / whole)


def _square(sorted_DB: Array, first_DB: Array, steps: _Steps | None) -> float:
    """Mean over directions of W2^2 of the two samples, sorted and laid side by side."""
    flat, marked, directions = sorted_DB.ravel(), first_DB.ravel(), len(sorted_DB)
    x, y = (flat.take(np.flatnonzero(mask)) for mask in (marked, ~marked))
    if steps is None:
        x -= y
        return float(x @ x) / len(x)
    x, y = x.reshape(directions, -1), y.reshape(directions, -1)
    return float((np.square(x[:, steps.first] - y[:, steps.second]) @ steps.share).mean())
