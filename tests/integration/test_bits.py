"""A folder on another machine: its ways of training are tested there, and given up where they do not hold."""

import pyarrow.compute as pc
import pytest

import espalier.tasks.training.bit_company
from espalier.orchestrator.running.probing import RECORD
from espalier.orchestrator.store.sweep_store import Store
from espalier.orchestrator.sweep import Sweep
from espalier.tasks.spec import mode_of
from tests.integration.conftest import measured, run, write_config

FOUR = {"grouped": True, "layout": "contiguous", "nets": 4}
WAY = "grouped contiguous x4"


@pytest.fixture
def folder(tmp_path):
    """A tiny sweep of 3 seeds that an earlier version measured, and tested nowhere."""
    return measured(FOUR, write_config(tmp_path / "sweep", **seeds(3)))


@pytest.fixture
def machine(monkeypatch):
    """Makes this machine another one, whose groups keep bits or do not; what was tested is in its list."""

    def be(name, keeps):
        tested = []

        def keeps_bits(probe, mode, size, device):
            tested.append((probe.last_batch, mode.of(size), device))
            if isinstance(keeps, Exception):
                raise keeps
            return keeps

        monkeypatch.setattr(espalier.tasks.training.bit_company, "conditions", lambda probe, device: name)
        monkeypatch.setattr(espalier.tasks.training.bit_company, "keeps_bits", keeps_bits)
        return tested

    return be


def seeds(count):
    return {"sweep__seeds": count, "sweep__widths": [3], "run__slots": 1, "graft__nulls": "[]"}


def more(folder, count):
    """The sweep with more seeds, run; how the new nets were trained, and what was told."""
    before = len(log(folder))
    write_config(folder, **seeds(count))
    summary = run(folder)
    assert summary.complete
    return {row["mode"] for row in log(folder)[before:]}, summary.tuned.notes


def log(folder, kind="train"):
    rows = Store(folder).read_table("jobs")
    return sorted(rows.filter(pc.field("kind") == kind).to_pylist(), key=lambda row: row["start"])


def bits(folder):
    (answer,) = Store(folder).read_json(RECORD).values()
    return answer.get("bits", {})


def planned(folder):
    return {
        mode_of(task.job.where).of(task.size)
        for task in Sweep(folder).plan().tasks
        if task.job.kind == "train"
    }


def test_an_older_record_is_tested_once_and_trained_by_where_it_holds(folder, machine):
    assert planned(folder) == {"grouped contiguous x3"}
    assert bits(folder) == {}
    tested = machine("here", True)
    assert more(folder, 3) == ({"grouped contiguous x3"}, ())
    assert tested == [(200 % 64, WAY, "cpu")]
    assert bits(folder) == {"here": {WAY: True}}
    assert more(folder, 5) == ({"grouped contiguous x2"}, ())
    assert len(tested) == 1
    assert [row["label"] for row in log(folder, "probe")] == ["test of bits, width 3"]


def test_a_way_that_holds_on_another_machine_too_goes_on_there(folder, machine):
    machine("one", True)
    more(folder, 3)
    tested = machine("another", True)
    assert more(folder, 5) == ({"grouped contiguous x2"}, ())
    assert len(tested) == 1
    assert bits(folder) == {"one": {WAY: True}, "another": {WAY: True}}


def test_a_way_that_does_not_hold_on_another_machine_is_given_up_there_and_said_so(folder, machine, capsys):
    machine("one", True)
    more(folder, 3)
    machine("another", False)
    modes, notes = more(folder, 5)
    assert modes == {"loop contiguous x1"}
    assert notes == (
        f"this folder trains nets by '{WAY}', which makes a net's bits depend on its company on this machine "
        "(another); trained by 'loop contiguous' in this run: conv-1-p-1 of width 3",
    )
    assert notes[0] in capsys.readouterr().out
    assert bits(folder) == {"one": {WAY: True}, "another": {WAY: False}}
    # Planning asks no worker: it goes by the folder's way. The next run there knows, and says so again.
    write_config(folder, **seeds(7))
    assert planned(folder) == {"grouped contiguous x2"}
    tested = machine("another", AssertionError("known"))
    assert more(folder, 7) == ({"loop contiguous x1"}, notes)
    assert tested == []
    # Back on the first machine, the folder goes on in its way.
    machine("one", AssertionError("known"))
    assert more(folder, 9) == ({"grouped contiguous x2"}, ())


def test_a_way_that_could_not_be_tested_is_not_trusted_in_this_run(folder, machine):
    machine("here", MemoryError("too little"))
    modes, (note,) = more(folder, 3)
    assert modes == {"loop contiguous x1"}
    assert "could not be tested on this machine (MemoryError: too little); trained by 'loop contig" in note
    assert bits(folder) == {}
    machine("here", True)
    assert more(folder, 5) == ({"grouped contiguous x2"}, ())


def test_ways_one_by_one_need_no_test(tmp_path, machine):
    tested = machine("here", AssertionError("nothing to test"))
    one = {"grouped": False, "layout": "channels_last", "nets": 1}
    folder = measured(one, write_config(tmp_path / "loop", **seeds(2)))
    assert more(folder, 2) == ({"loop channels_last x1"}, ())
    assert tested == []
