"""A sweep whose nets are taken together: rows of both tables, and more beside them once seeds are added."""

from espalier import load
from espalier.orchestrator.sweep import Sweep
from tests.integration.conftest import run, smallest_config

ASKED = {
    "sweep__measures": '["ensembles"]',
    "sweep__widths": [1, 2],
    "train__snapshots": [1],
    "graft__nulls": [],
    "similarity__images": 30,
}


def test_a_seed_that_is_added_gives_rows_of_the_larger_ensemble_beside_the_smaller_one(tmp_path):
    folder = smallest_config(tmp_path / "sweep", **ASKED)
    assert run(folder).complete
    assert not Sweep(folder).plan().tasks
    first = load(folder)
    assert sorted(zip(first.ensembles["width"], first.ensembles["size"], strict=True)) == [
        (1, 1), (1, 2), (2, 1), (2, 2)
    ]  # fmt: skip
    assert len(first.kernel_spread) == 2 * 2  # widths, layers
    assert set(first.kernel_spread["images"]) == {30}

    smallest_config(folder, **ASKED, sweep__seeds=3)
    assert run(folder).outcome.done["ensembles"] == 2
    grown = load(folder)
    assert sorted(set(zip(grown.ensembles["nets"], grown.ensembles["size"], strict=True))) == [
        (2, 1), (2, 2), (3, 1), (3, 2), (3, 3)
    ]  # fmt: skip
    assert set(first.kernel_spread["key"]) < set(grown.kernel_spread["key"])
    assert len(grown.kernel_spread) == 2 * len(first.kernel_spread)
