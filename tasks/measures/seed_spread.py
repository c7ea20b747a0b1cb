"""What nets that differ in their seeds alone have in common, and how they vary (docs/method.md).

Vyas et al. 2023; Bordelon & Pehlevan 2023. Legend: S nets, N images, P positions, C channels, K outputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from espalier.tasks.spec import Loss, in_float32
from espalier.tasks.training.loss import mean_loss, right_answers


class SeedSpread:
    """Mean over nets of an array, and its variance: one array is held, however many nets are added.

    Welford's recurrence, in float64: nets that are alike have variance 0 exactly. What is undefined is NaN.
    """

    def __init__(self) -> None:
        self.nets = 0
        self.mean = torch.zeros(())
        self._squares = 0.0

    def add(self, value: Tensor) -> None:
        """Add the array of one more net: all have one shape."""
        value, self.nets = value.double(), self.nets + 1
        if self.nets == 1:
            self.mean = value.clone()
            return
        change = value - self.mean
        self.mean += change / self.nets
        self._squares += float((change * (value - self.mean)).mean())

    @property
    def variance(self) -> float:
        """Mean over entries of the variance over nets, unbiased; NaN of one net."""
        return self._squares / (self.nets - 1) if self.nets > 1 else math.nan

    @property
    def square(self) -> float:
        """Mean over entries of the squared expectation, unbiased: the mean's own variance is taken out."""
        return float(self.mean.square().mean()) - self.variance / self.nets

    def relative_variance(self) -> float:
        """`variance / square`; NaN where the square is not positive."""
        return self.variance / self.square if self.square > 0 else math.nan

    def squared_distance(self, other: SeedSpread) -> float:
        """Mean over entries of the squared difference of the two expectations.

        Unbiased, as the sampling errors `variance / nets` of both means are taken out, so it may be negative.
        """
        apart = float((self.mean - other.mean).square().mean())
        return apart - self.variance / self.nets - other.variance / other.nets


def feature_kernel(features_NCHW: Tensor) -> Tensor:
    """`K(x, x') = sum over channels and positions of h(x) h(x') / (C P)`, (N, N), not centred.

    From features (N, C, H, W) or (N, C); in float32 for as many channels as grafts have products in float32.
    """
    kind = torch.float32 if in_float32("float32", features_NCHW.shape[1]) else torch.float64
    flat = features_NCHW.flatten(1).to(kind)
    return flat @ flat.T / flat.shape[1]


def sizes(nets: int) -> list[int]:
    """Sizes of ensembles: powers of 2 below the number of nets, and all.

    >>> sizes(1), sizes(2), sizes(6)
    ([1], [1, 2], [1, 2, 4, 6])
    """
    return [*(2**power for power in range((nets - 1).bit_length())), nets]


class EnsembleScores(NamedTuple):
    """Means over ensembles of one size; `accuracy` and all of probabilities are NaN in a regression."""

    size: int
    groups: int
    loss: float
    accuracy: float
    probability_loss: float
    probability_accuracy: float
    output_distance: float
    probability_distance: float


class Outputs:
    """Outputs (S, N, K) of some nets on the same images, and of a classification their probabilities."""

    def __init__(self, outputs: Sequence[Tensor], loss: Loss) -> None:
        self.loss: Loss = loss
        self.raw_SNK = torch.stack([one.double() for one in outputs])
        self.logs_SNK = None if loss == "mse" else self.raw_SNK.log_softmax(2)
        self.spread = _spread(self.raw_SNK)
        self.probabilities = None if self.logs_SNK is None else _spread(self.logs_SNK.exp())

    def scores(self, y: Tensor, widest: Outputs | None) -> Iterator[EnsembleScores]:
        """Ensembles of each of `sizes`, judged by labels or goals `y`; `widest` are the nets of reference.

        Those of one size share no net. Nets are taken in their order; a rest too small for another ensemble
        is in none.
        """
        for size in sizes(len(self.raw_SNK)):
            yield self._of_size(size, y, widest)

    def _of_size(self, size: int, y: Tensor, widest: Outputs | None) -> EnsembleScores:
        groups = len(self.raw_SNK) // size
        means_GNK = _means(self.raw_SNK, size)
        nan_G = torch.full((groups,), math.nan)
        hard, soft = [self._judge(mean_NK, y) for mean_NK in means_GNK], nan_G.expand(2, -1).T.tolist()
        mixed_GNK = None
        if self.logs_SNK is not None:
            by_group = self.logs_SNK[: groups * size].unflatten(0, (groups, size))
            logs_GNK = by_group.logsumexp(1) - math.log(size)
            soft = [self._judge_logs(log_NK, y) for log_NK in logs_GNK]
            mixed_GNK = logs_GNK.exp()
        distances = [math.nan, math.nan]
        if widest is not None:
            distances = [
                math.nan if means is None or there is None else _distance(means, there)
                for means, there in ((means_GNK, widest.spread), (mixed_GNK, widest.probabilities))
            ]
        return EnsembleScores(size, groups, *_averages(hard), *_averages(soft), *distances)

    def _judge(self, outputs_NK: Tensor, y: Tensor) -> list[float]:
        goals = y.double() if self.loss == "mse" else y
        right_N = right_answers(self.loss, outputs_NK, y)
        known = right_N is not None and bool(outputs_NK.isfinite().all())
        accuracy = float(right_N.double().mean()) if right_N is not None and known else math.nan
        return [float(mean_loss(self.loss, outputs_NK, goals)), accuracy]

    def _judge_logs(self, logs_NK: Tensor, y: Tensor) -> list[float]:
        if logs_NK.isnan().any():
            return [math.nan, math.nan]
        return [float(F.nll_loss(logs_NK, y)), float((logs_NK.argmax(1) == y).double().mean())]


def _spread(values: Tensor) -> SeedSpread:
    found = SeedSpread()
    for value in values:
        found.add(value)
    return found


def _means(values_SNK: Tensor, size: int) -> Tensor:
    groups = len(values_SNK) // size
    return values_SNK[: groups * size].unflatten(0, (groups, size)).mean(1)


def _averages(scores: Sequence[Sequence[float]]) -> list[float]:
    return torch.tensor(scores, dtype=torch.float64).mean(0).tolist()


def _distance(means_GNK: Tensor, widest: SeedSpread) -> float:
    apart = float((means_GNK - widest.mean).square().mean())
    return apart - widest.variance / widest.nets
