"""Files at an fsspec URL (object stores): no folders, no renames, and a lock that is an object."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import fsspec

from espalier.orchestrator.store.files import BROKEN, LOCK, Files, StoreLocked, this_process, write_error


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
            raise write_error(f"{self.root}/{name}", error) from error
        return True

    def replace(self, name: str, data: bytes) -> None:
        """See `Files.replace`."""
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
        if not self.publish(LOCK, this_process()):
            holder = self.read(LOCK).decode(errors="replace")
            raise StoreLocked(
                f"{self.root} is in use by {holder}: wait for it; if it died, delete {self.root}/{LOCK}"
            )
        try:
            yield
        finally:
            self.remove(LOCK)
