"""A start reads the parts that are new or changed alone; what is remembered is not believed over them."""

import os
import shutil

import pytest

from espalier.orchestrator.store import known_parts, local_files, remembered_parts
from espalier.orchestrator.store.local_files import LocalFiles
from espalier.orchestrator.store.sweep_store import Store
from tests.orchestrator.store.test_sweep_store import commit, job

PARTS = "abcd"


def _write_at_once(patch):
    """Everything new is written down, even what was changed a moment ago."""
    patch.setattr(known_parts, "NEW_PARTS", 1)
    patch.setattr(local_files, "SETTLED_NANOSECONDS", -(10**9))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    _write_at_once(monkeypatch)


@pytest.fixture
def read(monkeypatch):
    """The parts that were read, as a list to look into."""
    names, inner = [], LocalFiles.read

    def told(files, name):
        if name.startswith("tables/"):
            names.append(name)
        return inner(files, name)

    monkeypatch.setattr(LocalFiles, "read", told)
    return names


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a sweep of which all is remembered."""
    place = tmp_path_factory.mktemp("remembered") / "sweep"
    store = Store(place)
    with store.lock():
        for key in PARTS:
            commit(store, [key])
        store.append_job(job(1))
    with pytest.MonkeyPatch.context() as patch:
        _write_at_once(patch)
        Store(place).scan()
    return place


@pytest.fixture
def root(tmp_path, finished):
    return shutil.copytree(finished, tmp_path / "sweep")


def look(root, **options):
    """What a new start finds: the pieces, the numbers of rows, the problems."""
    found = Store(root).scan(**options)
    return {name: set(pieces) for name, pieces in found.present.items()}, found.rows, found.problems


def test_a_start_reads_new_parts_alone(root, read):
    before = look(root)
    assert read == []
    commit(Store(root), ["e"])
    (root / ".inventory/grafts").unlink()
    assert len(look(root)[0]["grafts"]) == 5
    assert sorted(read) == sorted(f"tables/grafts/{key}.parquet" for key in PARTS + "e")
    read.clear()
    store = Store(root)
    with store.lock():
        assert store.inventory.present["grafts"] == {(key,) for key in PARTS + "e"}
        assert store.inventory.present["curves"] == before[0]["curves"] == set()
        assert commit(store, ["a", "e", "f"], "again") == {"downstream": 2, "grafts": 1}
    assert read == []


def test_everything_is_read_if_asked(root, read):
    wanted = look(root)
    assert look(root, everything=True) == wanted
    assert len(read) == 2 * len(PARTS) + 1


@pytest.mark.parametrize("repair", [False, True])
def test_a_part_that_changed_is_read(root, repair):
    place = root / "tables/grafts/c.parquet"
    place.write_bytes(bytes(place.stat().st_size))
    pieces, rows, (problem,) = look(root, repair=repair)
    assert pieces["grafts"] == {(key,) for key in PARTS if key != "c"}
    assert rows["grafts"] == len(PARTS) - 1
    assert problem.startswith("tables/grafts/c.parquet: no whole Parquet file")


def test_a_part_that_is_gone_is_not_counted(root):
    (root / "tables/grafts/c.parquet").unlink()
    pieces, rows, problems = look(root)
    assert pieces["grafts"] == {(key,) for key in PARTS if key != "c"}
    assert rows["grafts"] == len(PARTS) - 1
    assert problems == []


def torn(place):
    place.write_bytes(place.read_bytes()[:-9])


def flipped(place):
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 4
    place.write_bytes(data)


def of_another_table(place):
    shutil.copy(place.with_name("downstream"), place)


def a_folder(place):
    place.unlink()
    (place / "inside").mkdir(parents=True)


def a_link(place):
    place.rename(place.with_name("elsewhere"))
    place.symlink_to(place.with_name("elsewhere"))


def empty(place):
    place.write_bytes(b"")


@pytest.mark.parametrize("damage", [torn, flipped, of_another_table, a_folder, a_link, empty, os.unlink])
def test_what_is_no_memory_of_this_table_is_as_if_there_were_none(root, read, damage):
    wanted = look(root)
    damage(root / ".inventory/grafts")
    assert look(root) == wanted
    assert sorted(read) == [f"tables/grafts/{key}.parquet" for key in PARTS]
    read.clear()
    commit(Store(root), ["e"])
    look(root)
    read.clear()
    assert len(look(root)[0]["grafts"]) == 5
    assert read == [], "it was written anew"


def test_a_schema_that_changed_makes_all_be_read(root, read, monkeypatch):
    monkeypatch.setattr(remembered_parts, "VERSION", 0)
    look(root)
    assert len(read) == 2 * len(PARTS) + 1


def test_what_changed_a_moment_ago_is_not_believed(root, read, monkeypatch):
    monkeypatch.setattr(local_files, "SETTLED_NANOSECONDS", 60 * 10**9)
    for table in ("grafts", "downstream", "jobs"):
        (root / ".inventory" / table).unlink()
    look(root)
    read.clear()
    assert len(look(root)[0]["grafts"]) == len(PARTS)
    assert len(read) == 2 * len(PARTS) + 1
    for path in root.glob("tables/*/*"):
        os.utime(path, (1e9, 1e9))
    look(root)
    read.clear()
    look(root)
    assert read == []


def test_a_folder_that_takes_no_memory_is_read_each_time(root, read, monkeypatch):
    shutil.rmtree(root / ".inventory")
    (root / ".inventory").write_bytes(b"somebody's file")
    assert len(look(root)[0]["grafts"]) == len(PARTS)
    assert len(look(root)[0]["grafts"]) == len(PARTS)
    assert (root / ".inventory").read_bytes() == b"somebody's file"


def test_a_start_that_remembers_nothing_reads_no_part_twice(tmp_path, read):
    """What a start reads of a table after its scan comes from the scan."""
    for key in "abc":
        commit(Store(tmp_path), key)
    shutil.rmtree(tmp_path / ".inventory")
    read.clear()
    store = Store(tmp_path)
    store.scan()
    assert store.read_table("grafts").num_rows == 3
    assert store.read_table("downstream").num_rows == 6
    assert len(read) == len({*read}) == 6
