"""A worker's checkpoint counts once a row names its bytes; what no row names is removed when it is old."""

import io
import os
import time
import uuid
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from espalier.cluster.pool import Receipt
from espalier.orchestrator.store.blob_names import (
    digest,
    digests,
    is_straight,
    receipt_of,
    signed,
    straight_name,
)
from espalier.orchestrator.store.inventory import Inventory
from espalier.orchestrator.store.stray_blobs import collect
from espalier.orchestrator.store.sweep_store import Store
from espalier.tasks.tables.rows import table
from tests.orchestrator.store.test_sweep_store import make

BLOB, STATE = "a.safetensors", "a.resume.safetensors"
DAY = 86_400.0


@pytest.fixture(params=["local", "memory"])
def root(request, tmp_path):
    return str(tmp_path / "sweep") if request.param == "local" else f"memory://{uuid.uuid4().hex}/sweep"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "sweep"


def nets(*keys):
    """Rows of table `nets` as a worker makes them."""
    blank = {"sha256": None, "state_sha256": None}
    rows = [
        row | blank | {"checkpoint": f"{row['key']}.safetensors"} for row in make("nets", keys).to_pylist()
    ]
    return table("nets", rows)


def write(store, name, data):
    """What a worker does with a blob; gives its receipt."""
    receipt = receipt_of(name, data)
    store.files.publish(f"checkpoints/{receipt.file}", data)
    return receipt


def commit(store, data=b"weights", state=None, key="a"):
    """A net's job as the driver commits it when a worker wrote its blobs."""
    blobs = {f"{key}.safetensors": data} | ({f"{key}.resume.safetensors": state} if state else {})
    receipts = {name: write(store, name, blob) for name, blob in blobs.items()}
    store.commit(key, {"nets": nets(key)}, {}, receipts)
    return receipts


def files(store):
    return store.files.list("checkpoints")


def flip(path):
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)


def refuses(wanted):
    def verify(name, data):
        if data != wanted:
            raise ValueError("its seal does not hold")

    return verify


# --- counting


def test_what_a_worker_wrote_counts_with_the_row_that_has_its_whole_digest(root):
    store = Store(root)
    receipts = commit(store, state=b"momentum")
    for found in (store, Store(root)):
        assert found.blobs() == {BLOB: 7, STATE: 8}
        assert found.receipt(BLOB) == receipts[BLOB]
        assert (found.read_blob(BLOB), found.read_blob(STATE)) == (b"weights", b"momentum")
        assert found.inventory.strays == {}
    (row,) = store.read_table("nets").to_pylist()
    assert (row["sha256"], row["state_sha256"]) == (digest(b"weights"), digest(b"momentum"))
    assert row["checkpoint"] == f"a.{digest(b'weights')[:16]}.safetensors"
    assert files(store) == sorted(receipt.file for receipt in receipts.values())


def test_what_no_row_names_does_not_count(root):
    store = Store(root)
    write(store, BLOB, b"weights")
    store.commit("a", {"nets": nets("a")})
    assert Store(root).blobs() == {}
    assert len(Store(root).scan().strays) == 1


def test_of_two_attempts_whose_bytes_differ_the_one_in_the_row_counts(root):
    store = Store(root)
    late = write(store, BLOB, b"weights of another machine")
    receipts = commit(store)
    for found in (store, Store(root)):
        assert found.receipt(BLOB) == receipts[BLOB]
        assert found.read_blob(BLOB) == b"weights"
    assert Store(root).scan().strays == {late.file: late.size}


def test_rows_from_before_there_were_digests_count_and_stay(root):
    store = Store(root)
    older = nets("old").drop_columns(["sha256", "state_sha256"])
    part = io.BytesIO()
    pq.write_table(older, part)
    store.files.publish("tables/nets/old.parquet", part.getvalue())
    store.files.publish("checkpoints/old.safetensors", b"plain")
    commit(Store(root))
    found = Store(root)
    assert found.blobs() == {"old.safetensors": 5, BLOB: 7}
    assert found.receipt("old.safetensors") is None
    assert found.inventory.problems == []
    digests = dict(zip(*found.read_table("nets").select(["key", "sha256"]).to_pydict().values(), strict=True))
    assert digests == {"old": None, "a": digest(b"weights")}


FAULTS = {
    "missing": lambda receipt: Receipt(straight_name(BLOB, digest(b"never")), digest(b"never"), receipt.size),
    "of another size": lambda receipt: Receipt(receipt.file, receipt.sha256, receipt.size + 1),
    "of another digest": lambda receipt: Receipt(receipt.file, digest(b"never"), receipt.size),
    "outside": lambda receipt: Receipt("../../x.safetensors", receipt.sha256, receipt.size),
    "of no digest": lambda receipt: Receipt(receipt.file, receipt.sha256[:16], receipt.size),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_is_not_as_its_receipt_says_is_refused_and_nothing_is_written(root, fault):
    store = Store(root)
    receipt = write(store, BLOB, b"weights")
    with pytest.raises(ValueError, match="a\\."):
        store.commit("a", {"nets": nets("a")}, {STATE: b"x"}, {BLOB: FAULTS[fault](receipt)})
    assert store.row_count("nets") == 0
    assert files(store) == [receipt.file]
    commit(store)
    assert store.blobs() == {BLOB: 7}


def test_a_receipt_that_no_row_comes_with_is_refused(root):
    store = Store(root)
    for tables in ({}, {"nets": nets("b")}):
        with pytest.raises(ValueError, match="no row of table 'nets' came with the checkpoint of a"):
            store.commit("b", tables, {}, {BLOB: write(store, BLOB, b"weights")})


def test_a_state_that_was_used_up_is_removed_whoever_wrote_it(root):
    store = Store(root)
    commit(store, state=b"momentum")
    store.commit("b", {"nets": nets("b")}, {"b.resume.safetensors": b"plain"})
    for name in (STATE, "b.resume.safetensors"):
        store.remove_blob(name)
    assert files(store) == [receipt_of(BLOB, b"weights").file]
    assert Store(root).blobs() == {BLOB: 7}


# --- broken, and made again


def test_a_flipped_bit_is_put_aside_and_the_same_bytes_made_again_count_by_the_same_row(folder):
    store = Store(folder)
    path = folder / "checkpoints" / commit(store)[BLOB].file
    flip(path)
    store = Store(folder)
    with pytest.raises(ValueError, match=rf"checkpoints/{path.name}: its SHA-256 is"):
        store.read_blob(BLOB)
    (told,) = store.check_blobs([BLOB], refuses(b"weights"))
    assert told.count(path.name) == 2, "the file, and where it was moved to"
    assert "its SHA-256 is" in told
    assert "computed again" in told
    assert store.blobs() == {}
    with pytest.raises(FileNotFoundError):
        store.read_blob(BLOB)
    commit(store)
    for found in (store, Store(folder)):
        assert found.read_blob(BLOB) == b"weights"
        assert Counter(found.read_table("nets")["key"].to_pylist()) == {"a": 1}
        assert found.check_blobs([BLOB], refuses(b"weights")) == []


def test_other_bytes_made_again_for_a_row_that_stays_are_kept_under_the_plain_name(root):
    store = Store(root)
    first = commit(store)[BLOB]
    store.files.remove(f"checkpoints/{first.file}")
    store = Store(root)
    other = commit(store, b"of another machine")[BLOB]
    for found in (store, Store(root)):
        assert found.blobs() == {BLOB: 18}
        assert found.read_blob(BLOB) == b"of another machine"
        assert [row["sha256"] for row in found.read_table("nets").to_pylist()] == [first.sha256]
    assert files(store) == sorted([BLOB, other.file])


def test_a_row_of_the_drivers_whose_checkpoint_a_worker_makes_again_keeps_it_under_the_plain_name(root):
    Store(root).commit("a", {"nets": nets("a")})
    store = Store(root)
    commit(store)
    assert Store(root).read_blob(BLOB) == store.read_blob(BLOB) == b"weights"
    assert BLOB in files(store)


def test_behind_a_workers_file_that_is_lost_the_drivers_counts(folder):
    store = Store(folder)
    receipt = commit(store)[BLOB]
    store.files.publish(f"checkpoints/{BLOB}", b"plain")
    (folder / "checkpoints" / receipt.file).unlink()
    assert "missing" in store.check_blobs([BLOB], refuses(b"weights"))[0]
    assert store.read_blob(BLOB) == b"plain"
    assert store.blobs() == {BLOB: 5}


# --- the collector


class FakeFiles:
    """Files that were changed at given times, in a place with a clock of its own."""

    def __init__(self, now, changed):
        self._now, self._changed, self.removed = now, changed, []

    def clock(self):
        return self._now

    def changed(self, name):
        return self._changed[name.removeprefix("checkpoints/")]

    def remove(self, name):
        self.removed.append(name)


def test_strays_that_are_older_than_the_longest_attempt_are_removed_by_the_places_own_clock():
    there = FakeFiles(1000.0, {"old": 899.0, "young": 901.0, "of no time": None})
    inventory = Inventory(strays={"old": 5, "young": 7, "of no time": 1}, blobs={"named": 3})
    assert collect(there, inventory, 100.0).endswith("which no row names: old")
    assert there.removed == ["checkpoints/old"]
    assert inventory.strays == {"young": 7, "of no time": 1}
    assert collect(there, inventory, 100.0) == ""


def test_nothing_is_removed_where_the_scan_put_aside_what_may_have_named_it():
    there = FakeFiles(1000.0, {"old": 0.0})
    assert collect(there, Inventory(strays={"old": 5}, problems=["a part was torn"]), 100.0) == ""
    assert there.removed == []


def test_a_place_without_a_clock_keeps_all():
    assert collect(FakeFiles(float("-inf"), {"old": 0.0}), Inventory(strays={"old": 5}), 100.0) == ""


def test_the_collector_leaves_what_a_row_names_what_the_driver_wrote_and_what_is_foreign(folder):
    store = Store(folder)
    receipts = commit(store, state=b"momentum")
    store.commit("b", {"nets": nets("b")}, {"b.safetensors": b"plain", "c.safetensors": b"without a row"})
    (folder / "checkpoints" / "notes.txt").write_text("mine")
    stray = write(store, BLOB, b"of a worker that was cut off")
    young = write(store, BLOB, b"of one that may still be at it")
    old = time.time() - DAY
    for path in Path(folder, "checkpoints").iterdir():
        if path.name != young.file:
            os.utime(path, (old, old))
    store = Store(folder)
    with store.lock():
        assert stray.file in store.collect(DAY / 2)
    kept = {"b.safetensors", "c.safetensors", "notes.txt", young.file}
    assert set(files(store)) == kept | {receipt.file for receipt in receipts.values()}
    assert not list(folder.glob(".clock"))


def test_every_place_has_a_clock_by_which_what_is_written_now_is_now(root):
    there = Store(root).files
    there.replace("checkpoints/x", b"")
    assert abs(there.changed("checkpoints/x") - there.clock()) < 5
    assert abs(there.clock() - time.time()) < 5
    assert not there.exists(".clock")


# --- names


def test_a_name_is_that_of_its_bytes_alone():
    receipts = {receipt_of(name, data).file for name in (BLOB, STATE) for data in (b"1", b"2", b"1")}
    assert len(receipts) == 4
    assert all(map(is_straight, receipts))
    assert not any(map(is_straight, (BLOB, STATE, "notes.txt", "a.0123.safetensors")))


def test_signing_leaves_other_rows_as_they_are_and_the_schema_too():
    rows = nets("a", "b")
    made = signed(rows, {"b.safetensors": receipt_of("b.safetensors", b"x")})
    assert made.schema.equals(rows.schema, check_metadata=True)
    assert digests(made) == {"b.safetensors": digest(b"x")}
    assert str(made.slice(0, 1).to_pylist()) == str(rows.slice(0, 1).to_pylist())
