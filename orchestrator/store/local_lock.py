"""The lock of a local folder: the kernel's `flock` on the file `.lock`, which falls with its holder.

A lock is written only into a file that is ours: no link is followed, and what has another name too, or other
content, is put aside instead.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path

from espalier.orchestrator.store.files import StoreLocked, this_process
from espalier.orchestrator.store.real_entries import FILE, found, open_real
from espalier.tasks.plain_text import printable

SIGN = b"pid "
"""How the content of a lock begins (`orchestrator.store.files.this_process`)."""
CHANGED = (errno.EISDIR, errno.ELOOP, errno.ENXIO)
"""What opening says of a folder, a link or a socket: something else than was there when it was looked at."""


def hold(path: Path, put_aside: Callable[[str], None]) -> int:
    """A descriptor that holds the lock until it is closed; `put_aside` takes what is no lock, and why.

    Raises:
        StoreLocked: Another process holds it.
    """
    while True:
        if (there := found(path)) not in (None, FILE):
            put_aside(f"{there}, where a file belongs")
            continue
        try:
            handle = open_real(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            if error.errno in CHANGED:  # another process was quicker: look again
                continue
            raise
        try:
            _flock(handle, path)
            if fault := _fault(handle):
                put_aside(fault)
            elif _is_at(handle, path):
                os.ftruncate(handle, 0)
                os.pwrite(handle, this_process(), 0)
                kept, handle = handle, -1
                return kept
        finally:
            if handle >= 0:
                os.close(handle)


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock."""
    if found(path) != FILE:
        return False
    handle = open_real(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _flock(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = printable(os.pread(handle, 200, 0).decode(errors="replace")) or "an unknown process"
        raise StoreLocked(f"{path.parent} is in use by {holder}: wait for it, or end it") from None
    except OSError as error:
        text = f"{path.parent} is on a file system without file locks; mount it with them (Lustre: -o flock)"
        raise OSError(error.errno, text) from error


def _fault(handle: int) -> str:
    """Why an open file is no lock of ours."""
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        return "no file, where a file belongs"
    if status.st_nlink > 1:
        return "a file that has another name too"
    return "" if os.pread(handle, len(SIGN), 0) in (b"", SIGN) else "a file that is no lock of ours"


def _is_at(handle: int, path: Path) -> bool:
    """Whether an open file still has its name: another process may have put it aside meanwhile."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False
