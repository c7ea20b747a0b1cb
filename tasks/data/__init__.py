"""Images as tensors: reading them from their sources, choosing subsets, normalising and augmenting them.

May import `spec` and `seeds` alone. `from espalier.tasks.data import load` gives a data set by its name;
importing the room loads no PyTorch before that. Start with `tensors`, then with `images`, which knows the
sources.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espalier.tasks.data.tensors import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'espalier.tasks.data' has no attribute '{name}'; it has {__all__}")
    return getattr(import_module("espalier.tasks.data.tensors"), name)
