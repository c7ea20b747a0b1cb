"""The benchmark of predictions, as far as it needs no run."""

import pytest

from benchmarks.plan_accuracy import Setup, large


@pytest.mark.parametrize(("nets", "nodes", "used"), [(60, 20, 0.61), (100, 25, 0.83)])
def test_small_sweeps_use_their_slots_as_docs_benchmarks_says(nets, nodes, used):
    assert large(Setup(nets=nets, nodes=nodes))["utilisation"] == pytest.approx(used, abs=0.01)
