"""Where a sweep's bytes live, as one small protocol that knows none of its implementations.

`orchestrator.store.places` opens the one that a path or a URL means.

A file is whole or absent. Names are relative to the root, with `/` between folders; what begins with
`.` or `_` is ours, and neither listed here nor seen by readers of a Parquet folder.
"""

from __future__ import annotations

import errno
import math
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from espalier.tasks.plain_text import printable

BLOBS, TABLES = "checkpoints", "tables"
BROKEN, LOCK, CLOCK, SHELF = ".broken", ".lock", ".clock", ".shelf"
FULL = {errno.ENOSPC, errno.EDQUOT}


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


class Misplaced(OSError):
    """Something else lies where a file or a folder of ours belongs; nothing of it was read or written.

    Attributes:
        what: What is wrong, without the name.
    """

    def __init__(self, name: str, found: str, wanted: str) -> None:
        self.what = f"{found}, where {wanted} belongs"
        cure = (
            f"links are not followed, so put {wanted} itself there (a link to the whole sweep is fine)"
            if "link" in found
            else "move it away and run again"
        )
        super().__init__(f"{printable(name)} is {self.what}: {cure}")


class StoreUnfit(OSError):
    """A place does not keep the promises that a sweep's results rest on."""

    def __init__(self, root: str, what: str) -> None:
        super().__init__(
            f"{root} cannot hold a sweep: {what}; use a store with conditional puts, or a local folder"
        )


class StoreLocked(RuntimeError):
    """Another process writes to this store."""


class Stamp(NamedTuple):
    """What tells that a file is still the one that was read: its size, and a mark of its last change.

    An empty mark tells nothing: the place gives none.
    """

    size: int
    mark: str


class Files(Protocol):
    """The few things that the store asks of a place. `root` is the place as the user wrote it."""

    root: str

    def is_there(self) -> bool:
        """Whether there is a folder at `root`, or in an object store anything below it."""
        ...

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
        """All bytes of a file; FileNotFoundError if there is none.

        Raises:
            Misplaced: It is none, but a folder, a link or a pipe.
        """
        ...

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Some bytes of a file, each range from its first byte to before its second. Raises as `read`."""
        data = self.read(name)
        return [data[first:end] for first, end in ranges]

    def exists(self, name: str) -> bool:
        """Whether there is a file `name`."""
        ...

    def stamps(self, folder: str) -> dict[str, Stamp]:
        """Name to stamp of what lies in `folder`, sorted, files or not; empty if there is no such folder."""
        ...

    def stamp(self, name: str) -> Stamp:
        """The stamp of one file; FileNotFoundError if there is none."""
        ...

    def changed(self, name: str) -> float | None:
        """When a file was written last, in seconds by the place's own clock; None if the place does not say.

        Raises:
            FileNotFoundError: There is none.
        """
        ...

    def clock(self) -> float:
        """What the place's own clock says now; minus infinity if it does not say."""
        try:
            self.replace(CLOCK, b"")
            changed = self.changed(CLOCK)
        finally:
            self.remove(CLOCK)
        return -math.inf if changed is None else changed

    def settled(self, stamp: Stamp) -> bool:
        """Whether any later change would give another stamp."""
        return bool(stamp.mark)

    def sizes(self, folder: str) -> dict[str, int]:
        """Name to bytes of what lies in `folder`, sorted, files or not; empty if there is no such folder."""
        return {name: stamp.size for name, stamp in self.stamps(folder).items()}

    def list(self, folder: str) -> list[str]:
        """The names in `folder`, sorted."""
        return list(self.sizes(folder))

    def remove(self, name: str) -> None:
        """Delete a file; none there is fine. A folder is put aside."""
        ...

    def quarantine(self, name: str) -> str:
        """Move a file out of the readers' way and say where it went."""
        ...

    def make_way(self, folder: str) -> None:
        """Put aside what lies where `folder` belongs, which `mended` then tells. For the holder of the lock.

        Raises:
            Misplaced: A link, behind which somebody may have put the folder.
        """

    def irregular(self, folder: str) -> dict[str, str]:  # noqa: ARG002 - a place of objects has none
        """What in `folder` is listed but is no file, by name, in words."""
        return {}

    def mended(self) -> list[str]:
        """Messages on what was put aside since the last call."""
        return []

    swaps = False
    """Whether the place can put a whole folder in the place of another: `swap`."""

    def swap(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Put `files` in the place of all that `folder` holds; a crash on the way loses nothing.

        For a folder that nobody reads meanwhile, and under the lock, which mends what a crash left.
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


def this_process() -> bytes:
    """What the holder of a lock writes into it, for who finds the place in use."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return f"pid {os.getpid()} on {socket.gethostname()}, since {since}".encode()


def write_error(name: str, error: OSError) -> OSError:
    """The error of a failed write, by what the place said."""
    if isinstance(error, StoreWriteError | Misplaced):
        return error
    return (StoreFull if error.errno in FULL else StoreWriteError)(name, error)
