"""Cross terms of many pairs against PyTorch's weight gradients in float64."""

import pytest
import torch
from torch.nn.grad import conv2d_weight

from espalier.tasks.kernels.cross_sums import CrossSums


def maps(count, channels, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(7, channels, *size, generator=generator).relu() for _ in range(count)]


def expected(h, z):
    size = (z.shape[1], h.shape[1], 3, 3)
    return conv2d_weight(h.double(), size, z.double(), padding=1).flatten(1)


@pytest.mark.parametrize("size", [(1, 5), (2, 2), (7, 6), (21, 30)], ids=str)
def test_sums_of_pairs_are_weight_gradients_of_both_batches(size):
    """Of fewer tiles than are in use at once, and of more; nets of two widths."""
    read, written = maps(1, 16, size) + maps(1, 32, size, 1), maps(1, 48, size, 2) + maps(1, 32, size, 3)
    pairs = [(0, 1), (1, 0), (1, 1)]
    sums = CrossSums(pairs)
    for batch in (slice(0, 5), slice(5, 7)):
        sums.add([h[batch] for h in read], [z[batch] for z in written])
    for number, (one, other) in enumerate(pairs):
        wanted = expected(read[one], written[other])
        assert (sums.of(number) - wanted).norm() <= 2e-6 * wanted.norm()


def test_the_sums_of_a_pair_do_not_depend_on_other_pairs():
    read, written = maps(3, 32, (9, 9)), maps(3, 32, (9, 9), 1)
    pairs = [(0, 0), (0, 2), (2, 1)]
    together = CrossSums(pairs)
    together.add(read, written)
    for number, (one, other) in enumerate(pairs):
        alone = CrossSums([(0, 0)], beside=together)
        alone.add([read[one]], [written[other]])
        assert torch.equal(alone.of(0), together.of(number))


def test_taps_that_never_meet_a_map_of_one_row_have_no_sum():
    sums = CrossSums([(0, 0)])
    sums.add(maps(1, 16, (1, 5)), maps(1, 16, (1, 5), 1))
    assert (sums.of(0).view(16, 16, 3, 3)[:, :, [0, 2]] == 0).all()
