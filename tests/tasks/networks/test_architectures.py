"""A layer list makes the network it reads as, or says why it makes none."""

import pytest

from espalier.tasks.networks.architectures import (
    ArchitectureError,
    evaluation_batch,
    input_shapes,
    parameter_count,
    patch_dim,
    weight_shape,
)
from espalier.tasks.networks.families.conv import conv
from espalier.tasks.spec import Layer, layer_name


def test_entries_are_width_multiples_and_a_pool_belongs_to_the_conv_before_it():
    net = conv([1, 2, "pool", 4], width=3, image=(1, 8, 8), classes=10)
    assert net.layers == (
        Layer("conv", 3, kernel=3, padding=1),
        Layer("conv", 6, kernel=3, padding=1, pool=2),
        Layer("conv", 12, kernel=3, padding=1),
        Layer("dense", 10, activation="none"),
    )
    assert net.depth == 4


def test_shapes_keep_the_map_under_convs_and_halve_it_under_pools():
    net = conv([1, "pool", 2, "pool"], width=3, image=(2, 7, 9), classes=5)
    assert input_shapes(net) == [(2, 7, 9), (3, 3, 4), (6, 1, 2)]
    assert [weight_shape(*pair) for pair in zip(net.layers, input_shapes(net), strict=True)] == [
        (3, 2, 3, 3), (6, 3, 3, 3), (5, 12),
    ]  # fmt: skip
    assert [patch_dim(*pair) for pair in zip(net.layers, input_shapes(net), strict=True)] == [18, 27, 12]
    assert parameter_count(net) == 3 * 19 + 6 * 28 + 5 * 13


@pytest.mark.parametrize(
    ("entries", "image", "words"),
    [
        ([], (1, 8, 8), ["has no conv", "[1, 'pool', 2]"]),
        (["pool"], (1, 8, 8), ["entry 1", "pool that follows no conv"]),
        (["pool", 1], (1, 8, 8), ["entry 1", "pool that follows no conv"]),
        ([1, "pool", "pool"], (1, 8, 8), ["entry 3", "pool that follows no conv"]),
        ([1, "pool", 1, "pool"], (1, 3, 8), ["layer 2", "1x4 into 0x2", "images of 3x8", "pool less often"]),
    ],
)
def test_a_list_that_makes_no_network_says_why(entries, image, words):
    with pytest.raises(ArchitectureError) as caught:
        conv(entries, width=2, image=image, classes=3)
    for word in words:
        assert word in str(caught.value)
    assert caught.value.hopeless


def test_a_map_may_be_pooled_down_to_1x1():
    net = conv([1, "pool", 1, "pool", 1, "pool"], width=2, image=(1, 8, 8), classes=3)
    assert input_shapes(net)[-1] == (2, 1, 1)


def test_layers_are_named_by_kind_and_number():
    net = conv([1, "pool", 2], width=2, image=(1, 8, 8), classes=3)
    assert [layer_name(net, layer) for layer in (1, 2, 3)] == ["conv1", "conv2", "dense1"]


def test_batches_of_evaluation_are_smaller_the_larger_the_maps():
    def batch(width, side):
        return evaluation_batch(conv([1, 1, "pool", 2, 2, "pool"], width, (1, side, side), 10))

    assert batch(8, 8) == 1024
    # (2 x 16 x 28 x 28 + 2 x 32 x 14 x 14 + 10) x 4 bytes over 5 layers: 30,114 bytes an image
    assert batch(16, 28) == 83
    assert batch(128, 28) == 64
