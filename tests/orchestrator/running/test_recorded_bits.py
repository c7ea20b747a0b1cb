"""The record of how a folder's nets are trained says by which kernels."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from espalier.cluster.pool import InProcessPool
from espalier.orchestrator.running import recorded_bits
from espalier.orchestrator.running.probing import RECORD, Alike
from espalier.orchestrator.running.recorded_bits import rounded_anew, rounding_notes, settle
from espalier.orchestrator.store.sweep_store import Store
from espalier.tasks.kernels.compiled import ROUNDING
from tests.tasks.conftest import make_net

COMPILED = {"grouped": False, "layout": "channels_last", "compiled": True, "nets": 1}
PLAIN = COMPILED | {"compiled": False}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (COMPILED, [1, ROUNDING]),  # written before versions were
        (COMPILED | {"kernels": [1]}, [1, ROUNDING]),
        (COMPILED | {"kernels": [0, 1]}, [0, 1, ROUNDING]),
    ],
)
def test_kernels_of_another_version_are_recorded_beside_the_former_and_told(before, after):
    net = replace(make_net(), width=32)
    record = {"a": before, "not trained in this run": before}
    found = rounded_anew(record, ["a"])
    assert found == {"a": before | {"kernels": after}}
    (line,) = rounding_notes(found, {"a": Alike(net, 4, 1.0)})
    assert "other bits" in line
    assert "conv-test of width 32" in line
    assert rounded_anew(found, ["a"]) == {}


def test_of_the_same_kernels_and_of_pytorch_there_is_nothing_to_tell():
    record = {"same": COMPILED | {"kernels": [ROUNDING]}, "plain": PLAIN}
    assert rounded_anew(record, record) == {}
    assert rounding_notes({}, {}) == []


@pytest.mark.parametrize("usable", [True, False])
def test_a_run_whose_kernels_round_otherwise_writes_so_into_probes_json(usable, tmp_path, monkeypatch):
    store, net = Store(tmp_path), replace(make_net(), width=32)
    store.write_json(RECORD, {"a": COMPILED | {"kernels": [1]}})
    monkeypatch.setattr(recorded_bits, "usable", lambda: usable)
    pool = InProcessPool(lambda *_: None, store.read_blob)
    where = {"device": "cpu", "kernels": "auto"}
    ways, told = settle(store, pool, {"a": Alike(net, 4, 1.0)}, where, lambda: datetime.now(UTC))
    assert store.read_json(RECORD)["a"]["kernels"] == ([1, ROUNDING] if usable else [1])
    assert len(told) == usable
    assert ways["a"].mode.compiled
