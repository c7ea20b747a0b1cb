"""A into B against B into A: known ratios, and the parts of the variance over ordered pairs."""

import numpy as np
import pandas as pd
import pytest

from espalier import asymmetry
from espalier.analysis.answers.directions import variance_shares
from espalier.tasks.tables.rows import table
from tests.analysis.more_rows import SEEDS, across_epoch_rows, across_width_rows, pair_rows


def grafts(rows):
    return table("grafts", rows).to_pandas()


def test_across_widths_the_ratio_is_that_of_the_two_directions():
    """Into the widest the error is layer / narrower width, out of it half of that."""
    found = asymmetry(grafts(across_width_rows()))
    assert found[["low", "high"]].drop_duplicates().to_numpy().tolist() == [[4, 32], [8, 32], [16, 32]]
    assert (found["ratio"] - 2).abs().max() < 0.05
    assert (found["ratio_low"] > 1.5).all()
    assert (found["p_holm"] >= found["p_value"]).all()
    assert set(found["pairs"]) == {len(SEEDS) * (len(SEEDS) - 1)}


def test_across_epochs_low_and_high_are_epochs():
    found = asymmetry(grafts(across_epoch_rows()))
    assert sorted(set(found["low"])) == [0, 1, 5]
    assert set(found["high"]) == {20}
    assert found["ratio"].to_numpy() == pytest.approx(1, abs=0.05)


def test_nets_of_one_width_have_no_order_and_differ_by_the_mean_of_both_ways():
    rows = grafts(pair_rows([((8, 20), (8, 20))], lambda *at: 0.1))
    (line,) = asymmetry(rows[rows["layer"] == 2]).to_dict("records")
    y = {(a, b): 0.1 * (1 + 0.02 * a - 0.03 * b) for a in SEEDS for b in SEEDS if a != b}
    gaps = [abs(y[a, b] - y[b, a]) for a, b in y if a < b]
    assert line["apart"] == pytest.approx(np.mean(gaps) / np.mean([*y.values()]))
    assert np.isnan(line["ratio"])
    assert np.isnan(line["source_share"])  # of 3 nets
    assert (line["pairs"], line["nets"]) == (3, 3)


def test_the_parts_of_the_variance_are_found_on_average():
    """Variances 1 of sources, 4 of targets, 1 of pairs whose two directions correlate by 0.5."""
    rng, n, found = np.random.default_rng(3), 6, []
    first, second = np.triu_indices(n, 1)
    for _ in range(400):
        source, target = rng.normal(0, 1, n), rng.normal(0, 2, n)
        shared = rng.normal(0, np.sqrt(0.5), len(first))
        there, back = (shared + rng.normal(0, np.sqrt(0.5), len(first)) for _ in range(2))
        pairs = {"there": 10 + source[first] + target[second] + there}
        pairs |= {"back": 10 + source[second] + target[first] + back}
        found.append(variance_shares(pd.DataFrame({"source_seed": first, "target_seed": second} | pairs)))
    mean = np.mean(found, axis=0)
    assert mean[:3] == pytest.approx([1 / 6, 4 / 6, 1 / 6], abs=0.06)
    assert mean[3] == pytest.approx(0.5, abs=0.1)


def test_pairs_that_are_grafted_one_way_only_are_refused():
    rows = grafts(pair_rows([((8, 20), (8, 20))], lambda *at: 0.1))
    with pytest.raises(ValueError, match="no two nets of the frame are grafted into each other: 6 rows"):
        asymmetry(rows[rows["source_seed"] < rows["target_seed"]])
