"""A step of SGD with momentum in one pass over a tensor, as machine code.

As `torch.optim.SGD` (Sutskever et al. 2013), with slope g, weight w, buffer m and decay d:

    g <- g + d w        m <- momentum m + g        w <- w - rate (g + momentum m with Nesterov, else m)

Each number is computed by itself: its bits do not depend on where in a tensor it stands.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from espalier.tasks.kernels.vector_code import BYTES, LANES, Code, Kernel


class Step:
    """One step's factors, for any number of float32 tensors on the CPU."""

    def __init__(self, *, rate: float, decay: float, momentum: float, nesterov: bool) -> None:
        factors = torch.tensor([[rate], [decay], [momentum]], dtype=torch.float32)
        self._factors, self._kind = factors.expand(3, LANES).contiguous(), (nesterov, decay != 0.0)

    def after(self, weight: Tensor, slope: Tensor, buffer: Tensor | None) -> Tensor:
        """Change `weight` in place; the buffer after the step, of None as of zeros.

        Slopes and buffers may lie in another order in memory than the weight.
        """
        buffer = torch.zeros_like(weight) if buffer is None else alike(buffer, weight)
        self.take(weight, alike(slope, weight), buffer)
        return buffer

    def take(self, weight: Tensor, slope: Tensor, buffer: Tensor) -> None:
        """Change `weight` and `buffer` in place; all three lie alike in memory, without gaps."""
        count = weight.numel()
        whole = count - count % LANES
        places = [value.data_ptr() for value in (weight, slope, buffer)]
        if whole:
            _kernel(LANES, *self._kind)(*places, self._factors, whole)
        if whole < count:
            rest = [place + BYTES * whole for place in places]
            _kernel(1, *self._kind)(*rest, self._factors, count - whole)


def suits(weight: Tensor) -> bool:
    """Whether `Step` can take it: float32 on the CPU, without gaps."""
    return (weight.dtype, weight.device.type) == (torch.float32, "cpu") and bool(_orders(weight))


def alike(value: Tensor, weight: Tensor) -> Tensor:
    """The same numbers, in the order in memory that the weight's have."""
    return value if _orders(value) & _orders(weight) else torch.empty_like(weight).copy_(value)


def _orders(value: Tensor) -> set[torch.memory_format]:
    """The orders in which its numbers lie without gaps; two where an axis has one number."""
    orders = [torch.contiguous_format, *[torch.channels_last] * (value.dim() == 4)]
    return {order for order in orders if value.is_contiguous(memory_format=order)}


@cache
def _kernel(lanes: int, nesterov: bool, decays: bool) -> Kernel:
    """`(weight, slope, buffer, factors)` and the number of numbers, a multiple of `lanes`."""
    code = Code(4, 1, lanes)
    weight, slope, buffer, factors, count = code.arguments
    rate, decay, momentum = (code.load(factors + LANES * row) for row in range(3))
    with code.loop(count.over(lanes)) as block:
        at = block * lanes
        w, m = code.load(weight + at), code.load(buffer + at)
        g = code.load(slope + at)
        g = g + decay * w if decays else g  # an infinite weight would be NaN by a decay of 0
        m = momentum * m + g
        code.store(buffer + at, m)
        code.store(weight + at, w - rate * (g + momentum * m if nesterov else m))
    return code.compile()
