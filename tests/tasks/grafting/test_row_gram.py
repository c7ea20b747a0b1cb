"""Few rows say the same as their Gram matrix: the spectrum, the fits and the errors."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from espalier.tasks.grafting import row_gram
from espalier.tasks.grafting.gram import CentredGram, CentredRows, PatchMoments, centre, factorise
from espalier.tasks.grafting.layer_input import LayerInput
from espalier.tasks.grafting.row_gram import RowSums
from espalier.tasks.spec import Layer

DENSE = Layer("dense", 3, activation="none")
STRIDED = Layer("conv", 3, kernel=3, padding=1, stride=2)


def moments_of(batches, layer=DENSE, few=True):
    """Moments of some batches; with `few` false from their Gram matrix, whatever their number."""
    inputs = [LayerInput(layer, h, "float64") for h in batches]
    moments = PatchMoments(inputs[0].patches_MD.shape[1])
    for entry in inputs:
        moments.add(entry)
    if not few:
        whole = RowSums()
        whole._gram_DD = moments.gram_DD
        moments._sums = whole
    return moments


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 2.0


@pytest.mark.parametrize("rank", [40, 7])
def test_few_rows_have_the_spectrum_and_the_solutions_of_their_gram_matrix(rank):
    h = draw(20, rank) @ draw(rank, 50, seed=1)
    few, gram = (factorise(moments_of([h[:9], h[9:]], few=few)) for few in (True, False))
    assert len(few.values_K) == len(gram.values_K) == min(rank, 19)
    torch.testing.assert_close(few.values_K, gram.values_K, rtol=1e-9, atol=0)
    assert few.effective_rank == pytest.approx(gram.effective_rank)
    assert few.condition_number == pytest.approx(gram.condition_number)
    torch.testing.assert_close(
        few.vectors_DK.T @ few.vectors_DK,
        torch.eye(len(few.values_K), dtype=torch.float64),
        rtol=0,
        atol=1e-9,
    )
    cross_DC = (h - h.mean(0)).T @ draw(20, 3, seed=2)
    for ridge in (0.0, 1e-3):
        torch.testing.assert_close(
            few.solve(cross_DC, ridge), gram.solve(cross_DC, ridge), rtol=1e-8, atol=1e-12
        )
    expected = np.linalg.lstsq((h - h.mean(0)).numpy(), draw(20, 3, seed=2).numpy(), rcond=1e-10)[0]
    np.testing.assert_allclose(few.solve(cross_DC, 0.0).numpy(), expected, atol=1e-10)


def test_rows_that_wait_for_a_product_are_in_the_matrix(monkeypatch):
    """Sums of 3 batches, then products of 8 rows at once; the last rows wait for the question."""
    monkeypatch.setattr(row_gram, "TOGETHER", 8)
    h, sums = draw(60, 5), RowSums()
    for number, batch in enumerate(h.split(3), start=1):
        sums.add(batch)
        torch.testing.assert_close(sums.gram_DD(), h[: 3 * number].T @ h[: 3 * number], rtol=1e-12, atol=0)
    once = RowSums()
    for batch in h.split(3):
        once.add(batch)
    torch.testing.assert_close(once.gram_DD(), h.T @ h, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("rows", "kept"), [(4, True), (11, True), (12, False), (30, False)])
def test_rows_are_kept_while_they_are_fewer_than_their_dimensions(rows, kept):
    h = draw(rows, 12)
    moments = moments_of(h.split(3))
    torch.testing.assert_close(moments.gram_DD, h.T @ h)
    assert (moments.few_MD() is not None) == kept
    assert isinstance(centre(moments), CentredRows if kept else CentredGram)


def test_patches_of_a_strided_conv_are_rows_too():
    h = draw(1, 4, 5, 5)
    moments = moments_of([h], STRIDED)
    patches = LayerInput(STRIDED, h, "float64").patches_MD
    assert torch.equal(moments.few_MD(), patches)
    assert moments.rows == 9 < patches.shape[1]


def test_errors_of_a_map_are_the_same_by_rows_and_by_gram_matrix():
    h, weight_DC = draw(8, 30), draw(30, 4, seed=3)
    few, gram = (centre(moments_of([h], few=few)) for few in (True, False))
    torch.testing.assert_close(few.explained(weight_DC), gram.explained(weight_DC), rtol=1e-9, atol=1e-9)


def test_equal_rows_are_a_constant_source():
    factor = factorise(moments_of([draw(1, 30).expand(8, 30).contiguous()]))
    assert len(factor.values_K) == 0
    assert factor.vectors_DK.shape == (30, 0)
    assert torch.equal(factor.solve(draw(30, 2), 0.0), torch.zeros(30, 2, dtype=torch.float64))
    assert replace(factor).condition_number == 1.0
