"""Real grafts beside nulls, and the excess over the sampling floor: known answers, pairing, families."""

import numpy as np
import pandas as pd
import pytest

from espalier import asymmetry, compare_to_null, excess, fit_excess
from espalier.analysis.limits.resample import summarise
from espalier.analysis.limits.selection import where
from espalier.tasks.tables.rows import table
from tests.analysis.compared_rows import compared_rows, effects, frame_of
from tests.analysis.conftest import graft_row, net_axes
from tests.analysis.limits.test_excess import both, null

SEEDS, WIDTHS, FLOOR, OVER = range(4), (4, 8), 0.2, 0.05


def known(null="wider_subset", hard=0.3, draws=3):
    """Targets of unequal difficulty, served with FLOOR by the null, with more by real nets."""
    rng, rows = np.random.default_rng(1), []
    for width in WIDTHS:
        easy = 1 + rng.normal(0, hard, len(SEEDS))
        for layer in (2, 3):
            for b in SEEDS:
                target = net_axes(width, b, 20, "target_")
                sources = [(a, "none", width, FLOOR + OVER * layer) for a in SEEDS if a != b]
                sources += [(9, null, 64, FLOOR + 0.01 * (k - 1)) for k in range(draws)]
                for draw, (a, name, wide, fvu) in enumerate(sources):
                    source = net_axes(wide, a, 20, "source_")
                    row = graft_row(rng, layer, name, source, target, fvu * easy[b])
                    rows.append(row | {"draw": draw if name != "none" else 0})
    return table("grafts", rows).to_pandas()


def test_the_target_cancels_within_a_pair_and_the_ratio_is_that_of_the_means():
    rows = both(lambda w: -0.1 * null(w), target=0.3)
    found = compare_to_null(rows)
    assert found["width"].tolist() == [4, 8, 16, 32, 64]
    assert found["ratio"].to_numpy() == pytest.approx(0.9)
    assert found["difference"].to_numpy() == pytest.approx((found["error"] - found["null_error"]).to_numpy())
    unpaired = summarise(rows, "fvu_test", ["layer"])["error"].to_numpy()
    assert ((found["difference_high"] - found["difference_low"]) < unpaired).all()
    assert (found["difference_high"] < 0).all()
    assert set(found["pairs"]) == {12}


@pytest.mark.parametrize("name", ["wider_subset", "self"])
def test_a_null_without_a_source_of_its_own_is_paired_with_the_same_target(name):
    found = compare_to_null(known(name), name)
    assert len(found) == 4
    for layer, width in ((2, 4), (3, 8)):
        (row,) = found[(found["layer"] == layer) & (found["width"] == width)].to_dict("records")
        assert row["ratio"] == pytest.approx(1 + layer * OVER / FLOOR)
        assert row["ratio_high"] - row["ratio_low"] < 1e-6  # unpaired, targets differ by 30 %


def test_intervals_together_are_longer_and_p_values_are_adjusted_within_a_width():
    rows = both(lambda w: -0.1 * null(w), source=0.5, layers=(2, 3, 4))
    each, together = (compare_to_null(rows, interval=name) for name in ("each", "together"))
    assert (together["ratio_high"] > each["ratio_high"]).all()
    assert together["interval"].unique().tolist() == ["together"]
    for _, part in each.groupby("width"):
        p = np.sort(part["p_value"])
        assert np.sort(part["p_holm"])[0] == pytest.approx(min(3 * p[0], 1))
        assert (part["p_holm"] >= part["p_value"]).all()


def test_the_error_is_the_floor_plus_the_excess():
    found = excess(known())
    assert set(found["null"]) == {"wider_subset"}
    for row in found.to_dict("records"):
        assert row["value"] == pytest.approx(row["floor"] + row["excess"])
        assert row["share"] == pytest.approx(1 - FLOOR / (FLOOR + row["layer"] * OVER))
        assert row["excess_low"] < row["excess"] < row["excess_high"]
        assert row["excess_low"] > 0
    assert (found["p_holm"] >= found["p_value"]).all()


def test_distances_of_channels_stand_beside_channels_dealt_anew():
    net = effects(0.01)
    rows = compared_rows(lambda *at: 0.3 + net[at[-1][0]] + net[at[-1][1]], ("energy", "cka"))
    found = excess(similarity=frame_of(rows))
    assert set(found["measure"]) == {"energy"}
    assert found["excess"].to_numpy() == pytest.approx(found["value"].to_numpy())  # the null's mean is 0
    assert found["share"].isna().all()
    both_tables = excess(known(), frame_of(rows))
    assert set(both_tables["null"]) == {"wider_subset", "labels"}


def test_a_null_of_another_epoch_than_the_last_one_is_refused_with_its_epochs():
    rows = known()
    earlier = rows[rows["null"] != "none"].assign(target_epoch=5)
    with pytest.raises(
        ValueError, match=r"last epoch \(20\) .* targets of epochs \[5\]: .*graft.null_epochs"
    ):
        compare_to_null(pd.concat([rows[rows["null"] == "none"], earlier]), "wider_subset")


def test_what_is_not_there_is_refused_in_one_line():
    rows = both(lambda w: -0.1 * null(w))
    with pytest.raises(ValueError, match="null: no row has 'pooled'; the frame has untrained"):
        compare_to_null(rows, "pooled")
    with pytest.raises(ValueError, match=r"no row of the nulls wider_subset, pooled .* came"):
        excess(rows)
    with pytest.raises(ValueError, match='interval must be "each" or "together", got \'both\''):
        compare_to_null(rows, interval="both")


def test_each_mode_of_batch_norm_stands_beside_the_null_of_its_own_mode():
    """The null `self` here is three times as large with statistics estimated anew, as real rows are."""
    hidden = known("self").assign(bn="target")
    anew = hidden.assign(bn="reestimated", fvu_test=3 * hidden["fvu_test"])
    found = compare_to_null(pd.concat([hidden, anew]), "self", by=["layer", "bn"])
    ratios = {bn: part["ratio"].to_numpy() for bn, part in found.groupby("bn")}
    assert len(ratios) == 2
    assert ratios["target"] == pytest.approx(ratios["reestimated"])
    pool = hidden.assign(null=hidden["null"].replace("self", "pooled"), source_nets=1)
    real = where(anew, anew["null"] == "none")
    of_pools = compare_to_null(pd.concat([pool, real]), "pooled", by=["layer", "bn"])
    assert set(of_pools["bn"]) == {"target", "reestimated"}  # a pool is served beside both


def test_a_row_of_each_sweep_stands_beside_the_null_of_the_same_sweep():
    rows = both(lambda w: -0.1 * null(w), source=0.3)
    two = pd.concat([rows.assign(sweep="a"), rows.assign(sweep="b")])
    own = compare_to_null(rows)["ratio"].to_numpy()
    found = compare_to_null(two, by=["layer", "sweep"])
    for name in ("a", "b"):
        assert found.loc[found["sweep"] == name, "ratio"].to_numpy() == pytest.approx(own)
    assert len(fit_excess(two, by=["layer", "sweep"], bootstraps=1)) == 2
    assert len(asymmetry(rows.assign(sweep="a"))) == 5


def test_pairs_across_widths_are_compared_at_each_narrower_width():
    rows = known("pooled").assign(source_nets=1)
    real = (rows["null"] == "none").to_numpy()
    wide = where(rows, real & (rows["target_width"] == 8).to_numpy())
    into = [
        wide.assign(source_width=width, source_net=f"{width}/" + wide["source_seed"].astype(str))
        for width in (2, 4)
    ]
    crossed = pd.concat(into).assign(pairing="cross_width")
    frame = pd.concat([where(rows, ~real), crossed])
    found = compare_to_null(frame, "pooled")
    assert found["width"].tolist() == [2, 4, 2, 4]
    assert found["ratio"].to_numpy() == pytest.approx(1 + found["layer"].to_numpy() * OVER / FLOOR)
    over = excess(frame)
    assert over["width"].tolist() == [2, 4, 2, 4]
    assert over["share"].to_numpy() == pytest.approx(1 - 1 / found["ratio"].to_numpy())
