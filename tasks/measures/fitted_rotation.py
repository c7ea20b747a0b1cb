"""`alignment`: an orthogonal map fitted on training images, its error on others (docs/method.md, section 6).

Legend: C channels of a net; n permutations.
"""

from __future__ import annotations

import torch
from torch import Tensor

from espalier.tasks.measures.channel_gram import ChannelGram, PairMoments
from espalier.tasks.measures.found import name_in
from espalier.tasks.measures.layer_matrices import LayerMatrices
from espalier.tasks.measures.pair_measures import PairMeasure, Statistic


def alignment(layer: LayerMatrices, train: ChannelGram) -> PairMeasure:
    """`|X A - Y|^2` on held-out images over the mean of `|X|^2` and `|Y|^2` (Guth 2023).

    `A = U V^T` from the singular vectors of `X^T Y` on training images is the orthogonal map (a part of one,
    where widths differ) of least error there. Features are centred by their training means, since else a
    mean that all images share would count as agreement. 0 for an exact rotation, about 2 for unrelated nets.

    Permuted values leave the fitted map as it is and permute the held-out images of one net.

    Args:
        layer: The held-out images.
        train: The Gram matrix of the same nets on training images.
    """

    def make(left: int, right: int) -> tuple[float, Statistic]:
        fitted, held = train.pair(left, right), layer.gram.pair(left, right)
        map_CC = rotation(fitted.centred[2])
        xx, yy, xy = about(held, fitted.x_C / fitted.rows, fitted.y_C / fitted.rows)
        shift = (xy - held.centred[2]).mul(map_CC).sum()  # from the means, which no permutation changes
        norms = (map_CC.T @ xx @ map_CC).trace() + yy.trace()
        mean = (xx.trace() + yy.trace()) / 2

        def errors(products_nCC: Tensor) -> Tensor:
            return (norms - 2 * (products_nCC.flatten(1) @ map_CC.flatten() + shift)) / mean

        return ((norms - 2 * (xy * map_CC).sum()) / mean).item(), errors

    def refuses(left: int, right: int) -> str | None:
        constant = [net for net in (left, right) if not train.variance_C(net).any()]
        infinite = [net for net in (left, right) if not train.finite(net)]
        if infinite:
            return f"{name_in((left, right), infinite[0])} has training features that are not finite"
        if constant:
            return f"all channels of {name_in((left, right), constant[0])} are constant on training images"
        return None

    return PairMeasure("distance", make, 0.0, refuses)


def rotation(cross_CC: Tensor) -> Tensor:
    """`A` (C_x, C_y) that maximises `tr(A^T X^T Y)`: orthogonal, or of orthonormal rows or columns."""
    u, _, vh = torch.linalg.svd(cross_CC, full_matrices=False)
    return u @ vh


def about(pair: PairMoments, x_C: Tensor, y_C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`X^T X`, `Y^T Y` and `X^T Y` of features less given means."""
    xx, yy, xy = pair.centred
    off_x, off_y = pair.x_C / pair.rows - x_C, pair.y_C / pair.rows - y_C
    return (
        xx + pair.rows * torch.outer(off_x, off_x),
        yy + pair.rows * torch.outer(off_y, off_y),
        xy + pair.rows * torch.outer(off_x, off_y),
    )
