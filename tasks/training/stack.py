"""Several nets of one architecture as one: each tensor of all nets end to end along its first axis.

A net's part of such a tensor is a contiguous slice, so steps and checkpoints of one net work on views.
Numbers without an axis (such as AdamW's count of steps) are the same for all nets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from espalier.tasks.networks.layout import laid
from espalier.tasks.spec import Layout

Tensors = Mapping[str, Tensor]


def stack(nets: Sequence[Tensors], layout: Layout = "contiguous") -> dict[str, Tensor]:
    """New tensors of all nets, from those of each; weights of convs are in the given layout."""
    return {name: laid(_joined([net[name] for net in nets]), layout) for name in nets[0]}


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0].clone() if parts[0].dim() == 0 or len(parts) == 1 else torch.cat(list(parts))


def moved(tensors: Tensors, device: torch.device) -> dict[str, Tensor]:
    """The tensors on a device; numbers without an axis stay, which optimizers read on the CPU."""
    return {name: value.to(device) if value.dim() else value for name, value in tensors.items()}


def part(stacked: Tensors, net: int, nets: int) -> dict[str, Tensor]:
    """One net's tensors: views."""
    return {name: value if value.dim() == 0 else value.chunk(nets)[net] for name, value in stacked.items()}


def own(tensors: Tensors) -> dict[str, Tensor]:
    """Copies that share no memory, in the plain order of a checkpoint."""
    return {
        name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()
    }
