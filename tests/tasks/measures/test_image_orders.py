"""Shifts along circles are permutations, the same for all layers, and transforms give what they give."""

import pytest
import torch
from scipy.stats import kstest

from espalier.tasks.measures import permuted_products as module
from espalier.tasks.measures.calibration import calibrate
from espalier.tasks.measures.debiased_hsic import u_centred
from espalier.tasks.measures.image_orders import ImageOrders, circles
from espalier.tasks.measures.permuted_forms import permuted_forms
from espalier.tasks.measures.permuted_products import permuted_products
from tests.tasks.measures.planted_nets import noise


@pytest.mark.parametrize(("images", "permutations"), [(5, 4), (8, 7), (12, 40), (9, 1)])
def test_orders_are_that_many_permutations_other_than_none(images, permutations):
    orders = ImageOrders(images, permutations).orders_nN()
    assert orders.shape == (permutations, images)
    assert torch.equal(orders.sort(1).values, torch.arange(images).expand(permutations, -1))
    assert not (orders == torch.arange(images)).all(1).any()


def test_the_same_images_have_the_same_orders_and_fewer_are_the_first_of_them():
    one, again = ImageOrders(10, 30), ImageOrders(10, 30)
    assert torch.equal(one.orders_nN(), again.orders_nN())
    assert torch.equal(one.orders_nN(12), one.orders_nN()[:12])


def test_groups_keep_their_images():
    orders = ImageOrders(12, 30, groups=3)
    assert orders.group_N.bincount().tolist() == [4, 4, 4]
    assert (orders.group_N[orders.orders_nN()] == orders.group_N).all()
    assert not (orders.orders_nN() == torch.arange(12)).all(1).any()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [((3, 9), "3 images"), ((8, 0), "0 permutations"), ((8, 9, 3), "3 groups of 8 images")],
)
def test_what_makes_no_test_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        ImageOrders(*arguments)


@pytest.mark.parametrize(
    ("images", "permutations", "groups"),
    [(9, 8, 1), (8, 7, 1), (7, 20, 1), (10, 25, 1), (10, 6, 2), (12, 11, 3), (12, 9, 2)],
)
def test_transforms_give_what_the_permutations_give_one_by_one(images, permutations, groups):
    orders = ImageOrders(images, permutations, groups)
    forms = [u_centred(noise(images, images, seed=s) + noise(images, images, seed=s).T) for s in range(3)]
    wanted = torch.stack(
        [torch.stack([(a * b[p][:, p]).sum() for a in forms for b in forms]) for p in orders.orders_nN()]
    )
    assert torch.allclose(permuted_forms(forms, orders).flatten(1), wanted, atol=1e-4)


@pytest.mark.parametrize("few", [0, 64])
@pytest.mark.parametrize(
    ("images", "permutations", "groups"), [(9, 8, 1), (8, 7, 1), (7, 20, 1), (12, 4, 2), (12, 9, 3)]
)
def test_products_are_those_of_the_permutations_one_by_one(images, permutations, groups, few, monkeypatch):
    monkeypatch.setattr(module, "FEW_SHIFTS", few)
    orders = ImageOrders(images, permutations, groups)
    rows = {net: noise(images, 3, net + 1, seed=net) for net in range(3)}
    for (s, t), found in permuted_products(rows, [(0, 1), (1, 2), (2, 2)], orders, permutations):
        for order, product in zip(orders.orders_nN(), found, strict=True):
            wanted = rows[s].flatten(0, 1).T @ rows[t][order].flatten(0, 1)
            assert torch.allclose(product.double(), wanted, atol=1e-4)


def test_products_are_the_same_in_blocks_of_channels_and_positions(monkeypatch):
    orders = ImageOrders(8, 10, groups=2)
    rows = {net: noise(8, 5, 4, seed=net) for net in range(3)}
    pairs = [(0, 1), (0, 2), (1, 2)]
    whole = dict(permuted_products(rows, pairs, orders, 10))
    monkeypatch.setattr(module, "SPECTRUM_BYTES", 500)
    monkeypatch.setattr(module, "BLOCK_BYTES", 800)
    blocks = dict(permuted_products(rows, pairs, orders, 10))
    assert list(blocks) == pairs
    assert all(torch.allclose(whole[pair], blocks[pair], atol=1e-5) for pair in pairs)


@pytest.mark.parametrize(("images", "shifts", "number"), [(12, 4, 3), (12, 5, 2), (13, 4, 1), (12, 20, 1)])
def test_images_lie_on_as_many_circles_as_have_enough_shifts(images, shifts, number):
    assert circles(images, shifts) == number


@pytest.mark.parametrize(("permutations", "groups"), [(9, 1), (39, 1), (4, 4)])
def test_p_values_are_uniform_where_nets_have_nothing_in_common(permutations, groups):
    orders, found = ImageOrders(20, permutations, groups), []
    x, y = noise(1000, 20, 3, seed=1), noise(1000, 20, 3, seed=2).exp()
    for one, other in zip(x, y, strict=True):
        forms = [u_centred(one @ one.T), u_centred(other @ other.T)]
        value = (forms[0] * forms[1]).sum()
        found.append(calibrate(value, permuted_forms(forms, orders)[:, 0, 1], 1.0).p_value.item())
    assert kstest(spread(found, permutations), "uniform").pvalue > 0.01


def spread(p_values, permutations):
    """P-values k / (1 + n) made continuous: uniform on [0, 1] if each k is as likely."""
    uniform = torch.rand(len(p_values), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.tensor(p_values) - uniform / (1 + permutations)
