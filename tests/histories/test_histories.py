"""Whatever happens to a sweep, no row is lost, none is there twice, and every run ends: a seeded sample.

`make histories` plays ten thousand; what it has found stands in FOUND.
"""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, seed, settings

from espalier.orchestrator.planning.state_machine import Machine
from espalier.orchestrator.store.inventory import Inventory
from tests.histories.drawn import histories
from tests.histories.playing import History, Session, play
from tests.histories.power import Killed, Power

FOUND = {
    "a state is made again after it was used": History((Session(fault="kill", step=13),)),
    "a merged part counts beside the one that replaced it": History(
        (Session(), Session("seeds", (("leave", 0),), "kill", 110))
    ),
    "who reads after a compaction was cut off finds no rows": History(
        (Session(), Session(fault="kill", step=6, compacts=True))
    ),
}


@seed(20261128)
@settings(max_examples=8, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(histories)
def test_whatever_happens_no_row_is_lost_none_is_there_twice_and_every_run_ends(history):
    play(history)


@pytest.mark.parametrize("history", FOUND.values(), ids=FOUND)
def test_what_was_found_stays_mended(history):
    play(history)


def test_an_undisturbed_sweep_that_grows_is_complete_each_time():
    seen = Counter()
    play(History(tuple(map(Session, ("an earlier snapshot", "seeds", "cross_epoch")))), seen)
    assert seen["runs that ended: by itself"] == 3
    assert not [name for name in seen if name.startswith("failed")]


def test_a_doomed_net_costs_what_needs_it_alone():
    seen = Counter()
    play(History((Session("seeds"), Session("cross_epoch")), frozenset([(2, 1, 2)])), seen)
    assert seen["failed: hopeless"] == 1


@pytest.mark.parametrize(
    ("place", "name", "wrong", "history", "words"),
    [
        (
            Inventory,
            "fresh",
            lambda inventory, table, rows: rows,
            History((Session(fault="kill", step=41),)),
            "curves: 6 rows, where 4 are due",
        ),
        (
            Machine,
            "current",
            lambda machine, key, attempt: machine.in_flight.get(key),
            History((Session(acts=(("fail", 2), ("ghost", 0))),)),
            "of other content",
        ),
        (
            Machine,
            "_lose",
            lambda machine, lost: [],
            History((), frozenset([(2, 1, 2)])),
            "what became of each unit",
        ),
    ],
    ids=["rows that are there are written again", "late answers count", "what needs a lost net is forgotten"],
)
def test_a_planted_fault_is_found(monkeypatch, place, name, wrong, history, words):
    monkeypatch.setattr(place, name, wrong)
    with pytest.raises(AssertionError, match=words):
        play(history)


def test_a_killed_process_changes_nothing_more(tmp_path):
    seen = Counter()
    power = Power("kill", 2, seen)
    with power.on():
        (tmp_path / "first").mkdir()
        for _ in range(2):
            with pytest.raises(Killed):
                (tmp_path / "second").mkdir()
        with pytest.raises(Killed):
            (tmp_path / "first").rename(tmp_path / "third")
    assert [path.name for path in tmp_path.iterdir()] == ["first"]
    assert seen == {"kill at mkdir of the folder": 1}
