"""Files in a local (or mounted) folder: staged, flushed to disk, linked.

After a crash or a power cut at any step each file is whole or absent (see `Files`). The folder itself may be
behind a link. In it no link is followed, and regular files alone are read.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from espalier.orchestrator.store.files import (
    BROKEN,
    LOCK,
    TABLES,
    Files,
    Misplaced,
    Stamp,
    write_error,
)
from espalier.orchestrator.store.local_lock import hold, is_held
from espalier.orchestrator.store.real_entries import (
    FILE,
    FOLDER,
    LINK,
    exchanged,
    found,
    link_new,
    make_folder,
    open_real,
    sync_folder,
    unused,
    write_new,
)
from espalier.tasks.plain_text import printable
from espalier.tasks.tables.schemas import SCHEMAS

STAGING, SWAPS = ".staging", ".compact"
SETTLED_NANOSECONDS = 2 * 10**9
"""After a change; the coarsest clock of a file system in use (exFAT's) ticks every two seconds."""


class LocalFiles(Files):
    """Files in a local (or mounted) folder, which appears with the first write."""

    swaps = True

    def __init__(self, root: str | Path) -> None:
        self.root = str(root)
        self._root = Path(root)
        self._mended: list[str] = []

    def _place(self, name: str) -> Path:
        """The path of `name`, to which folders alone lead that are really here.

        Raises:
            ValueError: The name leads out of the folder.
            Misplaced: Something else lies where one of the folders belongs.
        """
        parts = name.split("/")
        if not {"", ".", ".."}.isdisjoint(parts):
            raise ValueError(f"'{printable(name)}' is no place in {self.root}")
        for count in range(1, len(parts)):
            self._check_folder("/".join(parts[:count]))
        return self._root / name

    def _check_folder(self, name: str) -> None:
        there = found(self._root / name)
        if there is not None and there != FOLDER:
            raise Misplaced(f"{self.root}/{name}", there, FOLDER)

    def _folder(self, name: str) -> Path:
        """A folder, made if it is missing. Raises as `_place`."""
        path = self._place(f"{name}/x").parent
        make_folder(path)
        return path

    def is_there(self) -> bool:
        """See `Files.is_there`."""
        return self._root.is_dir()

    def publish(self, name: str, data: bytes) -> bool:
        """Stage, flush to disk, link to the final name (see `Files.publish`)."""
        if self.exists(name):
            return False
        with self._staged(name, data) as staged:
            return link_new(staged, self._root / name)

    def replace(self, name: str, data: bytes) -> None:
        """Stage, flush to disk, rename over the final name; a link there is replaced, not followed."""
        with self._staged(name, data) as staged:
            if found(self._root / name) == FOLDER:
                raise Misplaced(f"{self.root}/{name}", FOLDER, FILE)
            staged.replace(self._root / name)

    @contextmanager
    def _staged(self, name: str, data: bytes) -> Iterator[Path]:
        """A file of our own with `data` on disk; afterwards it goes, and the final name is on disk too."""
        staged, final = self._root / STAGING / uuid.uuid4().hex, self._place(name)
        try:
            self._folder(STAGING)
            if final.parent != self._root:
                self._folder(str(PurePosixPath(name).parent))
            write_new(staged, data)
            yield staged
            sync_folder(final.parent)
        except OSError as error:
            raise write_error(f"{self.root}/{name}", error) from error
        finally:
            with suppress(FileNotFoundError, NotADirectoryError):
                staged.unlink()

    def read(self, name: str) -> bytes:
        """See `Files.read`."""
        with self._opened(name) as file:
            return file.read()

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """See `Files.read_ranges`."""
        with self._opened(name) as file:
            return [_from(file, first, end) for first, end in ranges]

    @contextmanager
    def _opened(self, name: str) -> Iterator[BinaryIO]:
        """A regular file that is really here. Raises as `read`."""
        path, whole = self._place(name), found(self._root)
        if whole not in (None, FOLDER, LINK):
            raise Misplaced(self.root, whole, FOLDER)
        if (there := found(path)) not in (None, FILE):
            raise Misplaced(f"{self.root}/{name}", there, FILE)
        try:
            handle = open_real(path, os.O_RDONLY)
        except OSError as error:
            if error.errno == errno.ELOOP:  # it became a link since it was looked at
                raise Misplaced(f"{self.root}/{name}", LINK, FILE) from error
            raise
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Misplaced(f"{self.root}/{name}", "no file", FILE)
            yield file

    def exists(self, name: str) -> bool:
        """See `Files.exists`; a link counts, wherever it leads."""
        return found(self._place(name)) is not None

    def stamps(self, folder: str) -> dict[str, Stamp]:
        """See `Files.stamps`; folders count too, since a reader of Parquet would descend into them."""
        path = self._place(f"{folder}/x").parent if folder else self._root
        if not path.is_dir():
            return {}
        stamps: dict[str, Stamp] = {}
        with os.scandir(path) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # a running sweep removes files beside a reader
                    if entry.name[0] not in "._":
                        stamps[entry.name] = _stamp(entry.stat(follow_symlinks=False))
        return dict(sorted(stamps.items()))

    def stamp(self, name: str) -> Stamp:
        """See `Files.stamp`."""
        return _stamp(self._place(name).lstat())

    def changed(self, name: str) -> float:
        """See `Files.changed`; of a network's file system by the clock of its server."""
        return self._place(name).lstat().st_mtime

    def settled(self, stamp: Stamp) -> bool:
        """See `Files.settled`; a second change within one tick of the clock leaves the time as it is."""
        return time.time_ns() - int(stamp.mark) > SETTLED_NANOSECONDS

    def irregular(self, folder: str) -> dict[str, str]:
        """See `Files.irregular`."""
        kinds = {name: found(self._root / folder / name) for name in self.list(folder)}
        return {
            name: Misplaced(name, kind, FILE).what for name, kind in kinds.items() if kind and kind != FILE
        }

    def remove(self, name: str) -> None:
        """See `Files.remove`."""
        path = self._place(name)
        if found(path) == FOLDER:
            self._put_aside(name, Misplaced(name, FOLDER, FILE).what)
        path.unlink(missing_ok=True)

    def quarantine(self, name: str) -> str:
        """Rename to `.broken/<name>`, numbered if that is taken."""
        source, number = self._place(name), 1
        while True:
            broken = BROKEN if number == 1 else f"{BROKEN}-{number}"
            try:
                place = unused(self._folder(str(PurePosixPath(f"{broken}/{name}").parent)) / source.name)
                break
            except (
                Misplaced,
                NotADirectoryError,
            ):  # something else lies there: it stays, and we go elsewhere
                number += 1
        _move(source, place)
        return str(place)

    def _put_aside(self, name: str, what: str) -> None:
        self._mended.append(f"{printable(name)}: {what}; moved to {printable(self.quarantine(name))}")

    def make_way(self, folder: str) -> None:
        """See `Files.make_way`."""
        parts = PurePosixPath(folder).parts
        for name in ("/".join(parts[:count]) for count in range(1, len(parts) + 1)):
            there = found(self._root / name)
            if there == LINK:
                raise Misplaced(f"{self.root}/{name}", LINK, FOLDER)
            if there is not None and there != FOLDER:
                self._put_aside(name, Misplaced(name, there, FOLDER).what)

    def mended(self) -> list[str]:
        """See `Files.mended`."""
        told, self._mended = self._mended, []
        return told

    def swap(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Build the new folder aside, then exchange the two at once: a reader sees one or the other.

        Where that cannot be (not Linux, or a file system without it) there are two renames, the old one out,
        the new one in. `_finish_swaps` undoes a swap cut off before the last of them, and ends one cut off
        after it.
        """
        if folder not in _swappable().values():
            raise ValueError(f"{printable(folder)} is no table's folder: those alone are swapped")
        final, name = self._place(folder), f"{SWAPS}/{folder.replace('/', '@')}"
        try:
            work = self._folder(f"{name}/new").parent
            for part, data in files.items():
                write_new(work / "new" / part, data)
            sync_folder(work / "new")
            if not exchanged(work / "new", final):
                _move(final, work / "old")
                _move(work / "new", final)
            shutil.rmtree(work)
        except OSError as error:
            self._finish_swaps()  # gives the space back
            raise write_error(f"{self.root}/{folder}", error) from error

    def _finish_swaps(self) -> None:
        """What a crash left of swaps; what we did not make is put aside, and never followed."""
        swaps, known = self._root / SWAPS, _swappable()
        if found(swaps) not in (None, FOLDER):
            self._put_aside(SWAPS, "no folder of ours")
        for work in sorted(swaps.iterdir()) if swaps.exists() else []:
            if work.name in known and found(work) == FOLDER and _has_parts_alone(work):
                self._finish_swap(work, known[work.name])
            else:
                self._put_aside(f"{SWAPS}/{work.name}", "not the parts of a known table")

    def _finish_swap(self, work: Path, folder: str) -> None:
        # While `new` stands the swap did not happen: each old file goes back, before `new` goes.
        old = work / "old"
        if (work / "new").exists() and old.exists():
            self.make_way(folder)
            for path in sorted(old.iterdir()):
                _move(path, unused(self._folder(folder) / path.name))
        shutil.rmtree(work)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """The kernel's lock (`orchestrator.store.local_lock`)."""
        make_folder(self._root)
        handle = hold(self._root / LOCK, lambda what: self._put_aside(LOCK, what))
        try:
            _clear(self._root / STAGING)
            self._finish_swaps()
            yield
        finally:
            os.close(handle)

    def locked(self) -> bool:
        """Whether a living process holds the lock."""
        return is_held(self._root / LOCK)


def _from(file: BinaryIO, first: int, end: int) -> bytes:
    file.seek(first)
    return file.read(end - first)


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_size, str(status.st_mtime_ns))


def _swappable() -> dict[str, str]:
    """The folders of tables by what a swap calls them."""
    return {f"{TABLES}@{table}": f"{TABLES}/{table}" for table in SCHEMAS}


def _has_parts_alone(work: Path) -> bool:
    """Whether `old` and `new` are folders, as far as they are there."""
    return {found(work / part) for part in ("old", "new")} <= {FOLDER, None}


def _clear(staging: Path) -> None:
    """Remove what a crash left, or what lies where the folder belongs: a link, not what it leads to."""
    if found(staging) == FOLDER:
        shutil.rmtree(staging, ignore_errors=True)
    else:
        staging.unlink(missing_ok=True)


def _move(source: Path, place: Path) -> None:
    source.rename(place)
    sync_folder(place.parent)
    sync_folder(source.parent)
