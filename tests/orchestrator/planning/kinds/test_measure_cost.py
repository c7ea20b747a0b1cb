"""What single measures cost: each is known, and wide nets cost what their fewer permutations take."""

import pytest

from espalier.orchestrator.planning.kinds.measure_cost import (
    BY_PRODUCTS,
    OF_IMAGES,
    OF_PAIRS,
    Sizes,
    net_flops,
    pair_flops,
)
from espalier.tasks.measures.known_measures import MEASURES


def total(names, channels, images=1000, positions=1, permutations=999):
    sizes = Sizes(images, positions, channels, channels, permutations)
    return 2 * net_flops(names, images) + pair_flops(tuple(names), sizes)


def test_every_measure_has_a_cost_and_only_measures_have():
    assert {*OF_IMAGES, *OF_PAIRS} == {*MEASURES}
    assert {*OF_PAIRS} >= BY_PRODUCTS
    assert all(total([name], 16) > 0 for name in MEASURES)


@pytest.mark.parametrize(
    ("name", "channels", "images", "positions", "permutations", "seconds"),
    [
        ("cka", 16, 1000, 1, 999, 0.055),
        ("cka_channels", 64, 1000, 64, 999, 0.158),  # of a tile of 8 nets of width 16 and 3 layers, for two
        ("rsa", 16, 1000, 1, 999, 0.100),
        ("cca_mean", 64, 1000, 64, 999, 0.143),
        ("pwcca", 64, 1000, 64, 999, 0.113),
        ("energy", 1000, 500, 1, 99, 0.61),
        ("mmd", 128, 1000, 16, 999, 0.015),
        ("mmd_inputs", 1000, 500, 1, 99, 1.53),
        ("semi_match", 64, 1000, 64, 999, 0.095),
        ("semi_match", 1000, 500, 1, 99, 1.18),
        ("procrustes", 1000, 500, 1, 99, 3.80),
        ("alignment", 1000, 500, 1, 99, 2.33),
        ("match", 64, 1000, 64, 999, 0.111),
        ("sliced_w2", 1000, 500, 1, 99, 3.60),
        ("sliced_w2", 64, 1000, 64, 999, 0.076),
    ],
)
def test_costs_are_within_a_factor_of_two_of_what_was_measured(
    name, channels, images, positions, permutations, seconds
):
    """Of one pair on an Intel Xeon with 177 GFLOP/s of float32 products, a quarter of which is the unit."""
    predicted = total([name], channels, images, positions, permutations) / (177e9 / 4)
    assert seconds / 2 < predicted < 2 * seconds


def test_the_products_of_permuted_images_count_once_for_all_measures_from_them():
    both, alone = total(["match", "semi_match"], 64), [total([n], 64) for n in ("match", "semi_match")]
    assert max(alone) < both < sum(alone)


def test_wide_nets_take_fewer_permutations_of_a_decomposition():
    """From 64 to 128 channels a decomposition takes eight times as long, and there are a quarter of them."""

    def decomposed(channels):
        return total(["procrustes", "match"], channels) - total(["match"], channels)

    assert decomposed(128) == pytest.approx(8 * 49 / 199 * decomposed(64))
