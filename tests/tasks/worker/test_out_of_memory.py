"""Too little memory is a MemoryError whoever says it."""

import pytest
import torch

from espalier.tasks.worker.out_of_memory import as_memory_error


def test_pytorchs_own_allocator_is_understood():
    with pytest.raises(MemoryError), as_memory_error():
        torch.empty(2**58)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError("none left")])
def test_other_ways_to_say_it_are_understood(error):
    with pytest.raises(MemoryError), as_memory_error():
        raise error


def test_another_error_stays_what_it_is():
    with pytest.raises(RuntimeError, match="sizes"), as_memory_error():
        raise RuntimeError("sizes do not match")
