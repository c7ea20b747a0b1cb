"""Files at an fsspec URL (object stores): no folders, no renames, and a lock that is a lease."""

from __future__ import annotations

import inspect
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import fsspec

from espalier.orchestrator.store.files import BROKEN, LOCK, Files, Stamp, write_error
from espalier.orchestrator.store.lease import Lease, run_out


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
        self._lease: Lease | None = None

    def _path(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    def _check_lease(self) -> None:
        if self._lease is not None:
            self._lease.check()

    def publish(self, name: str, data: bytes) -> bool:
        """See `Files.publish`; also raises StoreLocked if the lock was lost."""
        self._check_lease()
        return self.put_new(name, data)

    def put_new(self, name: str, data: bytes) -> bool:
        """`publish` by whoever, the lock held or not."""
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
            raise write_error(f"{self.root}/{name}", error) from error
        return True

    def replace(self, name: str, data: bytes) -> None:
        """See `Files.replace`; also raises StoreLocked if the lock was lost."""
        self._check_lease()
        self.put(name, data)

    def put(self, name: str, data: bytes) -> None:
        """`replace` by whoever, the lock held or not."""
        try:
            self._fs.pipe_file(self._path(name), data)
        except OSError as error:
            raise write_error(f"{self.root}/{name}", error) from error

    def read(self, name: str) -> bytes:
        """See `Files.read`."""
        return self._fs.cat_file(self._path(name))

    def exists(self, name: str) -> bool:
        """See `Files.exists`."""
        self._fs.invalidate_cache(self._prefix)
        return self._fs.exists(self._path(name))

    def stamps(self, folder: str) -> dict[str, Stamp]:
        """See `Files.stamps`."""
        path = self._path(folder)
        self._fs.invalidate_cache(path)  # a listing kept from before would hide our own objects
        try:
            found = self._fs.ls(path, detail=True)
        except FileNotFoundError:
            return {}
        files = {entry["name"].rpartition("/")[2]: entry for entry in found if entry["type"] == "file"}
        return {name: _stamp(files[name]) for name in sorted(files) if name[:1] not in ("", ".", "_")}

    def stamp(self, name: str) -> Stamp:
        """See `Files.stamp`."""
        return _stamp(self._fs.info(self._path(name)))

    def remove(self, name: str) -> None:
        """See `Files.remove`; also raises StoreLocked if the lock was lost."""
        self._check_lease()
        self.drop(name)

    def drop(self, name: str) -> None:
        """`remove` by whoever, the lock held or not."""
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
        """Whether there is a lease that has not run out."""
        return self.exists(LOCK) and not run_out(self.read(LOCK), time.time())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """A lease, renewed meanwhile; that of a killed holder runs out (`orchestrator.store.lease`)."""
        lease = Lease(self)
        lease.take()
        self._lease = lease
        try:
            yield
        finally:
            self._lease = None
            lease.release()


def _stamp(entry: Mapping[str, Any]) -> Stamp:
    """By the entity tag, as S3, Google and Azure name it; the memory file system has none."""
    tags = (entry[name] for name in ("ETag", "etag", "e_tag") if entry.get(name))
    return Stamp(entry["size"], str(next(tags, "")))
