"""A sweep that compares its nets without a fit: all rows once, also where it was cut or is extended."""

import pandas as pd

from espalier.orchestrator.store.sweep_store import Store
from espalier.orchestrator.sweep import Sweep
from tests.integration.conftest import run, write_config

ASKED = {
    "similarity__images": 60,
    "similarity__permutations": 19,
    "sweep__widths": [2],
    "train__snapshots": [2],
    "graft__nulls": [],
}


def folder_of(path, measures, **changes):
    return write_config(path, similarity__measures=measures, **ASKED, **changes)


def keys(folder, table):
    return sorted(Store(folder).read_table(table)["key"].to_pylist())


def test_a_measure_that_is_added_later_gives_the_rows_of_a_run_that_had_it(tmp_path):
    both, grown = tmp_path / "both", tmp_path / "grown"
    assert run(folder_of(both, '["cka", "energy"]', sweep__measures='["features"]')).complete
    assert run(folder_of(grown, '["cka"]')).complete
    assert run(folder_of(grown, '["cka", "energy"]', sweep__measures='["features"]')).complete
    assert not Sweep(grown).plan().tasks
    one, other = (
        pd.read_parquet(folder / "tables" / "similarity").sort_values(["measure", "layer"], ignore_index=True)
        for folder in (both, grown)
    )
    pd.testing.assert_frame_equal(one, other)
    assert len(one) == 2 * 3  # one pair, three layers
    assert keys(both, "features") == keys(grown, "features")
    assert len(set(keys(both, "features"))) == 2
