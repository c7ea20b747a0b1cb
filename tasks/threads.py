"""How many threads PyTorch computes with."""

from __future__ import annotations

import torch


def use_one_thread() -> None:
    """One thread for this process: a slot is one core, and bits do not depend on the machine's cores."""
    torch.set_num_threads(1)
