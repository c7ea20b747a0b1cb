"""The number type of training: float32, TF32 or bfloat16 (on a GPU; bfloat16 on a CPU too).

Only the factors of products have lower precision: parameters, steps, losses and measurements stay float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from espalier.tasks.spec import Precision


@contextmanager
def tf32(precision: Precision) -> Iterator[None]:
    """Products and convs of float32 numbers in TF32 (10 bits of mantissa) inside, if that is wanted."""
    before = bool(torch.backends.cuda.matmul.allow_tf32), bool(torch.backends.cudnn.allow_tf32)
    _allow_tf32(precision == "tf32", precision == "tf32")
    try:
        yield
    finally:
        _allow_tf32(*before)


def _allow_tf32(products: bool, convs: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = products
    torch.backends.cudnn.allow_tf32 = convs


@contextmanager
def autocast(precision: Precision, x: Tensor) -> Iterator[None]:
    """A forward pass in bfloat16 by PyTorch's autocast inside, if that is wanted."""
    with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
        yield
