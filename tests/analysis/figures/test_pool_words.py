"""What may be said of exchangeability: above layer 2 only against the rate of initial nets."""

import numpy as np
import pytest

from espalier.analysis.answers import pool_tests
from espalier.analysis.figures import pool_nulls, pool_words
from espalier.tasks.tables.rows import table
from tests.analysis.more_rows import SEEDS, WIDTHS, exchange_rows


def frame(rows):
    return table("exchangeability", rows).to_pandas()


def with_p(rows, p_value, p_spread=0.5):
    """The rows with p-values by epoch, layer and the number of the target."""
    return [
        row
        | {
            "p_value": p_value(row["target_epoch"], row["layer"], row["target_seed"]),
            "p_spread": p_spread(row["target_epoch"], row["layer"], row["target_seed"])
            if callable(p_spread)
            else p_spread,
        }
        for row in rows
    ]


def test_above_layer_2_rejections_are_held_against_those_of_initial_nets():
    """Initial nets, i.i.d. by construction, are rejected at layer 3 for one in three; trained ones alike."""
    rows = with_p(exchange_rows(), lambda epoch, layer, seed: 0.05 if layer == 3 and seed == 0 else 0.6)
    words = " ".join(pool_words.findings(frame(rows)))
    assert "layer 2: 0 % of 12 targets, initial nets 0 %" in words
    assert "layer 3: 33 % of 12 targets, initial nets 33 %" in words
    assert "no more often at layers 2, 3" in words
    assert "Rejected more often" not in words
    assert "own distribution" not in words


def test_only_what_exceeds_the_initial_rate_is_called_more():
    def p_value(epoch, layer, seed):
        return 0.05 if layer == 3 and seed <= (2 if epoch else 0) else 0.6

    words = " ".join(pool_words.findings(frame(with_p(exchange_rows(), p_value))))
    assert "layer 3: 100 % of 12 targets, initial nets 33 %" in words
    assert "Rejected more often than these and than 5 % at layer 3, no more often at layer 2" in words


def test_without_initial_nets_nothing_is_read_above_layer_2():
    words = " ".join(pool_words.findings(frame(exchange_rows(epochs=(20,)))))
    assert "layer 2: 67 % of 12 targets" in words
    assert "layer 3: 67 %" not in words
    assert "Above layer 2 nothing may be read without initial nets" in words


def test_the_spread_test_is_told_by_layer():
    rows = with_p(
        exchange_rows(), lambda *_: 0.6, lambda epoch, layer, seed: 0.05 if epoch and layer == 2 else 0.5
    )
    words = " ".join(pool_words.findings(frame(rows)))
    assert "p_spread <= 0.05" in words
    assert "layer 2: 100 % of 12 targets, initial nets 0 %" in words


@pytest.mark.parametrize("edge", [1.05, 1.4])
def test_the_power_is_told_as_the_ratio_that_half_of_the_targets_would_find(edge):
    rows = [row | {"ratio_high": edge} for row in exchange_rows()]
    words = " ".join(pool_words.findings(frame(rows)))
    assert f"a ratio of {edge:.2f} would be found for about half of the targets" in words
    assert "does not say that nets are exchangeable" in words


def test_the_power_statement_is_true_of_targets_whose_ratio_is_at_the_edge():
    """Log ratios of partitions and of the nets are draws of one spread; the nets' are shifted by the edge."""
    rng, rejected = np.random.default_rng(0), []
    for _ in range(4000):
        partitions = rng.normal(0, 0.1, 19)
        edge = np.quantile(rng.normal(0, 0.1, 2000), 0.95)
        real = edge + rng.normal(0, 0.1)
        rejected.append((1 + (partitions >= real).sum()) / 20 <= 0.05 + pool_tests.TIE)
    assert 0.4 < np.mean(rejected) < 0.6


def test_few_partitions_have_no_power_at_all():
    words = " ".join(pool_words.findings(frame(exchange_rows(partitions=9))))
    assert "9 partitions allow no p-value of 0.05" in words
    assert "would be found" not in words


def test_rates_are_drawn_by_layer_beside_the_level():
    rows = with_p(exchange_rows(), lambda epoch, layer, seed: 0.05 if epoch and layer == 3 else 0.6)
    of_null = frame(rows)
    found = pool_nulls.rates(of_null)
    assert found["targets"].tolist() == [len(WIDTHS) * len(SEEDS)] * 4
    assert found[found["target_epoch"] == 20]["p_value"].tolist() == [0, 1]
    left, right = pool_nulls.rejections(of_null).axes[:2]
    drawn = {line.get_label(): list(line.get_ydata()) for line in left.get_lines()}
    assert drawn["after 20 epochs"] == [0, 1]
    assert drawn["before training"] == [0, 0]
    assert 0.05 in [line.get_ydata()[0] for line in right.get_lines()]
