"""Faults at a chosen change of a file: the process is killed there, or the disk fails or is full."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from espalier.orchestrator.store import local_files, real_entries

CHANGES = ("link", "replace", "rename", "unlink", "mkdir")
"""What changes a folder's entries, by the names of the functions of `os`."""
PLACES = ("checkpoints", "tables", ".inventory", ".staging", ".compact", "running.json", "run.json")


class Killed(BaseException):
    """The process is no more: nothing catches this, and nothing that would clean up changes a file."""


class Power:
    """Counts the changes of files, and lets a `fault` happen at one of them.

    Args:
        fault: `kill`: that change and all later ones do not happen, but of a file that is being written half
            is there. `full`: it is the last that writes; `io`: it fails, and the next one works again. Empty
            for none.
        step: Which change, from 1.
        seen: Counts faults that have happened, by kind and place.
    """

    def __init__(self, fault: str, step: int, seen: Counter[str]) -> None:
        self._fault, self._left, self._seen = fault, step, seen
        self.dead = self._is_full = False

    def cut(self) -> None:
        """The process is killed between two changes."""
        self.dead = True
        raise Killed

    def change(self, what: str, path: object) -> None:
        """A change of `path` is due. Raises if it is not to happen."""
        if self.dead:
            raise Killed
        self._left -= 1
        if self._left == 0 and self._fault:
            self._seen[f"{self._fault} at {what} of {_place(path)}"] += 1
            if self._fault == "io":
                raise OSError(errno.EIO, "Input/output error", str(path))
            self.dead, self._is_full = self._fault == "kill", self._fault == "full"
        if self.dead:
            raise Killed
        if self._is_full and what == "write":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    @contextmanager
    def on(self) -> Iterator[None]:
        """Faults happen in this block."""
        with ExitStack() as stack:
            for name in CHANGES:
                stack.enter_context(mock.patch.object(os, name, self._changing(name, getattr(os, name))))
            stack.enter_context(mock.patch.object(local_files, "write_new", self._write_new))
            stack.enter_context(mock.patch.object(os, "fsync"))  # a kill keeps what is written
            yield

    def _changing(self, name: str, real):
        def change(path, *rest, **named):
            self.change(name, rest[0] if rest and isinstance(rest[0], str | os.PathLike) else path)
            return real(path, *rest, **named)

        return change

    def _write_new(self, path, data):
        alive = not self.dead
        try:
            self.change("write", path)
        except (Killed, OSError):
            if alive:
                path.write_bytes(data[: len(data) // 2])
            raise
        real_entries.write_new(path, data)


def _place(path: object) -> str:
    parts = os.fspath(path).split("/") if isinstance(path, str | os.PathLike) else []
    found = [place for place in PLACES if place in parts]
    if found[:1] == ["tables"]:
        after = parts[parts.index("tables") + 1 :]
        return "/".join(("tables", *after[:1], *(["merged"] if parts[-1].startswith("merged-") else [])))
    return found[0] if found else "the folder"
