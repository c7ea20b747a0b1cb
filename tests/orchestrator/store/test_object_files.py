"""A sweep's store in an object store: a real server keeps its promises, and one that does not is refused."""

import os
import subprocess
import sys
import urllib.request

import pytest

from espalier import load
from espalier.cluster.pool import Job, Shelf
from espalier.orchestrator.running.worker_blobs import brought, shelved
from espalier.orchestrator.store import known_parts
from espalier.orchestrator.store.files import SHELF, Stamp, StoreLocked, StoreUnfit, StoreWriteError
from espalier.orchestrator.store.fsspec_files import FsspecFiles
from espalier.orchestrator.store.object_files import ObjectFiles
from espalier.orchestrator.store.places import open_files
from espalier.orchestrator.store.sweep_store import Store
from tests.orchestrator.store.object_servers import free_port, servers, serving
from tests.orchestrator.store.test_blob_folder import BLOB, nets, write
from tests.orchestrator.store.test_sweep_store import commit, counted, job


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def bucket(patch):
    """The URL of a bucket on a server that acts as S3 does."""
    pytest.importorskip("obstore", reason="pip install 'espalier[s3]'")
    port = free_port()
    command = [servers() / "moto_server", "-H", "127.0.0.1", "-p", str(port)]
    with serving(command, port, patch) as (endpoint, name):
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT")).close()
        yield f"s3://{name}"


@pytest.fixture
def root(bucket, request):
    return f"{bucket}/{abs(hash(request.node.name)):x}/a sweep"


def test_files_are_created_once_and_come_back_as_written(root):
    files = open_files(root)
    assert isinstance(files, ObjectFiles)
    assert not files.is_there()
    assert files.publish("t/a", b"first")
    assert not files.publish("t/a", b"second")
    assert files.read("t/a") == b"first"
    stamp = files.stamp("t/a")
    files.replace("t/a", b"other")
    assert files.stamps("t") == {"a": files.stamp("t/a")} != {"a": stamp}
    files.replace("t/.hidden", b"")
    files.replace("t/below/c", b"")
    assert files.list("t") == ["a"]
    assert files.is_there()
    assert files.exists("t/a")
    assert not files.exists("t/b")
    with pytest.raises(FileNotFoundError):
        files.read("t/b")
    assert files.quarantine("t/a").startswith(f"{root}/.broken/t/a.")
    assert files.list("t") == files.list("nowhere") == []
    files.remove("t/a")


def test_workers_write_checkpoints_there_by_themselves_and_strays_go_by_its_own_clock(root):
    store = Store(root)
    with store.lock():
        receipt, stray = (write(Store(root), BLOB, data) for data in (b"weights", b"of a worker cut off"))
        store.commit("a", {"nets": nets("a")}, {}, {BLOB: receipt})
    mark = "this run"
    store.files.replace(SHELF, mark.encode())
    there = Shelf(root, mark, {BLOB: receipt}, takes=True)
    assert brought(Job("k", "graft", None, (BLOB,), shelf=there), {}) == {BLOB: b"weights"}
    assert shelved(there, {BLOB: b"weights"}) == {BLOB: receipt}, "an existing name is the same bytes"
    store = Store(root)
    with store.lock():
        assert store.blobs() == {BLOB: 7}
        assert store.collect(60.0) == "", "it is young"
        assert stray.file in store.collect(-60.0)
    assert store.files.list("checkpoints") == [receipt.file]
    assert Store(root).read_blob(BLOB) == b"weights"


def test_a_store_there_is_a_store(root, monkeypatch):
    monkeypatch.setattr(known_parts, "NEW_PARTS", 1)
    monkeypatch.setattr(known_parts, "TOGETHER", 3)
    store = Store(root)
    with store.lock():
        for key in "abcde":
            commit(store, [key])
        store.append_job(job(1))
        assert store.files.locked()
        with pytest.raises(StoreLocked, match="is in use by pid"), Store(root).lock():
            pass
    assert not store.files.locked()
    assert counted(Store(root)) == dict.fromkeys("abcde", 1)
    assert len(store.files.list("tables/grafts")) <= 2, "parts were merged"
    assert sorted(load(root).grafts["key"]) == list("abcde")
    read, inner = [], ObjectFiles.read

    def told(files, name):
        read.append(name)
        return inner(files, name)

    Store(root).scan()
    monkeypatch.setattr(ObjectFiles, "read", told)
    found = Store(root).scan(repair=False)
    assert found.present["grafts"] == {(key,) for key in "abcde"}
    assert [name for name in read if name.startswith("tables/")] == [], "by their ETags nothing changed"


def test_a_process_ends_though_it_holds_a_store(root):
    code = f"""
from espalier.orchestrator.store.sweep_store import Store
store = Store({root!r})
with store.lock():
    print(store.blobs())
"""
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout == "{}\n"


def test_an_error_of_the_store_is_one_line(bucket):
    files = open_files("s3://no-such-bucket-here/sweep")
    with pytest.raises(StoreWriteError, match=r"while writing s3://no-such-bucket-here/sweep/a: ") as refused:
        files.publish("a", b"")
    assert "\n" not in str(refused.value)


def test_a_store_that_ignores_conditions_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("obstore", reason="pip install 'espalier[s3]'")
    port = free_port()
    monkeypatch.setenv("NANIO_ACCESS_KEY", "espalier")
    monkeypatch.setenv("NANIO_SECRET_KEY", "espalier-secret")
    command = [
        servers() / "nanio",
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--data-dir",
        tmp_path,
    ]
    with serving(command, port, monkeypatch) as (_, name):
        (tmp_path / name).mkdir()
        with pytest.raises(StoreUnfit, match="writes over an object that must not exist") as refused:
            Store(f"s3://{name}/sweep").scan()
        assert "\n" not in str(refused.value)
        assert not Store(f"s3://{name}/sweep").files.is_there(), "nothing of ours was left"


class Forgetful(FsspecFiles):
    """Other bytes come back than were written."""

    def read(self, name):
        return super().read(name)[:-1]


class Stale(FsspecFiles):
    """What was written over comes back."""

    def put(self, name, data):
        pass


class Refusing(FsspecFiles):
    """Nothing can be created."""

    def put_new(self, name, data):
        return False


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Forgetful, "other bytes come back"),
        (Stale, "what was written over"),
        (Refusing, "whose name is free"),
    ],
)
def test_each_broken_promise_is_named(kind, message):
    files = kind(f"memory://{os.urandom(8).hex()}/sweep")
    with pytest.raises(StoreUnfit, match=message), files.lock():
        pass
    assert files.stamps(".probe") == {}


def test_a_missing_library_is_told_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(OSError, match=r"s3://bucket/sweep: .* pip install 'espalier\[s3\]'"):
        open_files("s3://bucket/sweep")


def test_a_place_without_marks_is_never_trusted():
    assert not FsspecFiles("memory://x").settled(Stamp(1, ""))
