"""Measures without a fit against the width: known exponents, and where there is none."""

import numpy as np
import pytest

from espalier import fit_width_limit
from espalier.analysis.limits.similarity_fits import compare, gaps, measure_fits
from tests.analysis.compared_rows import compared_rows, effects, frame_of

NET = effects(0.03)


def law(measure, width, layer, epoch, pair):
    """1 - similarity, or the distance, falls as w^-0.8 at layer 1 and w^-0.4 at 2; at epoch 0 half of it."""
    alpha = 0.8 / layer / (1 if epoch else 2)
    gap = width**-alpha * (1 + NET[pair[0]] + NET[pair[1]])
    return 1 - gap if measure in ("cka", "match") else gap


@pytest.mark.parametrize("measure", ["cka", "match", "procrustes", "energy"])
def test_the_exponent_is_that_of_the_distance_or_of_1_less_the_similarity(measure):
    rows = frame_of(compared_rows(law, measures=(measure,)))
    for epoch, factor in ((20, 1), (0, 2)):
        found = measure_fits(rows, measure, epoch, 0.9, 200)
        assert {layer: fit.alpha for layer, fit in found.fits.items()} == pytest.approx(
            {1: 0.8 / factor, 2: 0.4 / factor}, abs=0.01
        )
        assert found.reasons == {}
        # A similarity that rises to 1 has the exponent too, with a limit of 1 and a negative factor.
        assert [fit.row()["c"] for fit in found.fits.values()] == pytest.approx([0, 0], abs=0.01)


def test_a_measure_that_may_be_negative_is_fitted_only_where_its_mean_is_surely_positive():
    def around_0(measure, width, layer, epoch, pair):
        own = law(measure, width, layer, epoch, pair)
        return own if layer == 1 or width < 32 else own * (1 if sum(pair) % 2 else -1)

    found = measure_fits(frame_of(compared_rows(around_0, ("energy",))), "energy", 20, 0.9, 50)
    assert list(found.fits) == [1]
    assert found.reasons == {2: "the mean is not above 0, or not surely, at width 32: no power law"}


def test_few_widths_or_nets_are_no_fit_and_the_reason_is_told():
    rows = compared_rows(law, widths=(4, 8, 16))
    found = measure_fits(frame_of(rows), "cka", 20, 0.9, 50)
    assert found.fits == {}
    assert "needs 4 widths or more, found 3" in found.reasons[1]
    running = frame_of([*compared_rows(law), *compared_rows(law, widths=(64,), seeds=(0, 1))])
    assert len(measure_fits(running, "cka", 20, 0.9, 50).fits[1].means) == 4


def test_values_that_are_not_there_and_the_names_of_nulls_do_not_enter():
    rows = frame_of(compared_rows(lambda *at: None if at[-1] == (0, 1) else law(*at), widths=(4,)))
    ready = gaps(rows, distance=False)
    assert np.isfinite(ready["gap"]).all()
    assert len(ready) == len(rows) * 5 // 6
    assert set(ready["permuted"]) == {"images"}
    assert "null" not in ready.columns


def test_measures_are_never_averaged():
    rows = gaps(frame_of(compared_rows(law, measures=("cka", "match"))), distance=False)
    with pytest.raises(ValueError, match=r"column 'measure' has several values \(cka, match\)"):
        fit_width_limit(rows, "gap", ["layer"])


def test_the_last_snapshot_stands_beside_the_initial_nets():
    found = compare(frame_of(compared_rows(law, ("cka", "mmd"))), 0.9, 50)
    assert [(one.measure, one.epoch) for one in (*found.last, *found.first)] == [("cka", 20), ("cka", 0)]
    assert set(found.widest()["measure"]) == {"cka", "mmd"}
    assert set(found.widest()["target_width"]) == {32}
    one_epoch = compare(frame_of(compared_rows(law, epochs=(0,))), 0.9, 50)
    assert (len(one_epoch.last), list(one_epoch.first)) == (1, [])
    assert list(compare(frame_of(compared_rows(law, seeds=(0,))), 0.9, 50).last) == []
