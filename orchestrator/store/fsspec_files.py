"""Files at a URL that fsspec opens."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import fsspec

from espalier.orchestrator.store.files import Stamp, write_error
from espalier.orchestrator.store.remote_files import RemoteFiles


class FsspecFiles(RemoteFiles):
    """Objects under an fsspec URL.

    `put_new` is a conditional put (`mode="create"`). A file system whose `pipe_file` knows no such mode gets
    a check followed by a put: two writers in the same moment could then both believe that theirs was kept,
    and only the lock stands between them.
    """

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._fs, path = fsspec.core.url_to_fs(root)
        self._prefix = path.rstrip("/")
        self._conditional = "mode" in inspect.signature(self._fs.pipe_file).parameters

    def _path(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    def is_there(self) -> bool:
        """See `Files.is_there`."""
        return self._fs.isdir(self._prefix)

    def put_new(self, name: str, data: bytes) -> bool:
        """See `RemoteFiles.put_new`."""
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

    def put(self, name: str, data: bytes) -> None:
        """See `RemoteFiles.put`."""
        try:
            self._fs.pipe_file(self._path(name), data)
        except OSError as error:
            raise write_error(f"{self.root}/{name}", error) from error

    def read(self, name: str) -> bytes:
        """See `Files.read`."""
        return self._fs.cat_file(self._path(name))

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """See `Files.read_ranges`."""
        starts, ends = [first for first, _ in ranges], [end for _, end in ranges]
        found = self._fs.cat_ranges([self._path(name)] * len(ranges), starts, ends, on_error="raise")
        for each in found:  # some versions hand errors back in spite of what is asked
            if isinstance(each, BaseException):
                raise each
        return found

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

    def changed(self, name: str) -> float | None:
        """See `Files.changed`."""
        try:
            return self._fs.modified(self._path(name)).timestamp()
        except NotImplementedError:
            return None

    def drop(self, name: str) -> None:
        """See `RemoteFiles.drop`."""
        if self.exists(name):
            self._fs.rm_file(self._path(name))


def _stamp(entry: Mapping[str, Any]) -> Stamp:
    """By the entity tag, as S3, Google and Azure name it; the memory file system has none."""
    tags = (entry[name] for name in ("ETag", "etag", "e_tag") if entry.get(name))
    return Stamp(entry["size"], str(next(tags, "")))
