"""What is no record of a sweep is told in one line: the file, the field, what was found and the cure."""

import json

import pytest

from espalier.orchestrator import record
from espalier.orchestrator.running import probing
from espalier.orchestrator.store.sweep_store import Store

RUN = {"config": {"sweep": {"widths": [1, 2]}}, "data": "digits", "runs": [{}]}
PROBE = {"grouped": True, "layout": "contiguous", "nets": 2}
JUNK = [[], [1], "x", 5, 1e300, True, {"a": 5}, {"a": []}, {"a": None}]


@pytest.mark.parametrize(
    "value",
    [
        *JUNK,
        {},
        RUN | {"config": []},
        RUN | {"config": {"sweep": 3}},
        RUN | {"data": None},
        RUN | {"runs": {}},
    ],
    ids=str,
)
def test_what_is_no_record_of_a_run_is_refused_with_its_cure(value, tmp_path):
    Store(tmp_path).write_json("run.json", value)
    with pytest.raises(ValueError, match=r"^\S+/run\.json.* (is|missing).*: put back a copy of it") as caught:
        record.read_record(Store(tmp_path))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "value",
    [
        *JUNK,
        {"a": {}},
        {"a": PROBE | {"nets": 0}},
        {"a": PROBE | {"nets": 2.5}},
        {"a": PROBE | {"nets": True}},
        {"a": PROBE | {"grouped": 1}},
        {"a": PROBE | {"layout": ["contiguous"]}},
        {"a": PROBE | {"compiled": "yes"}},
        {"a": PROBE | {"bits": 5}},
        {"a": PROBE | {"bits": {"here": []}}},
        {"good": PROBE, "bad": PROBE | {"bits": {"here": {"loop": "yes"}}}},
    ],
    ids=str,
)
def test_what_is_no_record_of_measurements_is_refused_with_its_cure(value, tmp_path):
    Store(tmp_path).write_json(probing.RECORD, value)
    for read in (probing.read_record, probing.choices):
        with pytest.raises(
            ValueError, match=r"^probes\.json.*(is|missing).*: delete the file, and it"
        ) as caught:
            read(Store(tmp_path))
        assert len(str(caught.value)) < 300


def test_records_as_they_are_written_are_read(tmp_path):
    store = Store(tmp_path)
    assert record.read_record(store) is None
    assert probing.read_record(store) == {}
    store.write_json("run.json", RUN | {"versions": {"python": "3"}})
    assert record.read_record(store).data == "digits"
    noted = {"a": PROBE | {"bits": {"here": {"grouped x2": True}}, "why": "short"}}
    store.write_json(probing.RECORD, noted)
    assert probing.read_record(store) == noted
    assert json.loads((tmp_path / probing.RECORD).read_text()) == noted
