"""The sample kernel of one net, and what each of its channels has with itself.

Legend: N images, P positions, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from espalier.tasks.measures.debiased_hsic import hsic_of_maps, hsic_with_itself

BLOCK_CHANNELS = 16
"""Channels whose maps are held at one time."""


def sample_kernel(rows_NPC: Tensor, kind: torch.dtype) -> Tensor:
    """`K = sum over channels and positions of x x^T` (N, N) of features less their mean over images.

    The product is in a type, and so is the kernel.
    """
    flat = _centred(rows_NPC.to(kind)).flatten(1)
    return flat @ flat.T


def own_hsic(rows_NPC: Tensor, kind: torch.dtype) -> Tensor:
    """`HSIC_1(K_c, K_c)` summed over the kernels K_c of single channels, which add up to a net's kernel.

    Products are in a type, their sums in float64. A channel's kernel is made where maps have as many
    positions as there are images; smaller maps are compared in feature space.
    """
    images, positions, _ = rows_NPC.shape
    own = rows_NPC.new_zeros((), dtype=torch.float64)
    for block_NPc in rows_NPC.split(BLOCK_CHANNELS, 2):
        maps_cNP = _centred(block_NPc.to(kind)).permute(2, 0, 1).contiguous()
        if positions < images:
            own += hsic_of_maps(maps_cNP).sum()
            continue
        for map_NP in maps_cNP:
            own += hsic_with_itself(map_NP @ map_NP.T)
    return own


def _centred(rows_NPC: Tensor) -> Tensor:
    return rows_NPC - rows_NPC.mean(0)
