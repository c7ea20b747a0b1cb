"""One error for running out of memory, whichever way PyTorch reports it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def as_memory_error() -> Iterator[None]:
    """Raise MemoryError where PyTorch reports in its own ways that memory ran out, on a GPU or a CPU."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryError(str(error)) from error
    except RuntimeError as error:
        # A CPU's allocator has no class of its own; it says one or the other, by the system.
        if any(text in str(error) for text in ("not enough memory", "can't allocate memory")):
            raise MemoryError(str(error)) from error
        raise
