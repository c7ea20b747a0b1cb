"""The one door to the compiled CPU kernels: a network comes back faster, or as it was.

The kernels are machine code that LLVM makes for this processor when it is first needed, through llvmlite.
Everything else asks here and imports none of the kernels' modules. Nothing here loads torch or llvmlite
before a network or a step is asked for, so that the planner may ask for `work_bytes`.

What is taken, of float32 tensors on a CPU alone:

- 3x3 convs with stride 1 and a border of one zero, from and to multiples of 16 channels, whose maps are at
  most 64 tiles wide (256 positions, or 128 on maps with a side of 1 or 2), with the ReLU before them and the
  ReLU and 2x2 pooling after them (`tasks.kernels.winograd`).
- BN followed by a ReLU, and by 2x2 pooling of even maps, of a multiple of 4 channels and at least 4,096
  numbers an image, with no shortcut between (`tasks.kernels.fused_norm`).
- Steps of SGD with momentum, of tensors without gaps in memory (`tasks.kernels.sgd_kernel`).

What they promise:

- Shapes, parameters and types are PyTorch's. Maps come with channels last in memory.
- The function is the same but for rounding. Outputs and gradients of convs on tiles of 4 x 4 are off by 1e-6
  to 3e-6 of their norms, where PyTorch's are off by 2e-7 to 1e-6. A small output beside a number a thousand
  times as large has three digits less. NaN or infinity reaches the whole tile. Where numbers of a pooled
  square are equal but for rounding, any of them may get the gradient. A step of SGD is rounded in float32 as
  PyTorch's is, not always to the same bits; those of a number do not depend on where in its tensor it stands.
- The same input gives the same bits, from run to run and however training is cut at snapshots.

A network comes back as it was if it is several nets in one, if its numbers are not float32 on a CPU, under
autocast, if the kernels are `off`, or if llvmlite cannot be loaded. A network that is taken leaves each layer
that the kernels do not know to PyTorch.

What they never do: change a key, a table or a checkpoint; compute in bfloat16, in float64 or on a GPU; start
threads; give second derivatives; give the features of single layers (a network that comes back faster answers
`logits` alone, with gradients only if BN is in training).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from espalier.tasks.kernels.tiling import work_bytes
from espalier.tasks.spec import Architecture, Kernels

if TYPE_CHECKING:
    from torch import Tensor

    from espalier.tasks.kernels.sgd_kernel import Step
    from espalier.tasks.networks.network import Network

__all__ = ["Use", "compiles", "faster", "kernels", "sgd_step", "work_bytes"]


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
    if not _usable():
        return network
    from espalier.tasks.kernels.compiled_network import compiled

    return compiled(network)


def compiles(architecture: Architecture) -> bool:
    """Whether the kernels may be used, and take any layer."""
    if not _usable():
        return False
    from espalier.tasks.kernels import compiled_network

    return compiled_network.compiles(architecture)


def sgd_step(
    weights: Sequence[Tensor], *, rate: float, decay: float, momentum: float, nesterov: bool
) -> Step | None:
    """A step of SGD in one pass over each of these tensors, or None if PyTorch is to take it."""
    if not momentum or any(weight.device.type != "cpu" for weight in weights) or not _usable():
        return None
    from espalier.tasks.kernels.sgd_kernel import Step, suits

    if not all(suits(weight) for weight in weights):
        return None
    return Step(rate=rate, decay=decay, momentum=momentum, nesterov=nesterov)


def _usable() -> bool:
    """Whether kernels may be used and llvmlite can be loaded; why it cannot is noted once."""
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
