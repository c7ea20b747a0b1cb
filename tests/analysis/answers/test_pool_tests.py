"""One p-value a layer: valid whatever the targets have in common, adjusted over layers."""

import numpy as np
import pytest

from espalier import exchangeability
from espalier.analysis.limits.together import holm
from espalier.tasks.tables.rows import table
from tests.analysis.more_rows import exchange_rows


def frame(**more):
    return table("exchangeability", [row | more for row in exchange_rows(partitions=99)]).to_pandas()


def test_targets_are_combined_and_layers_adjusted():
    found = exchangeability(frame())
    row = found[(found["epoch"] == 20) & (found["layer"] == 3) & (found["width"] == 8)].iloc[0]
    assert row["p_value"] == pytest.approx(2 * (1.0 + 0.01 + 0.01) / 3)
    assert (row["targets"], row["least_p"], row["exact"]) == (3, 0.02, False)
    assert row["ratio"] == pytest.approx(1.3 * 1.01)
    assert (row["ratio_initial"], row["rejected_initial"]) == (pytest.approx(1.01), 0.0)
    assert row["rejected"] == pytest.approx(2 / 3)
    assert (found["p_holm"] >= found["p_value"]).all()
    assert found[found["epoch"] == 20]["p_initial"].tolist() == [1.0] * 8


def test_targets_that_all_tell_the_same_reject_no_more_often_than_the_level():
    """All targets of a layer have one and the same log ratio, a draw of the null: p is uniform, or larger."""
    rng = np.random.default_rng(0)
    targets = [row for row in exchange_rows() if (row["target_width"], row["target_epoch"]) == (8, 20)]
    rows = []
    for layer in range(2, 102):
        drawn = {
            "layer": layer,
            "ratio": np.exp(0.1 * rng.standard_normal()),
            "p_value": rng.integers(1, 21) / 20,
        }
        band = {"ratio_low": np.exp(-0.1 * 1.645), "ratio_high": np.exp(0.1 * 1.645)}
        rows += [row | drawn | band for row in targets if row["layer"] == 2]
    rows = table("exchangeability", rows).to_pandas()
    mean, normal = ((exchangeability(rows, name)["p_value"] <= 0.1).sum() for name in ("mean", "normal"))
    assert mean <= normal <= 10 + 3 * np.sqrt(100 * 0.09)


def test_a_large_ratio_of_all_targets_has_a_small_p_value_though_no_partition_can_say_so():
    rows = frame(ratio=1.5, ratio_low=0.9, ratio_high=1.1, p_value=0.05)
    assert exchangeability(rows)["p_value"].to_numpy() == pytest.approx(0.1)
    assert (exchangeability(rows, "normal")["p_value"] < 1e-9).all()


def test_holms_steps():
    assert holm(np.array([0.01, 0.02, 0.03])) == pytest.approx([0.03, 0.04, 0.04])
    assert holm(np.array([0.5, 0.9])) == pytest.approx([1.0, 1.0])


def test_other_tables_are_refused():
    with pytest.raises(ValueError, match="give rows of table `exchangeability`"):
        exchangeability(frame().drop(columns="partitions"))
    with pytest.raises(ValueError, match='combined must be "mean" or "normal"'):
        exchangeability(frame(), "least")
