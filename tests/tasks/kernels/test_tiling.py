"""Which convs are cut in tiles, and the memory that takes."""

from dataclasses import replace

from espalier.tasks.kernels.plane_products import Matrices, Planes
from espalier.tasks.kernels.tiling import outputs_of, planes_of, suits, tiles_of, work_bytes
from espalier.tasks.networks.families.conv import conv
from espalier.tasks.spec import Architecture, Layer

LAYER = Layer("conv", 32, 3, 1)


def test_it_is_for_convs_of_3x3_with_a_border_and_without_steps():
    assert suits(LAYER, (32, 8, 8))
    assert suits(replace(LAYER, out=16), (16, 8, 256))
    for other in ({"kernel": 5, "padding": 2}, {"stride": 2}, {"padding": 0}, {"out": 8}, {"out": 40}):
        assert not suits(replace(LAYER, **other), (32, 8, 8)), other
    for shape in ((3, 8, 8), (8, 8, 8), (0, 8, 8), (32, 8, 257), (32, 2, 129)):
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


def test_a_step_holds_the_largest_filters_planes_strips_and_marks():
    """Convs of 32 to 32 channels on 4 x 4, and of 32 to 64 on 2 x 2 after pooling."""
    first, second = replace(LAYER, pool=2), replace(LAYER, out=64)
    dense = Layer("dense", 5, activation="none")
    filters = [2 * Matrices.numbers(36, 32, 32), 2 * Matrices.numbers(16, 32, 64)]
    room = [2 * Planes.numbers(32, 36), Planes.numbers(32, 16) + Planes.numbers(64, 16)]
    strips = [6 * 6 * 16 * 4, 4 * 4 * 16 * 4]  # one of g, one of h, two of the gradient of h
    marks = [4 * 32 * 64, 2 * 32 * 64]  # a line of 32 numbers for each line of outputs of 64 tiles
    for layers, which in (((first, dense), [0]), ((first, second, dense), [0, 1])):
        expected = 4 * sum(max(each[k] for k in which) for each in (filters, room, strips, marks))
        found = work_bytes(Architecture((32, 4, 4), layers))
        assert 0.99 * expected < found <= expected  # without what lies between planes
    assert work_bytes(conv([1, "pool", 1], 8, (1, 8, 8), 5)) == 0
