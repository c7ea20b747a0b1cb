"""Whatever lies in a sweep's folder, nothing outside it is touched, and nothing hangs."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from espalier.orchestrator.store import local_files, local_lock, real_entries
from espalier.orchestrator.store.files import Misplaced, StoreLocked
from espalier.orchestrator.store.local_files import LocalFiles
from espalier.orchestrator.store.parquet_parts import encode
from espalier.orchestrator.store.sweep_store import Store
from espalier.tasks.plain_text import printable
from tests.orchestrator.store.test_sweep_store import commit, counted, make


@pytest.fixture(autouse=True)
def _no_hang(no_hang):
    no_hang(20)


class Outside:
    """A folder of somebody else's, and whether it is as it was."""

    def __init__(self, path):
        self.path = path
        (path / "folder").mkdir(parents=True)
        (path / "victim").write_bytes(b"precious")
        (path / "folder" / "victim.parquet").write_bytes(b"precious")
        self._before = self._seen()

    def _seen(self):
        return {str(p): p.read_bytes() if p.is_file() else b"" for p in sorted(self.path.rglob("*"))}

    def check(self):
        assert self._seen() == self._before


@pytest.fixture
def outside(tmp_path):
    made = Outside(tmp_path / "outside")
    yield made
    made.check()


@pytest.fixture
def root(tmp_path):
    place = tmp_path / "sweep"
    place.mkdir()
    return place


def bind(path):
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)  # the name of a socket may be about 100 characters long
        made.bind(path.name)
        os.chdir(here)


PLANTS = {
    "link to a file": lambda path, outside: path.symlink_to(outside.path / "victim"),
    "link to a folder": lambda path, outside: path.symlink_to(outside.path / "folder"),
    "link to nothing": lambda path, outside: path.symlink_to(outside.path / "new"),
    "link in a circle": lambda path, outside: path.symlink_to(path),
    "pipe": lambda path, outside: os.mkfifo(path),
    "socket": lambda path, outside: bind(path),
    "folder": lambda path, outside: path.mkdir(),
    "full folder": lambda path, outside: (path / "a" / "b").mkdir(parents=True),
    "foreign file": lambda path, outside: path.write_bytes(b"dear diary"),
    "empty file": lambda path, outside: path.touch(),
    "hard link": lambda path, outside: os.link(outside.path / "victim", path),
}
PART = encode("grafts", make("grafts", ["a"]))


def put(store):
    """A part and a checkpoint."""
    store.files.publish("tables/grafts/a.parquet", PART)
    store.files.publish("checkpoints/a.safetensors", b"weights")


LINKS = {name for name in PLANTS if name.startswith("link")}
every = pytest.mark.parametrize("plant", PLANTS)


@every
def test_a_lock_is_written_into_a_file_of_ours_alone(root, outside, plant):
    PLANTS[plant](root / ".lock", outside)
    files = LocalFiles(root)
    assert not files.locked()
    with files.lock():
        assert files.locked()
        assert (root / ".lock").read_bytes().startswith(b"pid ")
    assert stat.S_ISREG((root / ".lock").lstat().st_mode)
    told = files.mended()
    assert len(told) == (plant != "empty file")
    assert all(text.startswith(".lock: ") and ".broken" in text for text in told)
    with files.lock():
        assert files.mended() == []


SWAPS = ("link to a file", "link to nothing", "link in a circle", "folder", "socket")


def swapped(monkeypatch, module, path, plant, outside):
    """What somebody else does between the look at a path and its opening, once."""
    looked = []

    def found(place):
        there = real_entries.found(place)
        if place == path and not looked:
            looked.append(place)
            path.unlink(missing_ok=True)
            PLANTS[plant](path, outside)
        return there

    monkeypatch.setattr(module, "found", found)


@pytest.mark.parametrize("plant", SWAPS)
@pytest.mark.parametrize("before", [True, False])
def test_a_lock_that_becomes_a_link_after_it_was_looked_at_is_not_followed(
    root, outside, plant, before, monkeypatch
):
    if before:
        (root / ".lock").touch()
    swapped(monkeypatch, local_lock, root / ".lock", plant, outside)
    files = LocalFiles(root)
    with files.lock():
        assert (root / ".lock").read_bytes().startswith(b"pid ")
    assert stat.S_ISREG((root / ".lock").lstat().st_mode)
    assert len(files.mended()) == 1


@pytest.mark.parametrize("plant", [*SWAPS[:3], "pipe"])
def test_a_file_that_becomes_a_link_after_it_was_looked_at_is_not_followed(root, outside, plant, monkeypatch):
    """Nor is a pipe waited for."""
    store = Store(root)
    put(store)
    swapped(monkeypatch, local_files, root / "tables/grafts/a.parquet", plant, outside)
    with pytest.raises(Misplaced, match="no file" if plant == "pipe" else "a symbolic link"):
        store.files.read("tables/grafts/a.parquet")


def test_a_folder_where_a_checkpoint_belongs_is_put_aside_by_who_reads_it_too(root):
    """A start looks at what lies there before; it may have come after that."""
    store = Store(root)
    put(store)
    store.scan()
    (root / "checkpoints/a.safetensors").unlink()
    (root / "checkpoints/a.safetensors").mkdir()
    (told,) = store.check_blobs(["a.safetensors"], lambda name, data: None)
    assert "a folder" in told
    assert told.endswith("it will be computed again")
    assert not (root / "checkpoints/a.safetensors").exists()
    assert "a.safetensors" not in store.blobs()


HOLD = """
import sys, time
from espalier.orchestrator.store.places import open_files
with open_files(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_that_has_another_name_too_still_excludes(root, tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, root], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        os.link(root / ".lock", tmp_path / "copy")
        with pytest.raises(StoreLocked, match=f"pid {holder.pid} on "), LocalFiles(root).lock():
            pass
        holder.kill()
        holder.wait()
    with LocalFiles(root).lock():
        pass
    assert (root / ".lock").stat().st_nlink == 1


@every
@pytest.mark.parametrize("name", [".staging", ".compact", ".broken"])
def test_where_our_own_folders_belong_anything_may_lie(root, outside, plant, name):
    PLANTS[plant](root / name, outside)
    files = LocalFiles(root)
    with files.lock():
        put(Store(root))
        files.publish("tables/grafts/torn.parquet", b"torn")
        assert ".broken" in files.quarantine("tables/grafts/torn.parquet")
        files.swap("tables/grafts", {"b.parquet": PART})
    assert files.list("tables/grafts") == ["b.parquet"]
    with files.lock():
        files.mended()
    with files.lock():
        assert files.mended() == []


@every
@pytest.mark.parametrize("name", ["tables", "tables/grafts", "checkpoints"])
def test_where_a_folder_of_results_belongs_the_rest_is_put_aside_and_a_link_refused(
    root, outside, plant, name
):
    (root / name).parent.mkdir(exist_ok=True)
    PLANTS[plant](root / name, outside)
    store = Store(root)
    if plant in LINKS:
        for attempt in (store.scan, lambda: put(store), lambda: Store(root).scan(repair=False)):
            with pytest.raises(Misplaced, match=f"{name} is a symbolic link.* put a folder itself there"):
                attempt()
        (root / name).unlink()
    problems = store.scan().problems
    here = plant == "full folder" and name != "tables"  # its folder is no part, and no checkpoint
    assert len(problems) == (here or (plant not in LINKS and "folder" not in plant))
    put(store)
    assert counted(store) == {"a": 1}
    assert store.read_blob("a.safetensors") == b"weights"
    assert Store(root).scan().problems == []


NAMES = [
    "x.parquet",
    "no extension",
    "two\nlines.parquet",
    "\x1b[31mred.parquet",
    "[red]x.parquet",
    "not utf-8 \udcff.parquet",
    "-rf.parquet",
    "a\\b.parquet",
    "é" * 123 + ".parquet",
    "l" * 247 + ".parquet",
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:24])
@pytest.mark.parametrize("folder", ["tables/grafts", "checkpoints"])
def test_files_of_hostile_names_are_put_aside_told_in_one_line_and_gone(root, name, folder):
    store = Store(root)
    put(store)
    for _ in range(2):
        (root / folder / name).write_bytes(b"torn")

        def refuse(name, data):
            raise ValueError("torn")

        told = store.scan().problems + store.check_blobs(set(store.blobs()) - {"a.safetensors"}, refuse)
        assert len(told) == 1
        assert told[0].isprintable()
        told[0].encode()
        assert [path.name for path in (root / folder).iterdir()] == sorted(store.files.list(folder))
        assert len(store.files.list(folder)) == 1
    assert len(list((root / ".broken" / folder).iterdir())) == 2


@pytest.mark.parametrize(
    "name", ["l" * 247 + ".parquet", "two\nlines.parquet", "-rf.parquet"], ids=lambda name: ascii(name)[:24]
)
def test_a_part_of_any_name_that_repeats_rows_leaves_its_new_ones(root, tmp_path, name):
    store, other = Store(root), Store(tmp_path / "other")
    commit(store, ["a", "b"], "mine")
    commit(other, ["b", "c"], "theirs")
    (root / "tables/grafts" / name).write_bytes(other.files.read("tables/grafts/theirs.parquet"))
    assert len(store.scan().problems) == 1
    assert counted(store) == {"a": 1, "b": 1, "c": 1}
    assert Store(root).scan().problems == []


@every
def test_among_parts_and_checkpoints_regular_files_alone_are_read(root, outside, plant):
    store = Store(root)
    put(store)
    for folder in ("tables/grafts", "checkpoints"):
        PLANTS[plant](root / folder / "x.parquet", outside)

    def verify(name, data):
        if data != b"weights":
            raise ValueError("foreign")

    looked = Store(root).scan(repair=False)
    assert looked.rows["grafts"] == 1
    files = plant in ("foreign file", "empty file", "hard link")  # a checkpoint is read when it is needed
    assert len(looked.problems) == (1 if files else 2)
    store = Store(root)
    problems = store.scan().problems + (store.check_blobs(store.blobs(), verify) if files else [])
    assert len(problems) == 2
    assert all("x.parquet: " in text and ".broken" in text for text in problems)
    assert store.read_table("grafts").num_rows == 1
    assert Store(root).scan().problems == []
    assert store.files.list("checkpoints") == ["a.safetensors"]


@every
def test_a_file_at_the_root_is_read_if_it_is_one_and_replaced_but_never_through(root, outside, plant):
    PLANTS[plant](root / "run.json", outside)
    files = LocalFiles(root)
    if plant in ("foreign file", "empty file", "hard link"):
        files.read("run.json")
    else:
        with pytest.raises(Misplaced, match=r"run\.json is a .*where a file belongs: ") as caught:
            files.read("run.json")
        assert "\n" not in str(caught.value)
    assert not files.publish("run.json", b"ours")
    if "folder" in plant and "link" not in plant:
        with pytest.raises(Misplaced, match="move it away"):
            files.replace("run.json", b"ours")
        files.remove("run.json")
    files.replace("run.json", b"ours")
    assert files.read("run.json") == b"ours"


HOSTILE_SWAPS = [
    "..@..@planted", "..@planted", "@planted", "@@planted", "tables@..@..@planted", "tables@planted",
    "tables@nets@..@..@planted", "tables", "checkpoints", "tables@nets@x", "a\nb", "planted",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_SWAPS, ids=ascii)
def test_what_a_swap_left_goes_back_to_known_tables_alone(root, outside, name):
    for part in ("old", "new"):
        (root / ".compact" / name / part).mkdir(parents=True)
        (root / ".compact" / name / part / "x").write_bytes(b"planted")
    before = {path.name for path in root.parent.iterdir()}
    files = LocalFiles(root)
    with files.lock():
        pass
    assert {path.name for path in root.parent.iterdir()} == before
    assert {path.name for path in root.iterdir()} == {".compact", ".broken", ".lock"}
    assert len(files.mended()) == 1
    assert list((root / ".compact").iterdir()) == []
    with files.lock():
        assert files.mended() == []


@pytest.mark.parametrize("part", ["", "old", "new"])
@pytest.mark.parametrize("plant", [name for name in PLANTS if "full" not in name])
def test_a_swap_whose_parts_are_not_folders_of_ours_is_not_undone(root, outside, plant, part):
    work = root / ".compact" / "tables@nets"
    for other in {"old", "new"} - {part} if part else ():
        (work / other).mkdir(parents=True)
    work.parent.mkdir(exist_ok=True)
    PLANTS[plant](work / part, outside)
    with LocalFiles(root).lock():
        pass
    assert list((root / ".compact").iterdir()) == []
    assert not (root / "tables" / "nets" / "victim.parquet").exists()


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/../../x", "a//x", "", ".", "..", "a/./x", "a/.."], ids=ascii
)
def test_names_that_lead_out_of_the_folder_are_refused_by_every_step(root, name):
    files = LocalFiles(root)
    steps = [files.read, files.exists, files.remove, files.quarantine]
    steps += [lambda name: files.publish(name, b""), lambda name: files.replace(name, b"")]
    steps += [lambda name: files.sizes(f"{name}/x"), lambda name: files.swap(name, {})]
    for step in steps:
        with pytest.raises(ValueError, match=r"is no place in|is no table's folder"):
            step(name)
    assert list(root.parent.iterdir()) == [root]


def test_the_whole_folder_may_be_behind_a_link(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    store = Store(tmp_path / "link")
    commit(store, ["a"])
    store.compact()
    store.write_json("run.json", {})
    assert counted(Store(root)) == {"a": 1}
    assert Store(tmp_path / "link").scan().problems == []
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("plant", ["pipe", "socket", "foreign file"])
def test_what_is_no_folder_at_all_is_told(root, outside, plant):
    PLANTS[plant](root / "file", outside)
    with pytest.raises(Misplaced, match=r"file is a .*, where a folder belongs"):
        LocalFiles(root / "file").read("sweep.toml")


def test_printable_names_are_left_as_they_are():
    assert printable("é [x].parquet") == "é [x].parquet"
