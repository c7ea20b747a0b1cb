"""The sample kernel of one net, and what each of its channels has with itself.

Legend: N images, P positions, C channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from espalier.tasks.measures.debiased_hsic import hsic_of_features, hsic_with_itself


class SampleKernel(NamedTuple):
    """`K = sum over channels and positions of x x^T` (N, N), and the sum over channels of their `HSIC_1`.

    `own` is `HSIC_1(K_c, K_c)` summed over the kernels K_c of single channels, which add up to K.
    """

    kernel_NN: Tensor
    own: Tensor


def sample_kernel(rows_NPC: Tensor, kind: torch.dtype) -> SampleKernel:
    """From a net's features, each less its mean over images, with products in a type.

    A channel's own kernel is made, and K is their sum, where maps have as many positions as there are images;
    smaller ones are compared in feature space.
    """
    centred_NPC = rows_NPC.to(kind) - rows_NPC.to(kind).mean(0)
    channels = centred_NPC.unbind(2)
    if centred_NPC.shape[1] < len(centred_NPC):
        flat = centred_NPC.flatten(1)
        own = torch.stack([hsic_of_features([map_NP])[0, 0] for map_NP in channels]).sum()
        return SampleKernel(flat @ flat.T, own)
    images = len(centred_NPC)
    kernel_NN = centred_NPC.new_zeros(images, images)
    own = centred_NPC.new_zeros((), dtype=torch.float64)
    for map_NP in channels:
        part_NN = map_NP @ map_NP.T
        kernel_NN += part_NN
        own += hsic_with_itself(part_NN)
    return SampleKernel(kernel_NN, own)
