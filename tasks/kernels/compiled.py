"""The one door to the compiled CPU kernels: a network comes back faster, or as it was (see `tasks.kernels`).

Nothing here loads torch or llvmlite before a network or a step is asked for, so that the planner may ask for
`work_bytes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from espalier.tasks.kernels.tiling import cross_bytes, filter_bytes, suits, work_bytes
from espalier.tasks.spec import Architecture, Kernels, Layer

ROUNDING = 2
"""Bumped by hand when a change of the kernels changes the bits of a training; `probes.json` keeps it.

Since 2 a patch of zeros gives the bias exactly (`tasks.kernels.zero_patches`).
"""

if TYPE_CHECKING:
    from torch import Tensor

    from espalier.tasks.kernels.compared_network import ComparedNetwork
    from espalier.tasks.kernels.cross_sums import CrossSums
    from espalier.tasks.kernels.sgd_kernel import Step
    from espalier.tasks.networks.network import Network

__all__ = [
    "ROUNDING",
    "Use",
    "comparing",
    "compiles",
    "cross_bytes",
    "crosses",
    "faster",
    "filter_bytes",
    "kernels",
    "sgd_step",
    "suits",
    "summing_crosses",
    "usable",
    "work_bytes",
]


@dataclass
class Use:
    """Whether the kernels may be used, and a line for the user if they were wanted but cannot be loaded."""

    setting: Kernels = "auto"
    notes: list[str] = field(default_factory=list[str])


_use: ContextVar[Use] = ContextVar("_use", default=Use())  # noqa: B039 - notes without a listener go nowhere


@contextmanager
def kernels(setting: Kernels) -> Iterator[Use]:
    """Allow the kernels, or with `off` leave all to PyTorch, while the context lasts.

    >>> with kernels("off"):
    ...     compiles(Architecture((16, 8, 8), ()))
    False
    """
    use = Use(setting)
    token = _use.set(use)
    try:
        yield use
    finally:
        _use.reset(token)


def faster(network: Network) -> Network:
    """The network by compiled kernels where they take its numbers, else the network itself."""
    if not usable():
        return network
    from espalier.tasks.kernels.compiled_network import compiled

    return compiled(network)


def comparing(network: Network) -> ComparedNetwork | None:
    """The network, its maps compared while they are in the cache, if kernels take any of its convs."""
    if not filter_bytes(network.architecture) or not usable():
        return None
    from espalier.tasks.kernels import compared_network

    return compared_network.comparing(network)


def crosses(layer: Layer, shape: tuple[int, int, int]) -> bool:
    """Whether the cross terms of a float32 conv that reads such maps may be by `summing_crosses`."""
    return suits(layer, shape) and usable()


def summing_crosses(pairs: Sequence[tuple[int, int]], beside: CrossSums | None) -> CrossSums:
    """Sums of cross terms of these pairs: the number of a map that is read, and of one that is written.

    Memory for work is shared with the sums `beside` them.
    """
    from espalier.tasks.kernels.cross_sums import CrossSums

    return CrossSums(pairs, beside)


def compiles(architecture: Architecture) -> bool:
    """Whether the kernels may be used, and take any layer."""
    if not usable():
        return False
    from espalier.tasks.kernels import compiled_network

    return compiled_network.compiles(architecture)


def sgd_step(
    weights: Sequence[Tensor], *, rate: float, decay: float, momentum: float, nesterov: bool
) -> Step | None:
    """A step of SGD in one pass over each of these tensors, or None if PyTorch is to take it."""
    if not momentum or any(weight.device.type != "cpu" for weight in weights) or not usable():
        return None
    from espalier.tasks.kernels.sgd_kernel import Step, suits

    if not all(suits(weight) for weight in weights):
        return None
    return Step(rate=rate, decay=decay, momentum=momentum, nesterov=nesterov)


def usable() -> bool:
    """Whether kernels may be used and llvmlite can be loaded, which it is; why it cannot is noted once."""
    use = _use.get()
    if use.setting == "off":
        return False
    problem = _problem()
    if problem and problem not in use.notes:
        use.notes.append(problem)
    return not problem


@cache
def _problem() -> str:
    """Why llvmlite cannot be loaded in this process, or nothing."""
    try:
        from llvmlite import binding

        binding.get_host_cpu_features()  # loads the shared library
    except (ImportError, OSError) as error:
        return (
            f"llvmlite cannot be loaded ({type(error).__name__}: {error}), so PyTorch trains without the "
            "compiled kernels: results differ by rounding, and wide nets take longer; install llvmlite anew, "
            'or set run.kernels = "off"'
        )
    return ""
