"""Files at a URL: no folders, no renames, and a lock that is a lease.

What a place must be able to do is `RemoteFiles.put_new` to `RemoteFiles.drop`, besides reading and listing;
`orchestrator.store.object_files` and `orchestrator.store.fsspec_files` are two ways to it.
"""

from __future__ import annotations

import time
import uuid
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from espalier.orchestrator.store.files import BROKEN, LOCK, Files, StoreUnfit
from espalier.orchestrator.store.lease import Lease, run_out

PROBE = ".probe"


class RemoteFiles(Files):
    """Objects under a URL, where one put is whole or absent by itself."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._lease: Lease | None = None

    @abstractmethod
    def put_new(self, name: str, data: bytes) -> bool:
        """Write an object that must not exist; False, and nothing changed, if it does."""

    @abstractmethod
    def put(self, name: str, data: bytes) -> None:
        """Write an object over what was there."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """Delete an object; none there is fine."""

    def _check_lease(self) -> None:
        if self._lease is not None:
            self._lease.check()

    def publish(self, name: str, data: bytes) -> bool:
        """See `Files.publish`; also raises StoreLocked if the lock was lost."""
        self._check_lease()
        return self.put_new(name, data)

    def replace(self, name: str, data: bytes) -> None:
        """See `Files.replace`; also raises StoreLocked if the lock was lost."""
        self._check_lease()
        self.put(name, data)

    def remove(self, name: str) -> None:
        """See `Files.remove`; also raises StoreLocked if the lock was lost."""
        self._check_lease()
        self.drop(name)

    def quarantine(self, name: str) -> str:
        """Copy the object to `.broken/<name>.<unique>`, then delete it."""
        place = f"{BROKEN}/{name}.{uuid.uuid4().hex[:8]}"
        self.replace(place, self.read(name))
        self.remove(name)
        return f"{self.root}/{place}"

    def swap(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Refused: objects have no folder to rename (`Files.swaps`)."""
        raise NotImplementedError(f"{self.root}/{folder}: folders are swapped in a local folder only")

    def locked(self) -> bool:
        """Whether there is a lease that has not run out."""
        return self.exists(LOCK) and not run_out(self.read(LOCK), time.time())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """A lease, renewed meanwhile; that of a killed holder runs out (`orchestrator.store.lease`).

        Raises:
            StoreUnfit: The place does not keep what a lease and all else here rest on.
        """
        self.probe()
        lease = Lease(self)
        lease.take()
        self._lease = lease
        try:
            yield
        finally:
            self._lease = None
            lease.release()

    def probe(self) -> None:
        """Find out whether the place keeps its promises, on an object of our own.

        Raises:
            StoreUnfit: A create on an existing name was not refused, or other bytes came back.
        """
        name, first, second = f"{PROBE}/{uuid.uuid4().hex}", uuid.uuid4().bytes, uuid.uuid4().bytes
        try:
            if not self.put_new(name, first):
                raise StoreUnfit(self.root, "it refuses to create an object whose name is free")
            if self.put_new(name, second):
                raise StoreUnfit(self.root, "it writes over an object that must not exist (If-None-Match)")
            if self.read(name) != first:
                raise StoreUnfit(self.root, "other bytes come back than were written")
            self.put(name, second)
            if self.read(name) != second:
                raise StoreUnfit(self.root, "what was written over comes back")
        finally:
            self.drop(name)
