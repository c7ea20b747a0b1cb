"""Which convs are cut in tiles, and what their filters take."""

from dataclasses import replace

from tasks.architectures import conv
from tasks.spec import Architecture, Layer
from tasks.tiling import filter_bytes, outputs_of, planes_of, suits

LAYER = Layer("conv", 32, 3, 1)


def test_it_is_for_wide_convs_of_3x3_with_a_border_and_without_steps():
    assert suits(LAYER, (32, 8, 8))
    for other in ({"kernel": 5, "padding": 2}, {"stride": 2}, {"padding": 0}, {"out": 16}, {"out": 40}):
        assert not suits(replace(LAYER, **other), (32, 8, 8)), other
    assert not suits(LAYER, (3, 8, 8))
    assert not suits(Layer("dense", 64), (64, 3, 3))


def test_small_maps_have_small_tiles():
    assert [outputs_of(*size) for size in ((2, 2), (2, 9), (3, 3), (28, 28))] == [2, 2, 4, 4]
    assert [planes_of(m) for m in (2, 4)] == [16, 36]


def test_filters_take_a_plane_for_each_product():
    """Two convs of 32 and 64 channels: 36 and 16 planes; the largest is there three times."""
    architecture = Architecture(
        (32, 4, 4), (replace(LAYER, pool=2), replace(LAYER, out=64), Layer("dense", 5, activation="none"))
    )
    assert filter_bytes(architecture) == 4 * (3 * 36 * 32 * 32 + 16 * 32 * 64)
    assert filter_bytes(conv([1, "pool", 1], 8, (1, 8, 8), 5)) == 0
