"""Each finished piece is kept once, whatever was killed, repeated, torn or full on the way."""

import errno
import gc
import uuid
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from espalier.orchestrator.store import local_files
from espalier.orchestrator.store.files import StoreFull, StoreLocked
from espalier.orchestrator.store.parquet_parts import PartError, decode, encode
from espalier.orchestrator.store.sweep_store import JOB_ROWS, Store
from espalier.tasks.tables import schemas
from espalier.tasks.tables.image_blocks import COUNTS, SHARES
from espalier.tasks.tables.rows import table as as_table


@pytest.fixture(params=["local", "memory"])
def root(request, tmp_path):
    return str(tmp_path / "sweep") if request.param == "local" else f"memory://{uuid.uuid4().hex}/sweep"


@pytest.fixture
def local(tmp_path):
    return tmp_path / "sweep"


def make(table, keys, lines=1):
    """Rows of a table: `lines` of each key; a column that names the line keeps them apart."""
    plain = {pa.string(): "text", pa.int64(): 3, pa.float64(): float("nan"), pa.bool_(): True}
    plain |= {kind: bytes(kind.byte_width) for kind in (COUNTS, SHARES)}
    line = "epoch" if table == "curves" else "layer"
    made = []
    for key in keys:
        for number in range(lines):
            row = {column.name: plain[column.type] for column in schemas.SCHEMAS[table]} | {"key": key}
            made.append(row | {line: number} if line in row else row)
    return as_table(table, made)


def commit(store, keys, part=None):
    """A graft tile as the driver commits it: two tables, the primary one last, and a blob."""
    tables = {"downstream": make("downstream", keys, lines=2), "grafts": make("grafts", keys)}
    return store.commit(part or "-".join(keys), tables, {f"{keys[0]}.safetensors": b"weights"})


def counted(store, table="grafts"):
    """How often each key is in a table on disk."""
    return Counter(store.read_table(table)["key"].to_pylist())


def parts(store, table="grafts"):
    return [Path(store.table_path(table)) / name for name in store.files.list(f"tables/{table}")]


def job(number):
    text = {column.name: "text" for column in schemas.SCHEMAS["jobs"] if column.type == pa.string()}
    start = datetime(2026, 1, 1, tzinfo=UTC)
    numbers = {"attempt": number, "start": start, "seconds": 1.0, "flops": 1.0, "bytes_in": 1}
    return text | numbers | {"key": f"job{number}"}


# --- commit


def test_a_commit_is_found_again_by_a_new_store(root):
    store = Store(root)
    assert commit(store, ["a", "b"]) == {"downstream": 4, "grafts": 2}
    for found in (store.inventory, Store(root).scan()):
        assert found.present["grafts"] == {("a",), ("b",)}
        assert found.present["downstream"] == {("a",), ("b",)}
        assert found.rows == dict.fromkeys(schemas.SCHEMAS, 0) | {"grafts": 2, "downstream": 4}
        assert found.blobs == {"a.safetensors": 7}
        assert found.problems == []


@pytest.mark.parametrize("part", ["again", "a-b"])
def test_the_same_rows_twice_are_kept_once(root, part):
    store = Store(root)
    commit(store, ["a", "b"])
    assert commit(store, ["a", "b"], part) == {"downstream": 0, "grafts": 0}
    assert commit(Store(root), ["a", "b"], part) == {"downstream": 0, "grafts": 0}
    assert counted(store) == {"a": 1, "b": 1}


def test_another_commit_of_a_taken_part_name_loses_nothing(root):
    store = Store(root)
    commit(store, ["a"], "part")
    commit(store, ["b"], "part")
    assert store.files.list("tables/grafts") == ["part-2.parquet", "part.parquet"]
    assert counted(store) == {"a": 1, "b": 1}


def test_a_piece_of_many_rows_is_kept_whole(root):
    store = Store(root)
    store.commit("x", {"downstream": make("downstream", ["a"], lines=3)})
    assert store.commit("y", {"downstream": make("downstream", ["a", "b"], lines=3)}) == {"downstream": 3}
    assert counted(store, "downstream") == {"a": 3, "b": 3}


def test_an_identity_may_be_several_columns(root):
    store = Store(root)
    store.commit("x", {"curves": make("curves", ["net"], lines=2)})
    assert store.commit("y", {"curves": make("curves", ["net"], lines=5)}) == {"curves": 3}
    assert Store(root).scan().present["curves"] == {("net", epoch) for epoch in range(5)}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(st.tuples(st.sets(st.sampled_from("abcdef"), min_size=1), st.booleans()), max_size=5))
def test_any_overlapping_commits_give_their_union_once(tmp_path, history):
    root = tmp_path / uuid.uuid4().hex
    store = Store(root)
    for keys, reopen in history:
        store = Store(root) if reopen else store
        commit(store, sorted(keys), "one-name" if len(keys) % 2 else None)
    wanted = set().union(*(keys for keys, _ in history))
    for table, lines in (("grafts", 1), ("downstream", 2)):
        assert counted(store, table) == dict.fromkeys(wanted, lines)
        assert store.row_count(table) == lines * len(wanted)


@pytest.mark.parametrize("reopen", [False, True])
@pytest.mark.parametrize("before", [False, True], ids=["after-the-step", "before-the-step"])
@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_commit_killed_at_any_step_can_be_made_again(root, monkeypatch, step, before, reopen):
    store = Store(root)
    publish, calls = store.files.publish, []

    def dies(name, data):
        calls.append(name)
        if len(calls) == step + 1 and before:
            raise KeyboardInterrupt
        made = publish(name, data)
        if len(calls) == step + 1:
            raise KeyboardInterrupt
        return made

    monkeypatch.setattr(store.files, "publish", dies)
    with pytest.raises(KeyboardInterrupt):
        commit(store, ["a", "b"])
    kinds = [name.split("/")[-2] for name in calls]
    assert kinds == ["checkpoints", "downstream", "grafts"][: step + 1]
    monkeypatch.setattr(store.files, "publish", publish)
    store = Store(root) if reopen else store
    commit(store, ["b", "c", "a"], "a-b")
    assert counted(store, "grafts") == {"a": 1, "b": 1, "c": 1}
    assert counted(store, "downstream") == {"a": 2, "b": 2, "c": 2}
    again = Store(root).scan()
    assert again.problems == []
    assert again.present == store.inventory.present
    assert again.rows == store.inventory.rows


def test_a_full_disk_leaves_the_finished_and_nothing_half(local, monkeypatch):
    store = Store(local)
    commit(store, ["a"])

    def fail(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(local_files.os, "fsync", fail)
        with pytest.raises(StoreFull, match=r"while writing .*b\.safetensors.*free space and run again"):
            commit(store, ["b"])
    assert [path.name for path in local.rglob("*") if path.is_file() and "b" in path.stem] == []
    assert Store(local).scan().problems == []
    commit(store, ["b"])
    assert counted(store) == {"a": 1, "b": 1}


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        (
            "grafts",
            lambda t: t.drop_columns(["warning"]),
            r"schema of table 'grafts': lacks \['warning: string'",
        ),
        ("grafts", lambda t: t.append_column("odd", t["key"]), r"has instead \['odd: string'\]"),
        ("grafts", lambda t: t.select(t.column_names[::-1]), "another order"),
        ("grafts", lambda t: pa.concat_tables([t, t]), "the same row twice"),
        ("nets", lambda t: t.set_column(0, "key", pa.nulls(1, pa.string())), "may not be null"),
        ("jobs", lambda t: t, "no table 'jobs' to commit to"),
        ("fruit", lambda t: t, "no table 'fruit'"),
    ],
)
def test_wrong_rows_are_refused_before_anything_is_written(root, table, change, message):
    good = make(table if table in schemas.ROW_IDENTITY else "nets", ["a"])
    with pytest.raises(ValueError, match=message):
        Store(root).commit("x", {"curves": make("curves", ["a"]), table: change(good)}, {"a": b"x"})
    assert Store(root).scan().blobs == {}
    assert Store(root).row_count("curves") == 0


@pytest.mark.parametrize("name", ["", "_a", ".a", "a/b", "../a", "a b", "-a"])
def test_names_that_readers_would_miss_or_that_leave_the_folder_are_refused(root, name):
    store = Store(root)
    with pytest.raises(ValueError, match="is no file name here"):
        store.commit(name, {})
    with pytest.raises(ValueError, match="is no file name here"):
        store.commit("part", {}, {name: b"x"})
    with pytest.raises(ValueError, match="is no file name here"):
        store.write_json(name, {})


def test_schema_metadata_of_the_rows_is_kept(root):
    store = Store(root)
    for commit_id in ("1", "2", "1"):
        made = make("nets", [uuid.uuid4().hex]).replace_schema_metadata({"commit": commit_id})
        store.commit("part", {"nets": made})
    read = store.read_table("nets")
    assert read.schema.metadata == {b"commit": b"1\n2"}
    assert read.schema.field("width").metadata == schemas.SCHEMAS["nets"].field("width").metadata


def test_a_small_part_has_the_schema_once_and_reads_as_it_was_written():
    for table in schemas.SCHEMAS:
        rows = schemas.SCHEMAS[table].empty_table().replace_schema_metadata({"commit": "1"})
        data = encode(table, rows)
        assert b"ARROW:schema" not in data
        assert decode(table, data).schema.equals(rows.schema, check_metadata=False)
        assert decode(table, data).schema.metadata == {b"commit": b"1"}


def test_a_part_that_was_read_leaves_nothing_that_waits_for_the_garbage_collector():
    """A file's reader takes far more memory than its rows, and 5,000 of them would all wait."""
    data = encode("grafts", make("grafts", ["a", "b"]))
    decode("grafts", data)
    gc.collect()
    decode("grafts", data)
    assert gc.collect() == 0


# --- broken parts


def torn(data):
    return data[: len(data) // 2]


def flipped(data):
    """A bit in each of 64 bytes: one alone may lie in statistics that no reader looks at."""
    start = len(data) // 8
    return data[:start] + bytes(byte ^ 8 for byte in data[start : start + 64]) + data[start + 64 :]


def of_another_schema(_):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"key": ["a"]}), sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda _: b"", "the file is empty"),
        (torn, "no whole Parquet file"),
        (flipped, "no whole Parquet file"),
        (lambda _: b"dear diary", "no whole Parquet file"),
        (of_another_schema, "not the schema of table 'grafts'"),
    ],
    ids=["empty", "torn", "flipped", "foreign", "schema"],
)
def test_a_broken_part_is_put_aside_and_the_rest_reads(root, damage, message):
    store = Store(root)
    for key in "abc":
        commit(store, [key])
    name = "tables/grafts/b.parquet"
    store.files.replace(name, damage(store.files.read(name)))
    with pytest.raises(PartError, match=rf"b\.parquet: {message}"):
        store.read_table("grafts")
    looked = Store(root).scan(repair=False)
    assert "left in place" in looked.problems[0]
    assert store.files.exists(name)
    found = Store(root).scan()
    assert found.present["grafts"] == looked.present["grafts"] == {("a",), ("c",)}
    (problem,) = found.problems
    assert problem.startswith(f"{name}: {message}")
    assert ".broken" in problem
    assert problem.endswith("its rows will be computed again")
    again = Store(root)
    assert commit(again, ["b"]) == {"downstream": 0, "grafts": 1}
    assert counted(again) == {"a": 1, "b": 1, "c": 1}
    assert Store(root).scan().problems == []


def test_every_flipped_byte_is_noticed_or_harmless():
    good = make("downstream", ["a", "b"])
    data = encode("downstream", good)
    wanted = good.to_pandas()
    noticed = 0
    for place in range(0, len(data), 61):
        try:
            read = decode("downstream", data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
        except PartError:
            noticed += 1
        else:
            pd.testing.assert_frame_equal(read.to_pandas(), wanted)
    assert noticed > len(data) / 61 / 2


def test_a_folder_among_the_parts_is_put_aside(local):
    store = Store(local)
    commit(store, ["a"])
    (local / "tables/grafts/copies").mkdir()
    assert "copies: a folder" in store.scan().problems[0]
    assert [path.name for path in parts(store)] == ["a.parquet"]


def test_a_torn_part_of_a_commits_own_name_is_replaced(root):
    store = Store(root)
    assert store.inventory.problems == []
    store.files.publish("tables/grafts/a.parquet", b"torn")
    commit(store, ["a"])
    assert counted(store) == {"a": 1}
    assert "no whole Parquet file" in store.inventory.problems[0]


def test_rows_that_two_parts_hold_are_kept_once(root):
    store, other = Store(root), Store(f"memory://{uuid.uuid4().hex}")
    commit(store, ["a", "b"], "mine")
    commit(other, ["b", "c"], "theirs")
    store.files.publish("tables/grafts/theirs.parquet", other.files.read("tables/grafts/theirs.parquet"))
    found = store.scan()
    assert "in other parts too" in found.problems[0]
    assert counted(store) == {"a": 1, "b": 1, "c": 1}
    assert found.rows["grafts"] == 3
    assert Store(root).scan().problems == []


# --- checkpoints, jobs, JSON


def test_checkpoints(root):
    store = Store(root)
    store.commit("x", {}, {"k.safetensors": b"one", "k.resume.safetensors": b"state"})
    store.commit("y", {}, {"k.safetensors": b"two"})
    assert store.read_blob("k.safetensors") == b"one"
    assert store.blobs() == {"k.safetensors": 3, "k.resume.safetensors": 5}
    store.remove_blob("k.resume.safetensors")
    store.remove_blob("k.resume.safetensors")
    assert Store(root).blobs() == {"k.safetensors": 3}


def test_broken_checkpoints_are_put_aside(root):
    def verify(name, data):
        if (name, data) != ("a", b"good"):
            raise ValueError("sha256 differs")

    store = Store(root)
    store.commit("x", {}, {"a": b"good", "b": b"bad"})
    torn, missing = store.check_blobs(["a", "b", "c"], verify)
    assert torn.startswith("checkpoints/b: sha256 differs; moved to ")
    assert missing == "checkpoints/c: missing; it will be computed again"
    assert store.blobs() == Store(root).blobs() == {"a": 4}


def test_attempts_are_written_by_number_by_time_and_at_the_end(root):
    now = [0.0]
    store = Store(root, clock=lambda: now[0])
    for number in range(JOB_ROWS - 1):
        store.append_job(job(number))
    assert store.row_count("jobs") == 0
    store.append_job(job(64))
    assert store.row_count("jobs") == JOB_ROWS
    store.append_job(job(65))
    now[0] = 10.0
    store.append_job(job(66))
    assert store.row_count("jobs") == JOB_ROWS + 2
    with store.lock():
        store.append_job(job(67))
    assert store.read_table("jobs").num_rows == Store(root).row_count("jobs") == JOB_ROWS + 3
    assert len(store.files.list("tables/jobs")) == 3


def test_an_attempt_with_other_columns_is_refused(root):
    with pytest.raises(ValueError, match="colour"):
        Store(root).append_job(job(1) | {"colour": "red"})


def test_json(root):
    store = Store(root)
    assert store.read_json("run.json") is None
    store.write_json("run.json", {"nets": 3})
    store.write_json("run.json", {"nets": 4})
    assert Store(root).read_json("run.json") == {"nets": 4}
    for broken in (b"{", b"", b"\xff", b"[" * 10**5, b"null"):  # the last would be taken for no file
        store.files.replace("run.json", broken)
        with pytest.raises(ValueError, match=r"run\.json (is|holds) no .*mend or delete it"):
            store.read_json("run.json")


# --- lock, readers, compaction


def test_one_writer_and_readers_beside_it(root):
    store, reader = Store(root), Store(root)
    with store.lock():
        commit(store, ["a"])
        assert reader.row_count("grafts") == 1
        with pytest.raises(StoreLocked):
            reader.scan()
        commit(store, ["b"])
    with reader.lock():
        assert reader.row_count("grafts") == 2, "what it saw before the lock no longer counts"


def sorted_frame(frame):
    return frame.sort_values(["key", "layer"], ignore_index=True)


def test_pandas_reads_the_folder_with_all_columns(local):
    store = Store(local)
    for keys in ("ab", "bc", "d"):
        commit(store, list(keys))
    store.files.publish("tables/grafts/.hidden", b"not Parquet")
    frame = pd.read_parquet(f"{local}/tables/grafts")
    assert list(frame.columns) == schemas.SCHEMAS["grafts"].names
    wanted = make("grafts", list("abcd")).to_pandas()
    pd.testing.assert_frame_equal(sorted_frame(frame), sorted_frame(wanted))


@pytest.mark.parametrize(("share", "wanted"), [(0, 5), (0.45, 3), (1, 1)])
def test_compact_keeps_the_rows_in_files_of_a_bounded_size(local, share, wanted):
    store = Store(local)
    for keys in ("ca", "b", "ed"):
        commit(store, list(keys))
    store.append_job(job(1))
    before = sorted_frame(pd.read_parquet(store.table_path("downstream")))
    part_bytes = int(1.02 * share * store.read_table("downstream").nbytes)
    files = store.compact(part_bytes=part_bytes)
    assert files["downstream"] == wanted
    pd.testing.assert_frame_equal(sorted_frame(pd.read_parquet(store.table_path("downstream"))), before)
    names = [path.name for path in parts(store, "downstream")]
    assert store.compact(part_bytes=part_bytes) == files
    assert [path.name for path in parts(store, "downstream")] == names
    found = Store(local).scan()
    assert found.problems == []
    assert found.rows == store.inventory.rows
    assert found.rows["jobs"] == 1
    assert commit(store, ["a", "f"]) == {"downstream": 2, "grafts": 1}


def test_compacted_files_do_not_depend_on_the_order_of_the_commits(tmp_path):
    names = set()
    for number, order in enumerate(["abc", "cab"]):
        store = Store(tmp_path / str(number))
        for key in order:
            commit(store, [key])
        store.compact("grafts")
        names.add(parts(store)[0].name)
    assert len(names) == 1


@pytest.mark.parametrize("step", range(2))
def test_a_compaction_killed_between_its_renames_loses_nothing(local, monkeypatch, step):
    store = Store(local)
    for key in "abc":
        commit(store, [key])
    move, calls = local_files._move, []

    def dies(source, place):
        if len(calls) == step:
            raise KeyboardInterrupt
        calls.append(place)
        move(source, place)

    with monkeypatch.context() as patch:
        patch.setattr(local_files, "exchanged", lambda *_: False)
        patch.setattr(local_files, "_move", dies)
        with pytest.raises(KeyboardInterrupt):
            store.compact("grafts")
    found = Store(local).scan()
    assert found.problems == []
    assert found.present["grafts"] == {("a",), ("b",), ("c",)}
    assert len(parts(store)) == 3
    assert store.compact("grafts") == {"grafts": 1}
    assert counted(store) == {"a": 1, "b": 1, "c": 1}


def test_compact_refuses_a_store_in_use(local):
    with Store(local).lock(), pytest.raises(StoreLocked):
        Store(local).compact()


def test_at_a_url_parts_are_merged_too(root):
    store = Store(root)
    for key in "abcd":
        commit(store, [key])
    store.append_job(job(1))
    for _ in range(2):
        assert store.compact() == dict.fromkeys(schemas.SCHEMAS, 0) | {
            "grafts": 1,
            "downstream": 1,
            "jobs": 1,
        }
    found = Store(root).scan()
    assert found.problems == []
    assert found.present["grafts"] == {(key,) for key in "abcd"}
    assert counted(Store(root), "downstream") == dict.fromkeys("abcd", 2)
