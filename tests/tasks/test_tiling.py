"""Which convs are cut in tiles, and the memory that takes."""

from dataclasses import replace

from tasks.architectures import conv
from tasks.spec import Architecture, Layer
from tasks.tiling import outputs_of, planes_of, suits, tiles_of, work_bytes

LAYER = Layer("conv", 32, 3, 1)


def test_it_is_for_wide_convs_of_3x3_with_a_border_and_without_steps():
    assert suits(LAYER, (32, 8, 8))
    assert suits(replace(LAYER, out=16), (16, 8, 256))
    for other in ({"kernel": 5, "padding": 2}, {"stride": 2}, {"padding": 0}, {"out": 8}, {"out": 40}):
        assert not suits(replace(LAYER, **other), (32, 8, 8)), other
    for shape in ((3, 8, 8), (8, 8, 8), (32, 8, 257)):
        assert not suits(LAYER, shape)
    assert not suits(Layer("dense", 64), (64, 3, 3))


def test_small_maps_have_small_tiles():
    assert [outputs_of(*size) for size in ((2, 2), (2, 9), (3, 3), (28, 28))] == [2, 2, 4, 4]
    assert [planes_of(m) for m in (2, 4)] == [16, 36]
    assert [tiles_of(*size) for size in ((2, 2), (2, 9), (3, 3), (28, 29))] == [
        (1, 1),
        (1, 5),
        (1, 1),
        (7, 8),
    ]


def test_a_step_holds_planes_of_the_largest_conv():
    """Of two, of 32 and 64 channels: filters and their gradients, and room for 64 tiles."""
    first, second = replace(LAYER, pool=2), replace(LAYER, out=64)
    dense = Layer("dense", 5, activation="none")
    assert work_bytes(Architecture((32, 4, 4), (first, dense))) == 4 * 36 * (2 * 32 * 32 + 65 * 64)
    assert work_bytes(Architecture((32, 4, 4), (first, second, dense))) == 4 * 36 * (2 * 32 * 32 + 65 * 64)
    assert work_bytes(Architecture((32, 4, 4), (second, dense))) == 4 * 36 * (2 * 32 * 64 + 65 * 96)
    assert work_bytes(conv([1, "pool", 1], 8, (1, 8, 8), 5)) == 0
