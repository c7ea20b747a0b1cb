"""A file is whole or absent; one writer at a time; the same laws on a disk and at a URL."""

import errno
import os
import signal
import subprocess
import sys
import uuid

import fsspec
import pytest

from espalier.orchestrator.store import local_files, local_lock
from espalier.orchestrator.store.files import StoreFull, StoreLocked, StoreWriteError
from espalier.orchestrator.store.fsspec_files import FsspecFiles
from espalier.orchestrator.store.local_files import LocalFiles
from espalier.orchestrator.store.places import open_files


@pytest.fixture(params=["local", "memory"])
def files(request, tmp_path):
    if request.param == "local":
        return open_files(tmp_path / "sweep")
    return open_files(f"memory://{uuid.uuid4().hex}/sweep")


def test_a_path_a_file_url_and_a_remote_url_find_their_implementation(tmp_path):
    assert isinstance(open_files(tmp_path), LocalFiles)
    assert open_files(f"file://{tmp_path}").root == str(tmp_path)
    assert isinstance(open_files("memory://x"), FsspecFiles)


def test_publish_keeps_the_first(files):
    assert files.publish("tables/nets/a", b"first")
    assert not files.publish("tables/nets/a", b"second")
    assert files.read("tables/nets/a") == b"first"
    assert files.sizes("tables/nets") == {"a": 5}


def test_replace_keeps_the_last(files):
    files.replace("run.json", b"first")
    files.replace("run.json", b"second")
    assert files.read("run.json") == b"second"


def test_what_is_hidden_is_not_listed_and_what_is_missing_is_empty(files):
    for name in ("b", "a", ".hidden", "_ours"):
        files.publish(f"folder/{name}", b"x")
    assert files.list("folder") == ["a", "b"]
    assert files.list("none") == []
    with pytest.raises(FileNotFoundError):
        files.read("none/a")


def test_remove_twice(files):
    files.publish("a", b"x")
    files.remove("a")
    files.remove("a")
    assert not files.exists("a")


def test_quarantine_keeps_every_file_it_is_given(files):
    places = set()
    for data in (b"one", b"two"):
        files.publish("tables/nets/a.parquet", data)
        places.add(files.quarantine("tables/nets/a.parquet"))
        assert not files.exists("tables/nets/a.parquet")
    assert len(places) == 2
    assert all(".broken" in place for place in places)


def test_lock_excludes_and_is_given_back(files):
    with (
        files.lock(),
        pytest.raises(StoreLocked, match=f"in use by pid {os.getpid()} on "),
        open_files(files.root).lock(),
    ):
        pass
    with open_files(files.root).lock():
        pass


HOLD = """
import sys, time
from espalier.orchestrator.store.places import open_files
with open_files(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def test_lock_excludes_another_process_and_falls_with_it(tmp_path):
    files = open_files(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreLocked, match=f"pid {holder.pid} on "), files.lock():
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with files.lock():
        pass


def test_a_crash_while_staging_leaves_nothing_that_counts(tmp_path):
    files = open_files(tmp_path)
    (tmp_path / ".staging").mkdir()
    (tmp_path / ".staging" / "torn").write_bytes(b"ha")
    assert files.list("") == []
    assert files.publish("a", b"whole")
    assert (tmp_path / ".staging" / "torn").exists(), "another writer's staged file is not ours to clear"
    with files.lock():
        assert not (tmp_path / ".staging").exists()
        assert files.publish("b", b"whole")
    assert files.list("") == ["a", "b"]


@pytest.mark.parametrize(
    ("code", "error", "cure"),
    [
        (errno.ENOSPC, StoreFull, "free space and run again"),
        (errno.EDQUOT, StoreFull, "free space and run again"),
        (errno.EROFS, StoreWriteError, "mend that and run again"),
    ],
)
@pytest.mark.parametrize("write", ["publish", "replace"])
def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch, code, error, cure, write):
    def fail(handle):
        raise OSError(code, os.strerror(code))

    files = open_files(tmp_path)
    monkeypatch.setattr(local_files.os, "fsync", fail)
    with pytest.raises(error, match=f"while writing .*a: .*everything finished is safe: {cure}") as caught:
        getattr(files, write)("a", b"data")
    assert caught.value.errno == code
    assert isinstance(caught.value, StoreFull) == (code != errno.EROFS)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_failing_remote_is_a_write_error(monkeypatch):
    files = open_files(f"memory://{uuid.uuid4().hex}")

    def fail(*_, **__):
        raise OSError("the bucket is gone")

    monkeypatch.setattr(files._fs, "pipe_file", fail)
    for write in (files.publish, files.replace):
        with pytest.raises(StoreWriteError, match="the bucket is gone"):
            write("a", b"data")


def test_s3s_plain_error_for_a_refused_condition_means_it_exists(monkeypatch):
    files = open_files(f"memory://{uuid.uuid4().hex}")
    files.publish("a", b"first")

    def refuse(*_, **__):
        raise OSError(errno.EINVAL, "HTTP Status code: 412")

    monkeypatch.setattr(files._fs, "pipe_file", refuse)
    assert not files.publish("a", b"second")


def test_a_remote_without_conditional_put_is_asked_first():
    files = open_files(f"memory://{uuid.uuid4().hex}")
    files._conditional = False
    assert files.publish("a", b"first")
    assert not files.publish("a", b"second")
    assert files.read("a") == b"first"


def test_publish_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(local_files.os, "link", refuse)
    files = open_files(tmp_path)
    assert files.publish("t/a", b"first")
    assert not files.publish("t/a", b"second")
    monkeypatch.setattr(LocalFiles, "exists", lambda self, name: False)
    assert not files.publish("t/a", b"third"), "the last check is made with the claim in hand"
    assert files.read("t/a") == b"first"
    assert list((tmp_path / ".staging").iterdir()) == []
    (tmp_path / ".staging" / "t@b.claim").touch()
    assert not files.publish("t/b", b"of another process"), "who holds the claim writes"


def test_links_win_over_a_file_that_appears_meanwhile(tmp_path, monkeypatch):
    files = open_files(tmp_path)
    files.publish("a", b"first")
    monkeypatch.setattr(LocalFiles, "exists", lambda self, name: False)
    assert not files.publish("a", b"second")
    assert files.read("a") == b"first"


class Killed(BaseException):
    """Ends a process, as far as the code under test can tell."""


def die_at(monkeypatch, step):
    """The step-th rename, flush or removal of a tree from now on kills; returns what is counted."""
    seen = []

    def mortal(call):
        def wrapped(*args, **options):
            seen.append(call)
            if len(seen) == step:
                raise Killed
            return call(*args, **options)

        return wrapped

    monkeypatch.setattr(local_files.os, "fsync", mortal(os.fsync))
    monkeypatch.setattr(local_files.Path, "rename", mortal(local_files.Path.rename))
    monkeypatch.setattr(local_files.shutil, "rmtree", mortal(local_files.shutil.rmtree))
    return seen


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("written_meanwhile", [False, True])
def test_a_swap_killed_anywhere_is_all_old_or_all_new(tmp_path, monkeypatch, written_meanwhile, at_once):
    if not at_once:
        monkeypatch.setattr(local_files, "exchanged", lambda *_: False)
    old, new = {"a": b"1", "b": b"2"}, {"c": b"12"}
    for step in range(1, 100):
        files = open_files(tmp_path / str(step))
        for name, data in old.items():
            files.publish(f"tables/nets/{name}", data)
        with monkeypatch.context() as patch:
            seen = die_at(patch, step)
            try:
                files.swap("tables/nets", new)
            except Killed:
                pass
            else:
                break
        if at_once:  # a reader needs no mending
            seen_by_reader = {name: files.read(f"tables/nets/{name}") for name in files.list("tables/nets")}
            assert seen_by_reader in (old, new)
        added = {"a": b"3"} if written_meanwhile and files.publish("tables/nets/a", b"3") else {}
        with files.lock():
            found = sorted(files.read(f"tables/nets/{name}") for name in files.list("tables/nets"))
        assert found in (sorted([*old.values(), *added.values()]), sorted([*new.values(), *added.values()]))
        assert not any((tmp_path / str(step) / ".compact").iterdir())
    assert len(seen) == step - 1 > 6
    assert files.list("tables/nets") == ["c"]


@pytest.mark.parametrize("again", range(1, 12))
def test_the_mending_of_a_swap_may_be_killed_too(tmp_path, monkeypatch, again):
    files = open_files(tmp_path)
    for name in "ab":
        files.publish(f"tables/nets/{name}", name.encode())
    work = tmp_path / ".compact" / "tables@nets"
    files.publish(".compact/tables@nets/new/c", b"ab")
    (tmp_path / "tables" / "nets").rename(work / "old")
    with monkeypatch.context() as patch:
        die_at(patch, again)
        try:
            with files.lock():
                pass
        except Killed:
            pass
    with files.lock():
        assert {n: files.read(f"tables/nets/{n}") for n in files.list("tables/nets")} == {
            "a": b"a",
            "b": b"b",
        }


def test_a_swap_on_a_full_disk_changes_nothing_and_gives_the_space_back(tmp_path, monkeypatch):
    files = open_files(tmp_path)
    files.publish("tables/nets/a", b"1")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(local_files, "write_new", fail)
        with pytest.raises(StoreFull):
            files.swap("tables/nets", {"b": b"1"})
    assert files.list("tables/nets") == ["a"]
    assert not any((tmp_path / ".compact").iterdir())


def test_a_url_cannot_swap():
    with pytest.raises(NotImplementedError, match="local folder only"):
        open_files("memory://x").swap("t", {})


def test_a_place_without_locks_says_so(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "not implemented")

    monkeypatch.setattr(local_lock.fcntl, "flock", refuse)
    with pytest.raises(OSError, match="Lustre"), open_files(tmp_path).lock():
        pass


def test_memory_is_where_fsspec_says(tmp_path):
    root = f"memory://{uuid.uuid4().hex}/sweep"
    open_files(root).publish("t/a", b"x")
    assert fsspec.open(f"{root}/t/a").open().read() == b"x"
