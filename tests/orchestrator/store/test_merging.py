"""Small parts become large ones while a sweep runs; no row is lost or doubled, and no reader is stopped."""

import uuid
from collections import Counter

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier import load
from espalier.orchestrator.store import known_parts, table_parts
from espalier.orchestrator.store.parquet_parts import decode
from espalier.orchestrator.store.part_ranges import may_match
from espalier.orchestrator.store.sweep_store import Store
from espalier.tasks.tables.rows import table as as_table
from tests.orchestrator.store.test_sweep_store import job, make


@pytest.fixture(autouse=True)
def _few_together(monkeypatch):
    monkeypatch.setattr(known_parts, "TOGETHER", 3)


@pytest.fixture(params=["local", "memory"])
def root(request, tmp_path):
    return str(tmp_path / "sweep") if request.param == "local" else f"memory://{uuid.uuid4().hex}/sweep"


def rows_of(key, width=3):
    rows = make("grafts", [key]).to_pylist()
    return as_table("grafts", [row | {"source_width": width, "target_width": width} for row in rows])


def commit(store, number, width=3):
    key = f"k{number:02}"
    store.commit(key, {"downstream": make("downstream", [key], lines=2), "grafts": rows_of(key, width)})
    store.append_job(job(number))
    store.flush()


def commit_all(store, numbers):
    for number in numbers:
        commit(store, number)


def counts(folder):
    tables = load(folder)
    return Counter(tables.grafts["key"]), Counter(tables.downstream["key"]), Counter(tables.jobs["key"])


def wanted(numbers):
    keys = [f"k{number:02}" for number in numbers]
    jobs = Counter(f"job{number}" for number in numbers)
    return Counter(keys), Counter(dict.fromkeys(keys, 2)), jobs


def test_parts_are_merged_as_they_come_and_merged_again(root):
    store = Store(root)
    with store.lock():
        for number in range(11):
            commit(store, number)
            assert counts(root) == wanted(range(number + 1))
            assert len(store.files.list("tables/grafts")) <= 2, "three are made one"
    found = Store(root).scan()
    assert found.problems == []
    assert found.rows["grafts"] == found.rows["jobs"] == 11
    assert found.present["grafts"] == set(zip(wanted(range(11))[0], strict=True))
    assert store.read_table("grafts").num_rows == store.read_table("jobs").num_rows == 11


def test_pandas_reads_the_merged_folder_with_the_same_rows(tmp_path):
    store = Store(tmp_path)
    parts = [rows_of(f"k{number}").to_pandas() for number in range(4)]
    for number in range(4):
        store.commit(f"p{number}", {"grafts": rows_of(f"k{number}")})
    read = pd.read_parquet(tmp_path / "tables/grafts").sort_values("key", ignore_index=True)
    pd.testing.assert_frame_equal(read, pd.concat(parts, ignore_index=True))


def test_what_the_parts_say_of_where_they_come_from_is_kept(tmp_path):
    store = Store(tmp_path)
    for number in range(3):
        rows = rows_of(f"k{number}").replace_schema_metadata({"espalier": f"commit {number % 2}"})
        store.commit(f"p{number}", {"grafts": rows})
    assert store.read_table("grafts").schema.metadata == {b"espalier": b"commit 0\ncommit 1"}


def plain_rows(root, table):
    files = Store(root).files
    names = files.list(f"tables/{table}")
    return sum(decode(table, files.read(f"tables/{table}/{name}")).num_rows for name in names)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("names", ["rising", "falling"])
def test_a_merged_part_that_another_replaced_counts_once_whatever_they_are_called(root, monkeypatch, names):
    numbers = iter(range(9) if names == "rising" else range(9, 0, -1))
    monkeypatch.setattr(table_parts, "_digest", lambda data: f"{next(numbers):016x}")
    store = Store(root)
    keys = [f"k{number}" for number in range(5)]

    def commit_grafts(some):
        for key in some:
            store.commit(key, {"grafts": rows_of(key)})

    commit_grafts(keys[:4])
    with monkeypatch.context() as patch:
        patch.setattr(type(store.files), "remove", killed)
        with pytest.raises(Killed):
            commit_grafts(keys[4:])
    assert sum(name.startswith("merged-") for name in store.files.list("tables/grafts")) == 2
    assert Counter(Store(root).read_table("grafts")["key"].to_pylist()) == Counter(keys)
    found = Store(root).scan()
    assert (found.rows["grafts"], found.problems) == (5, [])
    assert plain_rows(root, "grafts") == 5


def killed(files, name):
    raise Killed


def test_a_start_reads_each_merged_part_once(root, monkeypatch):
    store = Store(root)
    for number in range(9):
        store.commit(f"k{number}", {"grafts": rows_of(f"k{number}", width=4 + number // 3)})
        store.append_job(job(number))
    store.flush()
    there = [f"tables/grafts/{name}" for name in store.files.list("tables/grafts")]
    assert len(there) == 3
    inner, read = type(store.files).read, []
    monkeypatch.setattr(
        type(store.files), "read", lambda files, name: read.append(name) or inner(files, name)
    )
    Store(root).scan()
    assert {name: read.count(name) for name in there} == dict.fromkeys(there, 1)


def test_a_broken_part_is_told_where_a_merge_was_cut_off_too(root, monkeypatch):
    numbers = iter(range(1, 9))
    monkeypatch.setattr(table_parts, "_digest", lambda data: f"{next(numbers):016x}")
    store = Store(root)
    for number in range(4):
        store.commit(f"k{number}", {"grafts": rows_of(f"k{number}")})
    with monkeypatch.context() as patch:
        patch.setattr(type(store.files), "remove", killed)
        with pytest.raises(Killed):
            store.commit("k4", {"grafts": rows_of("k4")})
    store.files.publish("tables/grafts/merged-0000000000000000.parquet", b"torn")
    found = Store(root).scan()
    assert found.rows["grafts"] == 5
    assert ["merged-0000000000000000" in problem for problem in found.problems] == [True]


@pytest.mark.parametrize("repair", [True, False], ids=["a new run", "a look"])
@pytest.mark.parametrize("step", [0, 2, 3, 6, 8])
def test_a_merge_killed_at_any_step_loses_and_doubles_nothing(root, monkeypatch, step, repair):
    store = Store(root)
    commit(store, 0)
    commit(store, 1)
    left = [step]

    inner = type(store.files).remove

    def dies(files, name):
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        inner(files, name)

    with monkeypatch.context() as patch:
        patch.setattr(type(store.files), "remove", dies)
        with pytest.raises(Killed):
            commit_all(store, range(2, 9))
    numbers = range(int(max(counts(root)[0])[1:]) + 1)
    assert counts(root)[:2] == wanted(numbers)[:2], "for its readers"
    assert set(counts(root)[2].values()) == {1}
    found = Store(root).scan(repair=repair)
    assert found.problems == []
    assert found.rows["grafts"] == len(numbers)
    assert found.rows["jobs"] == Store(root).read_table("jobs").num_rows == len(counts(root)[2])
    Store(root).scan()
    for table, rows in found.rows.items():
        assert plain_rows(root, table) == rows, "who reads the folder as it is finds each row once"


def test_what_took_a_merged_parts_name_is_not_taken_for_it(root):
    store = Store(root)
    for number in range(3):
        commit(store, number)
    commit(store, 3)
    new = store.files.read("tables/grafts/k03.parquet")
    store.files.publish("tables/grafts/k00.parquet", new)
    store.files.remove("tables/grafts/k03.parquet")
    assert Store(root).scan().present["grafts"] == set(zip(wanted(range(4))[0], strict=True))
    assert counts(root)[0] == wanted(range(4))[0]


@pytest.mark.parametrize("reader", ["load", "scan", "read_table"])
def test_parts_that_are_merged_while_they_are_read_are_read_as_one(root, monkeypatch, reader):
    store = Store(root)
    commit(store, 0)
    commit(store, 1)
    inner, waiting = type(store.files).read, [True]

    def read(files, name):
        if waiting and name == "tables/grafts/k01.parquet":
            waiting.clear()
            for number in range(2, 8):
                commit(store, number)
        return inner(files, name)

    beside = Store(root)
    monkeypatch.setattr(type(store.files), "read", read)
    if reader == "load":
        assert counts(root)[0] == wanted(range(8))[0]
    elif reader == "scan":
        found = beside.scan(repair=False)
        assert found.problems == []
        assert found.present["grafts"] == set(zip(wanted(range(8))[0], strict=True))
        assert found.rows["grafts"] == 8
    else:
        assert Counter(beside.read_table("grafts")["key"].to_pylist()) == wanted(range(8))[0]
    assert not waiting


def test_each_width_has_parts_of_its_own(tmp_path, monkeypatch):
    store = Store(tmp_path)
    for number in range(6):
        commit(store, number, width=4 + number % 2)
    parts = [pd.read_parquet(path) for path in (tmp_path / "tables/grafts").iterdir()]
    assert sorted(len(part) for part in parts) == [3, 3]
    assert [len({*part["target_width"]}) for part in parts] == [1, 1]


def test_a_merged_part_is_no_larger_than_a_part_may_be(tmp_path, monkeypatch):
    monkeypatch.setattr("espalier.orchestrator.store.table_parts.PART_BYTES", 2.5 * rows_of("k").nbytes)
    store = Store(tmp_path)
    for number in range(3):
        store.commit(f"p{number}", {"grafts": rows_of(f"k{number:02}")})
    assert len(store.files.list("tables/grafts")) == 2


def test_a_part_that_broke_before_it_was_merged_is_found_by_the_next_start(tmp_path):
    store = Store(tmp_path)
    commit(store, 0)
    commit(store, 1)
    store.files.replace("tables/grafts/k01.parquet", b"torn")
    commit(store, 2)
    found = Store(tmp_path).scan()
    assert found.present["grafts"] == {("k00",), ("k02",)}
    assert "no whole Parquet file" in found.problems[0]


@given(
    st.lists(st.integers(0, 5), min_size=1),
    st.integers(-1, 6),
    st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
)
def test_a_part_that_is_left_out_has_no_row_that_is_asked_for(values, wanted, how):
    rows = pd.DataFrame({"width": values})
    if not may_match({"width": (min(values), max(values))}, [("width", how, wanted)]):
        assert rows.query(f"width {how} {wanted}").empty


@given(st.lists(st.integers(0, 5), min_size=1), st.lists(st.integers(-1, 6)))
def test_the_same_of_lists(values, wanted):
    rows, found = pd.Series(values), {"width": (min(values), max(values))}
    assert may_match(found, [("width", "in", wanted)]) or not rows.isin(wanted).any()
    assert may_match(found, [("width", "not in", wanted)]) or rows.isin(wanted).all()
