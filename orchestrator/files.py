"""Where a sweep's bytes live: a local folder, or any fsspec URL, behind one small protocol.

A file is whole or absent. Names are relative to the root, with `/` between folders; what begins with
`.` or `_` is ours, and neither listed here nor seen by readers of a Parquet folder.
"""

from __future__ import annotations

import errno
import fcntl
import inspect
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import fsspec

STAGING, BROKEN, SWAPS, LOCK = ".staging", ".broken", ".compact", ".lock"
FULL = {errno.ENOSPC, errno.EDQUOT}
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class StoreWriteError(OSError):
    """A file could not be written; nothing of it was left behind."""

    cure = "mend that and run again"

    def __init__(self, name: str, error: OSError) -> None:
        reason = error.strerror or str(error) or type(error).__name__
        text = f"while writing {name}: {reason}; everything finished is safe: {self.cure}"
        super().__init__(error.errno or errno.EIO, text)


class StoreFull(StoreWriteError):
    """The disk, or the user's quota, is full."""

    cure = "free space and run again"


class StoreLocked(RuntimeError):
    """Another process writes to this store."""


class Files(Protocol):
    """The few things that the store asks of a place. `root` is the place as the user wrote it."""

    root: str

    def publish(self, name: str, data: bytes) -> bool:
        """Write a new file, whole or not at all; False, and nothing changed, if `name` exists.

        Raises:
            StoreFull: No space or quota left.
            StoreWriteError: Another error of the place (read-only, broken).
        """
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Write a file over what was there: readers see the old bytes or the new. Raises as `publish`."""
        ...

    def read(self, name: str) -> bytes:
        """All bytes of a file; FileNotFoundError if there is none."""
        ...

    def exists(self, name: str) -> bool:
        """Whether there is a file `name`."""
        ...

    def sizes(self, folder: str) -> dict[str, int]:
        """Name to bytes of what lies in `folder`, sorted; empty if there is no such folder."""
        ...

    def list(self, folder: str) -> list[str]:
        """The names in `folder`, sorted."""
        return list(self.sizes(folder))

    def remove(self, name: str) -> None:
        """Delete a file; none there is fine."""
        ...

    def quarantine(self, name: str) -> str:
        """Move a file out of the readers' way and say where it went."""
        ...

    def swap(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Put `files` in the place of all that `folder` holds; a crash on the way loses nothing.

        For a folder that nobody reads meanwhile, and under the lock, which mends what a crash left.

        Raises:
            NotImplementedError: The place cannot rename a folder in one step.
        """
        ...

    def locked(self) -> bool:
        """Whether a process is the writer now."""
        ...

    def lock(self) -> AbstractContextManager[None]:
        """Be the one writer, and clear what a crashed one left.

        Raises:
            StoreLocked: Another process is the writer; the message names it.
        """
        ...


def open_files(root: str | Path) -> Files:
    """The files under `root`: a path, or a URL that fsspec knows such as `s3://bucket/sweep`."""
    text = str(root)
    if text.startswith("file://"):
        return LocalFiles(text.removeprefix("file://"))
    return RemoteFiles(text) if "://" in text else LocalFiles(text)


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
            raise _write_error(f"{self.root}/{name}", error) from error
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
        names = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
        return {name: (path / name).stat().st_size for name in names if name[0] not in "._"}

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
            raise _write_error(f"{self.root}/{folder}", error) from error

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
            os.pwrite(handle, _holder(), 0)
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


class RemoteFiles(Files):
    """Objects under an fsspec URL, where one put is whole or absent by itself.

    `publish` is a conditional put (`mode="create"`: S3, Google, Azure, memory). A file system whose
    `pipe_file` knows no such mode gets a check followed by a put: two writers in the same moment
    could then both believe that theirs was kept, and only the lock stands between them.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._fs, path = fsspec.core.url_to_fs(root)
        self._prefix = path.rstrip("/")
        self._conditional = "mode" in inspect.signature(self._fs.pipe_file).parameters

    def _path(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    def publish(self, name: str, data: bytes) -> bool:
        """See `Files.publish`."""
        if not self._conditional and self.exists(name):
            return False
        try:
            self._fs.pipe_file(self._path(name), data, **({"mode": "create"} if self._conditional else {}))
        except FileExistsError:
            return False
        except OSError as error:
            # s3fs reports a refused condition (HTTP 412) as a plain OSError
            if self.exists(name):
                return False
            raise _write_error(f"{self.root}/{name}", error) from error
        return True

    def replace(self, name: str, data: bytes) -> None:
        """See `Files.replace`."""
        try:
            self._fs.pipe_file(self._path(name), data)
        except OSError as error:
            raise _write_error(f"{self.root}/{name}", error) from error

    def read(self, name: str) -> bytes:
        """See `Files.read`."""
        return self._fs.cat_file(self._path(name))

    def exists(self, name: str) -> bool:
        """See `Files.exists`."""
        self._fs.invalidate_cache(self._prefix)
        return self._fs.exists(self._path(name))

    def sizes(self, folder: str) -> dict[str, int]:
        """See `Files.sizes`."""
        path = self._path(folder)
        self._fs.invalidate_cache(path)  # a listing kept from before would hide our own objects
        try:
            found = self._fs.ls(path, detail=True)
        except FileNotFoundError:
            return {}
        sizes = {
            entry["name"].rpartition("/")[2]: entry["size"] for entry in found if entry["type"] == "file"
        }
        return {name: sizes[name] for name in sorted(sizes) if name[:1] not in ("", ".", "_")}

    def remove(self, name: str) -> None:
        """See `Files.remove`."""
        if self.exists(name):
            self._fs.rm_file(self._path(name))

    def quarantine(self, name: str) -> str:
        """Copy the object to `.broken/<name>.<unique>`, then delete it."""
        place = f"{BROKEN}/{name}.{uuid.uuid4().hex[:8]}"
        self.replace(place, self.read(name))
        self.remove(name)
        return f"{self.root}/{place}"

    def swap(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Refused: objects have no folder to rename."""
        raise NotImplementedError(
            f"{self.root}/{folder}: parts are merged in a local folder only; copy the sweep to one first"
        )

    def locked(self) -> bool:
        """Whether the object `.lock` is there."""
        return self.exists(LOCK)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """An object `.lock` made by conditional put and removed at the end; a killed holder leaves it."""
        if not self.publish(LOCK, _holder()):
            holder = self.read(LOCK).decode(errors="replace")
            raise StoreLocked(
                f"{self.root} is in use by {holder}: wait for it; if it died, delete {self.root}/{LOCK}"
            )
        try:
            yield
        finally:
            self.remove(LOCK)


def _holder() -> bytes:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return f"pid {os.getpid()} on {socket.gethostname()}, since {since}".encode()


def _write_error(name: str, error: OSError) -> StoreWriteError:
    if isinstance(error, StoreWriteError):
        return error
    return (StoreFull if error.errno in FULL else StoreWriteError)(name, error)


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
