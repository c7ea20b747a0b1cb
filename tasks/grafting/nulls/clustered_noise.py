"""The null `clustered_noise`: random maps with the source's covariance that know an image's class alone.

Smith, Mannering & Marcu 2025, "Functional Alignment Can Mislead" (ICML): such noise can be stitched into a
net that works. Where the accuracy of a graft survives it and the error does not, accuracy is no evidence of
like features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.tasks.grafting.nulls.null import Noise, Null, Variant, another
from espalier.tasks.spec import NetSpec

if TYPE_CHECKING:
    from espalier.tasks.data.tensors import Data
    from espalier.tasks.networks.network import Network


def _noise(network: Network, net: NetSpec, data: Data) -> Noise:
    from espalier.tasks.grafting.nulls.class_noise import ClassNoise  # here, since it loads torch

    return ClassNoise(network, data.x_train, net.seed, net.width)


def _unfit(net: NetSpec) -> str:
    return "" if net.recipe.loss == "cross_entropy" else "a regression has no classes"


CLUSTERED_NOISE = Null("clustered_noise", another, Variant(noise=_noise, walks=1), unfit=_unfit)
