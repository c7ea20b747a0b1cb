"""Files in a local (or mounted) folder: staged, flushed to disk, linked; the lock is the kernel's.

After a crash or a power cut at any step each file is whole or absent (see `Files`).
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from espalier.orchestrator.store.files import BROKEN, LOCK, Files, StoreLocked, this_process, write_error

STAGING, SWAPS = ".staging", ".compact"
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class LocalFiles(Files):
    """Files in a local (or mounted) folder, which appears with the first write."""

    def __init__(self, root: str | Path) -> None:
        self.root = str(root)
        self._root = Path(root)

    def publish(self, name: str, data: bytes) -> bool:
        """Stage, flush to disk, link to the final name (see `Files.publish`)."""
        if self.exists(name):
            return False
        with self._staged(name, data) as staged:
            return _link(staged, self._root / name)

    def replace(self, name: str, data: bytes) -> None:
        """Stage, flush to disk, rename over the final name."""
        with self._staged(name, data) as staged:
            staged.replace(self._root / name)

    @contextmanager
    def _staged(self, name: str, data: bytes) -> Iterator[Path]:
        """A file of our own with `data` on disk; afterwards it goes, and the final name is on disk too."""
        staged, final = self._root / STAGING / uuid.uuid4().hex, self._root / name
        try:
            _make_folder(staged.parent)
            _make_folder(final.parent)
            _write(staged, data)
            yield staged
            _sync_folder(final.parent)
        except OSError as error:
            raise write_error(f"{self.root}/{name}", error) from error
        finally:
            staged.unlink(missing_ok=True)

    def read(self, name: str) -> bytes:
        """See `Files.read`."""
        return (self._root / name).read_bytes()

    def exists(self, name: str) -> bool:
        """See `Files.exists`."""
        return (self._root / name).exists()

    def sizes(self, folder: str) -> dict[str, int]:
        """See `Files.sizes`; folders count too, since a reader of Parquet would descend into them."""
        path = self._root / folder
        sizes: dict[str, int] = {}
        for entry in sorted(path.iterdir()) if path.is_dir() else []:
            with suppress(FileNotFoundError):  # a running sweep removes files beside a reader
                if entry.name[0] not in "._":
                    sizes[entry.name] = entry.stat().st_size
        return sizes

    def remove(self, name: str) -> None:
        """See `Files.remove`."""
        (self._root / name).unlink(missing_ok=True)

    def quarantine(self, name: str) -> str:
        """Rename the file to `.broken/<name>`, numbered if that is taken."""
        place = _unused(self._root / BROKEN / name)
        _move(self._root / name, place)
        return str(place)

    def swap(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Build the new folder aside, then two renames: the old one out, the new one in.

        `_finish_swaps` undoes a swap cut off before the second rename, and ends one cut off after it.
        """
        final, work = self._root / folder, self._root / SWAPS / folder.replace("/", "@")
        try:
            _make_folder(work / "new")
            for name, data in files.items():
                _write(work / "new" / name, data)
            _sync_folder(work / "new")
            _move(final, work / "old")
            _move(work / "new", final)
            shutil.rmtree(work)
        except OSError as error:
            self._finish_swaps()  # gives the space back
            raise write_error(f"{self.root}/{folder}", error) from error

    def _finish_swaps(self) -> None:
        swaps = self._root / SWAPS
        for work in sorted(swaps.iterdir()) if swaps.is_dir() else []:
            # While `new` stands the swap did not happen: each old file goes back, before `new` goes.
            old = work / "old"
            if (work / "new").exists() and old.exists():
                for path in sorted(old.iterdir()):
                    _move(path, _unused(self._root / work.name.replace("@", "/") / path.name))
            shutil.rmtree(work)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """`flock` on `.lock`, which the kernel lets go when its holder dies, however it dies."""
        _make_folder(self._root)
        handle = os.open(self._root / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._flock(handle)
            os.ftruncate(handle, 0)
            os.pwrite(handle, this_process(), 0)
            shutil.rmtree(self._root / STAGING, ignore_errors=True)
            self._finish_swaps()
            yield
        finally:
            os.close(handle)

    def locked(self) -> bool:
        """Whether a living process holds the lock."""
        try:
            handle = os.open(self._root / LOCK, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def _flock(self, handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 4096, 0).decode(errors="replace") or "an unknown process"
            raise StoreLocked(f"{self.root} is in use by {holder}: wait for it, or end it") from None
        except OSError as error:
            text = (
                f"{self.root} is on a file system without file locks; mount it with them (Lustre: -o flock)"
            )
            raise OSError(error.errno, text) from error


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _link(staged: Path, final: Path) -> bool:
    """Give the staged file its final name unless that is taken: a link, unlike a rename, never overwrites."""
    try:
        os.link(staged, final)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _claim(staged, final)
    return True


def _claim(staged: Path, final: Path) -> bool:
    """`_link` where there are no hard links (exFAT, some network and FUSE mounts).

    A rename overwrites, so the right to it is an exclusive claim. The claim lies in the staging
    folder: one of a crashed process goes when the lock is next taken, and no reader ever sees it.
    """
    claim = staged.parent / f"{final.parent.name}@{final.name}.claim"
    try:
        claim.touch(exist_ok=False)
    except FileExistsError:
        return False
    try:
        if final.exists():
            return False
        staged.rename(final)
    finally:
        claim.unlink()
    return True


def _sync_folder(path: Path) -> None:
    """Flush the names in a folder: without it a power cut may forget a file whose bytes are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _make_folder(path: Path) -> None:
    if not path.is_dir():
        _make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _sync_folder(path.parent)


def _move(source: Path, place: Path) -> None:
    _make_folder(place.parent)
    source.rename(place)
    _sync_folder(place.parent)
    _sync_folder(source.parent)


def _unused(path: Path) -> Path:
    """`path`, or its first numbered neighbour that does not exist."""
    free, number = path, 1
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free
