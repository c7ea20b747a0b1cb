"""A worker reads and writes a shared store by itself, and never takes other bytes for the right ones."""

import errno

import pytest

from espalier.cluster.pool import Failed, Job, Output, Shelf, attempt_job
from espalier.orchestrator.running import worker_blobs
from espalier.orchestrator.running.worker_blobs import KEPT_BYTES, ShelfError, brought, shelved
from espalier.orchestrator.store.blob_names import receipt_of
from espalier.orchestrator.store.files import SHELF, StoreFull

PLACE = {"node": "here", "device": "cpu"}


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    """Nothing that another test has read is kept."""
    monkeypatch.setattr(worker_blobs, "_kept", worker_blobs.BlobCache(KEPT_BYTES))
    monkeypatch.setattr(worker_blobs, "_seen", set())


@pytest.fixture
def shelf(tmp_path):
    (tmp_path / SHELF).write_text("mark")
    return Shelf(str(tmp_path), "mark", takes=True)


def job(shelf, *inputs):
    return Job("k", "train", None, inputs, shelf=shelf)


def reading(shelf, blobs):
    """The shelf with receipts of blobs that lie there."""
    return Shelf(shelf.place, shelf.mark, shelved(shelf, blobs))


def test_inputs_come_in_their_order_from_the_shelf_and_from_the_driver(shelf):
    there = reading(shelf, {"b.safetensors": b"2"})
    wanted = job(there, "a", "b.safetensors", "c")
    assert wanted.sent == ("a", "c")
    assert list(brought(wanted, {"c": b"3", "a": b"1"}).items()) == [
        ("a", b"1"),
        ("b.safetensors", b"2"),
        ("c", b"3"),
    ]
    assert brought(job(None, "a"), {"a": b"1"}) == {"a": b"1"}


def test_the_pool_brings_what_is_not_on_the_shelf_alone(shelf):
    read = []
    there = reading(shelf, {"b.safetensors": b"2"})
    attempt_job(lambda job, blobs: Output(), job(there, "a", "b.safetensors"), 1, read.append, PLACE)
    assert read == ["a"]


def test_a_blob_is_read_once_and_one_that_was_written_not_at_all(shelf, tmp_path):
    there = reading(shelf, {"a.safetensors": b"1", "b.safetensors": b"2"})
    worker_blobs._kept.drop([there.inputs["a.safetensors"].sha256])
    wanted = job(there, "a.safetensors", "b.safetensors")
    first = brought(wanted, {})
    for path in (tmp_path / "checkpoints").iterdir():
        path.unlink()
    assert brought(wanted, {}) == first == {"a.safetensors": b"1", "b.safetensors": b"2"}


def test_bytes_that_are_not_those_of_the_row_are_refused(shelf, tmp_path):
    there = reading(shelf, {"a.safetensors": b"1"})
    worker_blobs._kept.drop([there.inputs["a.safetensors"].sha256])
    (tmp_path / "checkpoints" / there.inputs["a.safetensors"].file).write_bytes(b"2")
    with pytest.raises(ShelfError, match=r"its SHA-256 is .*, its row says"):
        brought(job(there, "a.safetensors"), {})


@pytest.mark.parametrize("left", [b"", b"1 and mor", b"other bytes, of another length"])
def test_what_lies_torn_under_the_name_is_written_anew(shelf, tmp_path, left):
    receipt = receipt_of("a.safetensors", b"1 and more")
    path = tmp_path / "checkpoints" / receipt.file
    path.parent.mkdir()
    path.write_bytes(left)
    assert shelved(shelf, {"a.safetensors": b"1 and more"}) == {"a.safetensors": receipt}
    assert path.read_bytes() == b"1 and more"


def test_the_same_bytes_written_again_leave_the_file_untouched(shelf, tmp_path):
    shelved(shelf, {"a.safetensors": b"1"})
    (path,) = (tmp_path / "checkpoints").iterdir()
    before = path.stat()
    shelved(shelf, {"a.safetensors": b"1"})
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert not list((tmp_path / ".staging").iterdir())


def test_a_full_disk_is_an_attempt_that_failed_for_the_store(shelf, monkeypatch):
    def full(self, name, data):
        raise StoreFull(name, OSError(errno.ENOSPC, "No space left on device"))

    monkeypatch.setattr(type(worker_blobs._files(shelf.place)), "publish", full)
    event = attempt_job(
        lambda job, blobs: Output(receipts=shelved(job.shelf, {"a.safetensors": b"1"})),
        job(shelf), 1, lambda name: b"", PLACE,
    )  # fmt: skip
    assert isinstance(event, Failed)
    assert event.reason == "store"
    assert "No space left on device" in event.error


def test_another_disk_at_the_place_is_noticed_before_anything_is_read_or_written(tmp_path):
    with pytest.raises(ShelfError, match=r"cannot use .*nowhere"):
        brought(job(Shelf(str(tmp_path / "nowhere"), "mark", takes=True)), {})
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / SHELF).write_text("another run's")
    with pytest.raises(ShelfError, match=r"is not the driver's: its \.shelf is of another run"):
        brought(job(Shelf(str(tmp_path), "mark")), {})
