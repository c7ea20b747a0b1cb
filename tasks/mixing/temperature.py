"""The softmax temperature of a net, chosen anew: one number, by the cross-entropy of some images.

The mean of two nets' weights gives flat logits, and so a loss that is high without any other answer being
given. Ito et al. 2025 ("Do We Really Need Permutations?", arXiv 2510.08023) show that wide nets are connected
without any permutation once the temperature is chosen anew: the null of every matching.

Legend: N images, K classes; b the inverse temperature, which multiplies the logits.
"""

from __future__ import annotations

import torch.nn.functional as F
from scipy.optimize import root_scalar
from torch import Tensor

PRECISION = 1e-12
"""Of the inverse temperature, for logits scaled to a root mean square of 1."""


def best_inverse_temperature(logits_NK: Tensor, y_N: Tensor) -> float:
    """The b that minimises the cross-entropy of `b x logits`, 0 or more.

    The problem is convex. Where all images are classified rightly the loss would fall for ever, so a share
    of 1 / (N + 1) of each label is spread evenly over the classes, as if one image more had told nothing. b
    is 0 where the logits say less than nothing, 1 where they are all alike, and NaN where they are not
    finite.
    """
    z_NK = logits_NK.double() - logits_NK.double().mean(1, keepdim=True)
    size = z_NK.square().mean().sqrt().item()
    if not size > 0:
        return 1.0 if size == 0 else float("nan")
    z_NK = z_NK / size
    told = len(y_N) / (len(y_N) + 1)
    wanted = told * z_NK.gather(1, y_N[:, None]).mean().item()

    def slope(b: float) -> float:
        return (z_NK * (b * z_NK).softmax(1)).sum(1).mean().item() - wanted

    if slope(0.0) >= 0:
        return 0.0
    above = 1.0
    while slope(above) < 0:
        above *= 2
    found = root_scalar(slope, bracket=(0.0, above), xtol=PRECISION, rtol=PRECISION)
    return float(found.root) / size


def tempered_loss(logits_NK: Tensor, y_N: Tensor, b: float) -> float:
    """Mean cross-entropy, in nats, at the inverse temperature b."""
    return F.cross_entropy(b * logits_NK.double(), y_N).item()
