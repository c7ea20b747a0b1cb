"""The channel Gram matrix against all rows at once."""

import pytest
import torch

from espalier.tasks.measures.channel_gram import BLOCK_ROWS, ChannelGram
from espalier.tasks.spec import WIDE
from tests.tasks.measures.planted_nets import layer_of, noise


@pytest.mark.parametrize(("products", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
def test_batches_add_up_to_the_products_of_all_rows(products, tolerance):
    nets = [noise(10, 40, 3, 2, seed=1) + 1, noise(10, 33, 3, 2, seed=2).float().double()]
    nets = [net.float().double() for net in nets]
    layer = layer_of(*nets, products=products)
    x, y = (net.permute(0, 2, 3, 1).flatten(0, 2) for net in nets)
    pair = layer.gram.pair(0, 1)
    assert pair.products == products
    assert torch.allclose(pair.xy_CC, x.T @ y, rtol=tolerance, atol=60 * tolerance)
    assert torch.allclose(pair.xx_CC, x.T @ x, rtol=tolerance, atol=60 * tolerance)
    assert torch.allclose(pair.x_C, x.sum(0))
    assert torch.allclose(pair.xx_CC.diagonal(), x.square().sum(0), rtol=1e-13)
    wanted = (x - x.mean(0)).T @ (y - y.mean(0))
    assert torch.allclose(pair.centred[2], wanted, atol=100 * tolerance)
    both = torch.cat([x, y], 1)
    distances = torch.cdist(both.T, both.T).square() / both.square().mean() / len(x)
    scale = (x.square().sum() + y.square().sum()) / both.numel()
    assert pair.scale == pytest.approx(scale.sqrt().item())
    assert torch.allclose(pair.square_distances(), distances, atol=100 * tolerance)


def test_narrow_nets_are_float64_whatever_the_setting_and_so_are_pairs_with_one():
    gram = ChannelGram([40, 8, 64])
    assert [gram.type_of(*pair) for pair in ((0, 1), (0, 2), (1, 1))] == ["float64", "float32", "float64"]


def test_longer_batches_than_a_block_are_cut():
    rows = noise(2, BLOCK_ROWS, 3).float()
    gram = ChannelGram([3], "float64")
    gram.add_rows([rows])
    flat = rows.flatten(0, 1).double()
    assert torch.allclose(gram.block(0, 0), flat.T @ flat)


def test_channels_with_a_twin_are_at_distance_zero():
    x = noise(20, 40, 3, 3).relu() + 3
    layer = layer_of(x, x[:, torch.randperm(40)], products="float32")
    distances = layer.gram.pair(0, 1).square_distances()[:40, 40:]
    assert (distances == 0).sum() == 40


def test_the_other_nets_products_do_not_see_a_net_that_is_not_finite():
    nets = [noise(8, 3, 2, 2, seed=seed) for seed in range(3)]
    alone = layer_of(nets[0], nets[2]).gram.pair(0, 1)
    nets[1][0, 0] = torch.nan
    layer = layer_of(*nets)
    assert torch.equal(layer.gram.pair(0, 2).xy_CC, alone.xy_CC)
    assert [layer.gram.finite(net) for net in range(3)] == [True, False, True]


def test_a_pair_is_as_coarse_as_the_products_of_its_wide_net_with_itself():
    """Else rounding of float32 would count as what a narrow net has, or as a distance of twins."""
    wide, narrow = noise(200, WIDE + 8, 2, 2), noise(200, 4, 2, 2, seed=1)
    wide[:, 1] = wide[:, 0]
    pair = layer_of(wide, narrow, products="float32").gram.pair(0, 1)
    assert pair.products == "float32"
    assert pair.square_distances()[0, 1] == 0
    own = layer_of(narrow, noise(200, 3, 2, 2, seed=2), products="float32").gram.pair(0, 1)
    assert own.products == "float64"


@pytest.mark.parametrize("mean", [0, 1, 100])
def test_means_that_are_many_times_the_spread_cost_no_digits(mean):
    level = mean * (1 + noise(40, seed=9).abs())
    nets = [(noise(60, 40, 3, 2, seed=seed) + level[:, None, None]).float().double() for seed in (1, 2)]
    pair = layer_of(*nets, products="float32").gram.pair(0, 1)
    rows = [net.permute(0, 2, 3, 1).flatten(0, 2) for net in nets]
    x, y = (net - net.mean(0) for net in rows)
    for found, wanted in zip(pair.centred, (x.T @ x, y.T @ y, x.T @ y), strict=True):
        assert torch.allclose(found, wanted, rtol=0, atol=1e-6 * 360)  # of squared lengths of about 360
    both = torch.cat(rows, 1)
    distances = (both[:, :, None] - both[:, None]).square().mean(0) / both.square().mean()
    assert torch.allclose(pair.square_distances(), distances, rtol=1e-6, atol=1e-14)
