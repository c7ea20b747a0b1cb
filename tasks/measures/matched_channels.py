"""Channels of two nets matched one to one, or each to its nearest: `match` and `semi_match`.

Defined in docs/method.md, section 6. Legend: C channels of a net; n permutations.
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from espalier.tasks.measures.layer_matrices import LayerMatrices
from espalier.tasks.measures.pair_measures import PairMeasure, Statistic


def match(layer: LayerMatrices) -> PairMeasure:
    """Mean correlation of channels matched one to one so that it is largest (Li 2016, "bipartite match").

    Of nets of unequal width the narrower one's channels are all matched. A constant channel correlates with
    nothing (0): it counts, and lowers the mean.
    """

    def make(left: int, right: int) -> tuple[float, Statistic]:
        root_x, root_y = ((layer.gram.variance_C(net) * layer.gram.rows).sqrt() for net in (left, right))
        lengths = torch.outer(root_x, root_y)
        per_length = torch.where(lengths > 0, 1 / lengths, 0.0)

        def means(products_nCC: Tensor) -> Tensor:
            return torch.stack([_best_match(one_CC) for one_CC in (products_nCC * per_length).cpu()])

        return means(layer.gram.pair(left, right).centred[2][None])[0].item(), means

    return PairMeasure("similarity", make, best=1.0)


def _best_match(correlation_CC: Tensor) -> Tensor:
    values_CC = correlation_CC.numpy()
    return torch.as_tensor(values_CC[linear_sum_assignment(values_CC, maximize=True)].mean())


def semi_match(layer: LayerMatrices) -> PairMeasure:
    """Mean over channels of the least squared difference to a channel of the other net (Gu 2020).

    In units of the mean square of all values of both nets; the mean of both directions, over the channels
    of each net. 0 where every channel has a twin.
    """

    def make(left: int, right: int) -> tuple[float, Statistic]:
        pair = layer.gram.pair(left, right)
        size = pair.rows * pair.scale**2
        square_CC = (pair.xx_CC.diagonal()[:, None] + pair.yy_CC.diagonal()) / size
        apart_CC = square_CC - 2 * torch.outer(pair.x_C, pair.y_C) / (
            pair.rows * size
        )  # of means, products 0

        def distances(products_nCC: Tensor) -> Tensor:
            away = torch.sub(apart_CC, products_nCC, alpha=2 / size).clamp_min_(0)
            return (away.amin(2).mean(1) + away.amin(1).mean(1)) / 2

        count = len(pair.x_C)
        away_CC = pair.square_distances()[:count, count:]
        return (away_CC.amin(1).mean() + away_CC.amin(0).mean()).item() / 2, distances

    return PairMeasure("distance", make, best=0.0)
