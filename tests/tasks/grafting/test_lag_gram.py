"""The Gram matrix by lags against the product of the patches themselves."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.tasks.grafting.lag_gram import LagSums, lag_gram, lags


def patch_gram(h, kernel, padding):
    columns = F.unfold(h.double(), kernel, padding=padding)
    rows = columns.transpose(1, 2).flatten(0, 1)
    return rows.T @ rows


def draw(shape, seed, dtype):
    # Post-ReLU like: sparse and never negative, with a mean that centring would have to cancel.
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).add(0.3).relu().to(dtype)


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.sampled_from([1, 3, 5]),
    channels=st.integers(1, 40),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    images=st.integers(1, 7),
    seed=st.integers(0, 1000),
)
@pytest.mark.timeout(300)
def test_lag_gram_is_the_product_of_the_patches(kernel, channels, height, width, images, seed):
    h = draw((images, channels, height, width), seed, torch.float64)
    expected = patch_gram(h, kernel, kernel // 2)
    found = lag_gram(h, kernel, kernel // 2)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12 * float(expected.abs().max() + 1))
    single = lag_gram(h.float(), kernel, kernel // 2)
    # float32 products of a few hundred terms each: 1e-5 of the largest entry leaves an order of magnitude
    assert float((single - expected).abs().max()) <= 1e-5 * float(expected.abs().max() + 1e-30)


@pytest.mark.parametrize(("kernel", "padding"), [(3, 0), (5, 0), (5, 1), (3, 2), (2, 0)])
def test_any_padding_that_leaves_an_output_is_exact(kernel, padding):
    h = draw((3, 4, 6, 5), 0, torch.float64)
    torch.testing.assert_close(
        lag_gram(h, kernel, padding), patch_gram(h, kernel, padding), rtol=1e-12, atol=1e-10
    )


def test_blocks_of_rows_change_nothing_but_rounding(monkeypatch):
    h = draw((40, 6, 7, 7), 1, torch.float64)
    whole = lag_gram(h, 3, 1)
    monkeypatch.setattr("espalier.tasks.grafting.lag_gram.BLOCK_BYTES", 1)
    torch.testing.assert_close(lag_gram(h, 3, 1), whole, rtol=1e-13, atol=1e-10)


@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (3, 0), (5, 2)])
def test_sums_over_batches_are_those_over_all_images(kernel, padding):
    h = draw((9, 5, 7, 6), 2, torch.float64)
    sums = LagSums(kernel, padding)
    for batch in h.split(4):
        sums.add(batch)
    torch.testing.assert_close(sums.gram_DD(), patch_gram(h, kernel, padding), rtol=1e-12, atol=1e-10)
    assert torch.equal(sums.gram_DD(), sums.gram_DD())


def test_a_3x3_kernel_has_13_lags_up_to_transposition():
    assert len(list(lags(3, 8, 8))) == 13
    assert list(lags(3, 1, 1)) == [(0, 0)]


def test_a_kernel_beyond_the_padded_map_is_refused():
    with pytest.raises(ValueError, match="kernel of 5 does not fit a map of 2x2"):
        lag_gram(torch.zeros(1, 1, 2, 2), 5, 0)
