"""Whether matchings of three nets agree: a channel that is followed round the cycle should come back.

Cycle consistency (Crisostomi et al. 2024, "C2M3") needs no ground truth: where channels of independent nets
have true counterparts, matching A to B, B to C and C to A is the identity; where a matching picks among
channels of which none is the counterpart, few come back.
"""

from __future__ import annotations

import torch

from espalier.tasks.mixing.weight_matching import Orders


def cycle_share(one_two: Orders, two_three: Orders, three_one: Orders) -> tuple[float, float]:
    """The share of channels that come back to themselves over three nets, and that of random orders.

    Means over streams; a random permutation of C channels leaves one of them in its place, on average.

    >>> swap = {1: torch.tensor([1, 0, 2])}
    >>> cycle_share(swap, swap, {1: torch.arange(3)})
    (1.0, 0.3333333333333333)
    """
    shares, chances = list[float](), list[float]()
    for number, order in one_two.items():
        back = three_one[number][two_three[number][order]]
        shares.append((back == torch.arange(len(back))).double().mean().item())
        chances.append(1 / len(back))
    return sum(shares) / len(shares), sum(chances) / len(chances)
