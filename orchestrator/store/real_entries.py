"""What lies at a path of a sweep's folder, links not followed; and the few steps by which files are moved."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from functools import cache
from pathlib import Path
from typing import Any

KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}
FILE, FOLDER, LINK = (KINDS[kind] for kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK))
LONGEST_STEM = 200
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def found(path: Path) -> str | None:
    """What is there, in words; None for nothing."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    return KINDS.get(stat.S_IFMT(mode), "a device")


def open_real(path: Path, flags: int) -> int:
    """A descriptor of a path that is no link; a named pipe does not make the caller wait."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)


def make_folder(path: Path) -> None:
    """Make a folder, and on the way to it what is missing; each is on disk afterwards."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Flush the names in a folder: without it a power cut may forget a file whose bytes are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


HERE, EXCHANGE = -100, 2
"""Of Linux: relative paths begin at the working directory; the two names change places."""
NO_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}


def exchanged(one: Path, other: Path) -> bool:
    """Let two folders change places in one step, on disk afterwards; false where that cannot be (renameat2).

    Raises:
        OSError: One of them is not there, say.
    """
    rename = _renameat2()
    if rename is None:
        return False
    if rename(HERE, os.fsencode(one), HERE, os.fsencode(other), EXCHANGE):
        number = ctypes.get_errno()
        if number in NO_EXCHANGE:
            return False
        raise OSError(number, os.strerror(number), str(one), None, str(other))
    sync_folder(one.parent)
    sync_folder(other.parent)
    return True


@cache
def _renameat2() -> Any:
    """The function of the C library, or None where it has none (not Linux, say)."""
    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def write_new(path: Path, data: bytes) -> None:
    """Write a file that is not there yet, to disk."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def link_new(staged: Path, final: Path) -> bool:
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
    """`link_new` where there are no hard links (exFAT, some network and FUSE mounts).

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


def unused(path: Path) -> Path:
    """`path`, or its first numbered neighbour that does not exist."""
    free, number = path, 1
    while os.path.lexists(free):
        number += 1
        stem = os.fsdecode(os.fsencode(path.stem)[:LONGEST_STEM])
        free = path.with_name(f"{stem}-{number}{path.suffix}")
    return free
