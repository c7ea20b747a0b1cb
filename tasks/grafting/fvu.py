"""FVU, the fraction of variance unexplained, and how small rounding lets it be known.

Legend: as in `tasks.grafting.gram`.
"""

from __future__ import annotations

from torch import Tensor

ROUNDING = 2.0**-22
"""What a float32 feature is off by, about, as a share of its size: a few last bits (2^-24 each).

Exact grafts of cosine's nets end there, and PyTorch's convs are off by it (docs/decisions/fits-from-rows.md).
"""

DEAD_VARIANCE = 1e-8
"""A channel is dead if its variance is below this share of its layer's mean: float32 rounding is 1e-14."""


def known_variance(mean_C: Tensor, variance_C: Tensor) -> Tensor:
    """The variance (C,), 0 where it is not more than the rounding of the values' own size."""
    return variance_C.where(variance_C > ROUNDING**2 * (mean_C.square() + variance_C), 0.0)


def live_channels(variance_C: Tensor) -> Tensor:
    """Mask (C,) of the channels with more than rounding's variance."""
    return variance_C > DEAD_VARIANCE * variance_C.mean()


def fraction_unexplained(error_C: Tensor, variance_C: Tensor) -> float | None:
    """Mean squared error over variance, each summed over channels, never over the uncentred norm.

    None for a layer without variance; NaN stays NaN.
    """
    error, variance = error_C.sum().item(), variance_C.sum().item()
    if variance == 0:
        return None
    return 0.0 if error < 0 else error / variance


def fraction_unexplained_mean(error_C: Tensor, variance_C: Tensor) -> float | None:
    """Mean over live channels of error over variance (Gu et al. 2020's normalisation); None without any."""
    live = live_channels(variance_C)
    return (error_C[live] / variance_C[live]).mean().item() if live.any() else None
