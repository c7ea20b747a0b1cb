"""Files in an object store (S3, Google, Azure), by obstore: its puts can be told to refuse an existing name.

docs/decisions/object-stores.md says why this library.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from datetime import timedelta
from importlib import import_module
from typing import Any, TypeVar

from espalier.orchestrator.store.files import Stamp, write_error
from espalier.orchestrator.store.remote_files import RemoteFiles

T = TypeVar("T")
SCHEMES = ("s3", "s3a", "gs", "az", "abfs", "abfss")

RETRIES = {
    "max_retries": 10,
    "retry_timeout": timedelta(seconds=100),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=15),
        "base": 2,
    },
}
"""How obstore tries again, with jitter, what a store answers with an error of its own (5xx) or not at all.

A write has ended, well or not, before a lease that was sound when it began can have run out: 100 seconds and
one request of 30 are less than `lease.LEASE_SECONDS` without `lease.RENEWAL_SECONDS`.
"""


class ObjectFiles(RemoteFiles):
    """Objects under a URL of an object store; credentials and the endpoint come from the environment.

    Raises:
        OSError: obstore is not installed; the message says how it is.
    """

    def __init__(self, root: str) -> None:
        super().__init__(root)
        try:
            self._api: Any = import_module("obstore")
        except ModuleNotFoundError as error:
            text = f"{root}: obstore, which opens it, is missing: pip install 'espalier[s3]'"
            raise OSError(text) from error
        self._errors: Any = import_module("obstore.exceptions")
        self._store = self._asked(
            "", lambda: self._api.store.from_url(root.rstrip("/"), retry_config=RETRIES)
        )

    def _asked(self, name: str, ask: Callable[[], T]) -> T:
        """The answer of the store, or its error in one line.

        Raises:
            FileNotFoundError: There is no such object.
            FileExistsError: It must not exist, and does.
            OSError: Anything else.
        """
        try:
            return ask()
        except self._errors.AlreadyExistsError as error:
            raise FileExistsError(errno.EEXIST, "it exists", name) from error
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, _first_line(error), f"{self.root}/{name}") from error
        except self._errors.BaseError as error:
            raise OSError(f"{self.root}/{name}: {_first_line(error)}") from error

    def _write(self, name: str, data: bytes, **how: str) -> None:
        # An object of one part has the ETag, and the conditions, of one put.
        try:
            self._asked(name, lambda: self._api.put(self._store, name, data, use_multipart=False, **how))
        except FileExistsError:
            raise
        except OSError as error:  # no such bucket, say
            raise write_error(f"{self.root}/{name}", error) from error

    def is_there(self) -> bool:
        """See `Files.is_there`."""
        return any(self._asked("", lambda: next(iter(self._api.list(self._store, chunk_size=1)), [])))

    def put_new(self, name: str, data: bytes) -> bool:
        """See `RemoteFiles.put_new`."""
        try:
            self._write(name, data, mode="create")
        except FileExistsError:
            return False
        return True

    def put(self, name: str, data: bytes) -> None:
        """See `RemoteFiles.put`."""
        self._write(name, data)

    def read(self, name: str) -> bytes:
        """See `Files.read`."""
        return self._asked(name, lambda: self._api.get(self._store, name).bytes().to_bytes())

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """See `Files.read_ranges`; what lies close together in one request."""
        starts, ends = [first for first, _ in ranges], [end for _, end in ranges]
        found = self._asked(name, lambda: self._api.get_ranges(self._store, name, starts=starts, ends=ends))
        return [each.to_bytes() for each in found]

    def exists(self, name: str) -> bool:
        """See `Files.exists`."""
        try:
            self.stamp(name)
        except FileNotFoundError:
            return False
        return True

    def stamp(self, name: str) -> Stamp:
        """See `Files.stamp`."""
        return _stamp(self._asked(name, lambda: self._api.head(self._store, name)))

    def changed(self, name: str) -> float:
        """See `Files.changed`."""
        return self._asked(name, lambda: self._api.head(self._store, name))["last_modified"].timestamp()

    def stamps(self, folder: str) -> dict[str, Stamp]:
        """See `Files.stamps`."""
        found = self._asked(folder, lambda: self._api.list_with_delimiter(self._store, folder or None))
        named = {entry["path"].rpartition("/")[2]: entry for entry in found["objects"]}
        return {name: _stamp(named[name]) for name in sorted(named) if name[:1] not in ("", ".", "_")}

    def drop(self, name: str) -> None:
        """See `RemoteFiles.drop`."""
        try:
            self._asked(name, lambda: self._api.delete(self._store, name))
        except FileNotFoundError:
            return


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _stamp(entry: Any) -> Stamp:
    return Stamp(entry["size"], entry["e_tag"] or "")
