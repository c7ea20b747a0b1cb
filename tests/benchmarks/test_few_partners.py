"""The simulation of few partners: the factors of docs/decisions/partners.md, and intervals that cover."""

import pytest

from benchmarks.simulated.few_partners import Setup, ends, pairs, run


@pytest.mark.parametrize(
    ("nets", "factors"), [(8, (1.09, 1.09, 1.06)), (16, (1.05, 1.05, 1.05)), (32, (1.02, 1.03, 1.03))]
)
def test_what_the_ends_of_the_line_cost(nets, factors):
    assert [ends(nets, count) for count in (2, 3, 4)] == pytest.approx(factors, abs=0.005)
    assert ends(nets, 0) == pytest.approx(1)


def test_the_simulation_tells_the_share_that_covers_and_the_variance_over_the_truth():
    effects = ((1.0, 1.0, 0.3),)
    found = run(Setup(nets=(8,), partners=(4, 0), effects=effects, draws=400))["coverage"]
    for row, partners in zip(found, (4, "all"), strict=True):
        covered, over = row[str(effects[0])]
        assert row["partners"] == partners
        assert covered == pytest.approx(0.90, abs=0.05)
        assert over == pytest.approx(1.0, abs=0.15)


def test_all_pairs_are_those_of_no_count():
    assert pairs(3, 0).T.tolist() == [[0, 1], [0, 2], [1, 0], [1, 2], [2, 0], [2, 1]]
