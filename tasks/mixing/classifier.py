"""The last layer of a net, refitted to the features that it reads by the objective of the net's training.

Legend: N images, D features, C outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from torch import Tensor

from espalier.tasks.grafting.graft import warning
from espalier.tasks.grafting.gram import ChannelMoments, PatchMoments, factorise
from espalier.tasks.grafting.layer_input import LayerInput
from espalier.tasks.spec import Layer, Recipe

WEIGHT_WITHOUT_REGULARIZER = 1e-6
"""l2 weight of a classifier whose net has none, times the features' variance in sum: of images that can be
told apart without error the cross-entropy has no minimum at finite weights."""

GRADIENT = 1e-7
"""Largest entry of the gradient at which L-BFGS is done, for features scaled to a variance of 1 in sum."""

STEPS = 2000
"""Most steps of L-BFGS; a fit that needs more carries a warning."""

IMAGES = 2048
"""Images whose features are float64 at a time."""


class Classifier(NamedTuple):
    """The last layer's weight (C, D) and bias (C,) in float64, and a warning or nothing."""

    weight_CD: Tensor
    bias_C: Tensor
    warning: str


def refit(h_ND: Tensor, y: Tensor, outputs: int, recipe: Recipe, ridge: float) -> Classifier:
    """The minimum of the net's objective over its last layer alone, without dropout.

    Of cross-entropy: the mean over images + weight / 2 x the sum of squared weights, by L-BFGS. Biases are
    free, under `reg_biases` too. Of a regression: the same with the mean squared error, least squares.

    Args:
        h_ND: What the layer reads, float32: the one thing that is held for all images.
        y: Labels (N,), or the values (N, C) of a regression.
        outputs: C.
        recipe: How the net was trained.
        ridge: Of least squares alone, as in the layers below: lambda = ridge x trace(G) / D.
    """
    weight = recipe.reg_weight if recipe.regularizer == "l2" else 0.0
    if recipe.loss == "mse":
        return _least_squares(h_ND, y, weight, ridge)
    return _logistic_regression(h_ND, y, outputs, weight)


def _least_squares(h_ND: Tensor, y_NC: Tensor, weight: float, ridge: float) -> Classifier:
    """`(G + lambda I)^-1 R`. Of a mean over N x C squares, l2 adds weight x N x C / 2 to lambda."""
    moments, mean_C = PatchMoments(h_ND.shape[1]), y_NC.double().mean(0)
    cross_CD = torch.zeros(y_NC.shape[1], h_ND.shape[1], dtype=torch.float64, device=h_ND.device)
    for h, y in zip(h_ND.split(IMAGES), y_NC.split(IMAGES), strict=True):
        inputs = LayerInput(Layer("dense", y_NC.shape[1]), h, "float64")
        moments.add(inputs)
        cross_CD += inputs.cross_CD(y - mean_C)
    factor = factorise(moments)
    trace = factor.values_K.sum().item()
    penalty = weight * y_NC.numel() / 2 * factor.dim / trace if trace else 0.0
    # The values are centred, so that the cross term is that of centred features too.
    weight_DC = factor.solve(cross_CD.T, ridge + penalty)
    return Classifier(
        weight_DC.T, mean_C - factor.mean_D @ weight_DC, warning(len(factor.values_K), factor.dim, len(h_ND))
    )


def _logistic_regression(h_ND: Tensor, y_N: Tensor, outputs: int, weight: float) -> Classifier:
    """Multinomial logistic regression, from weights 0."""
    objective = _Objective(h_ND, y_N, outputs, weight)
    options = {"maxiter": STEPS, "maxfun": 2 * STEPS, "gtol": GRADIENT, "ftol": 0.0, "maxcor": 30}
    start = np.zeros((h_ND.shape[1] + 1) * outputs)
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    slope = float(np.abs(found.jac).max())
    said = f"L-BFGS stopped at a gradient of {slope:.0e}" if slope > 10 * GRADIENT else ""
    weight_DC, bias_C = objective.unpack(found.x)
    bias_C = bias_C - objective.mean_D @ weight_DC
    return Classifier(weight_DC.T, bias_C, said or objective.warning)


class _Objective:
    """Mean cross-entropy + weight / 2 x sum of squared weights, and its gradient, for L-BFGS.

    Features are centred, which the biases undo, and share one scale. A scale for each feature or whitening
    makes the penalty uneven: L-BFGS then took 10 to 100 times as many steps on nearly separable features.
    """

    def __init__(self, h_ND: Tensor, y_N: Tensor, outputs: int, weight: float) -> None:
        self._h_ND, self._y_N, self._outputs = h_ND, y_N, outputs
        moments = ChannelMoments(h_ND.shape[1])
        for h in h_ND.split(IMAGES):
            moments.add(h)
        self.mean_D, spread = moments.mean_C, moments.variance_C.sum().item()
        self.warning = "" if spread else "the source layer is constant"
        self._scale = spread**-0.5 if spread else 1.0
        self._weight = weight or WEIGHT_WITHOUT_REGULARIZER * spread

    def unpack(self, flat: np.ndarray) -> tuple[Tensor, Tensor]:
        """`W` (D, C) and the bias (C,) that goes with centred features."""
        moved = torch.from_numpy(flat).to(self._h_ND.device).reshape(-1, self._outputs)
        return moved[:-1] * self._scale, moved[-1]

    def __call__(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        """The value and the gradient at scaled weights and the bias, laid end to end."""
        weight_DC, bias_C = self.unpack(flat)
        value, slope_DC = self._weight / 2 * weight_DC.square().sum().item(), self._weight * weight_DC
        slope_C = torch.zeros_like(bias_C)
        for h, y in zip(self._centred(), self._y_N.split(IMAGES), strict=True):
            logits = h @ weight_DC + bias_C
            value += F.cross_entropy(logits, y, reduction="sum").item() / len(self._y_N)
            error_NC = (logits.softmax(1) - F.one_hot(y, self._outputs)) / len(self._y_N)
            slope_DC += h.T @ error_NC
            slope_C += error_NC.sum(0)
        return value, torch.cat([self._scale * slope_DC, slope_C[None]]).flatten().cpu().numpy()

    def _centred(self) -> Iterator[Tensor]:
        for h in self._h_ND.split(IMAGES):
            yield h.double() - self.mean_D
