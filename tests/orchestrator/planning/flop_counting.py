"""How many operations PyTorch does, by its own formulas."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from espalier.tasks.kernels.compiled import kernels


def addmm_in_place(total, a, b, out_shape=None, **options):
    """What PyTorch's registry does not know: it has `addmm` and not its in-place form."""
    return 2 * a[0] * a[1] * b[1]


FORMULAS = {**flop_registry, torch.ops.aten.addmm_: addmm_in_place}


class Counter(TorchDispatchMode):
    """PyTorch's `FlopCounterMode` without its table of modules, which takes most of the time here."""

    def __init__(self):
        super().__init__()
        self.flops = 0

    @classmethod
    def _should_skip_dynamo(cls):
        """Nothing is compiled here, and to hide from the compiler takes longer than to count."""
        return False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        answer = function(*args, **(kwargs or {}))
        formula = FORMULAS.get(function._overloadpacket)
        if formula is addmm_in_place:
            self.flops += formula(*(value.shape for value in args))
        elif formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=answer)
        return answer


def counted(work):
    """The operations of a call: a product and a sum are two. Those of compiled kernels would go unseen."""
    with Counter() as counter, kernels("off"):
        work()
    return counter.flops
