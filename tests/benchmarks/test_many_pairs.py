"""The benchmark of planning, on a few nets."""

import pytest

from benchmarks.many_pairs import DONE, write
from espalier.orchestrator.sweep import Sweep


@pytest.mark.parametrize("done", DONE)
def test_the_folder_holds_the_rows_of_as_many_pairs_as_it_says(tmp_path, done):
    assert write(tmp_path, seeds=5, share=DONE[done]) == 20
    plan = Sweep(tmp_path).plan(slots=2)
    assert plan.total == {"train": 5, "graft": 20}
    assert plan.done == {"train": 0, "graft": round(20 * DONE[done])}
