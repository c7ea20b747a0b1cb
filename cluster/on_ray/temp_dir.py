"""Where a Ray of our own keeps its sockets and logs: Ray cannot use every path that the system can."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

LONGEST = 107
"""Bytes of a socket's path that Linux allows."""
BELOW = len("/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")

LEAST_BYTES = 16 * 10**6
"""Free space without which no Ray is started: on a full disk it is waited for in vain (66 s were measured).
The number itself is assumed: the first files of a Ray are smaller."""


def usable(place: str) -> bool:
    """Whether Ray can keep its sockets below a folder: an ASCII path that is short enough."""
    return place.isascii() and len(place) + BELOW <= LONGEST


def ray_folder(candidates: Iterable[str] | None = None) -> str | None:
    """A folder for Ray if it could not use the one that it would choose, else None.

    Raises:
        OSError: No folder for temporary files will do.
    """
    if os.environ.get("RAY_TMPDIR"):
        return None  # the user's own choice for Ray
    own = str(Path(tempfile.gettempdir()) / "ray")
    if usable(own):
        return None
    user = str(os.getuid()) if hasattr(os, "getuid") else "0"
    for place in candidates or ("/tmp", "/var/tmp", str(Path.home())):
        folder = f"{place}/ray-{user}"
        if usable(folder) and os.access(place, os.W_OK):
            return folder
    raise OSError(
        f"Ray cannot keep its sockets in '{own}' (ASCII of at most {LONGEST - BELOW} bytes would do): "
        "set TMPDIR, or RAY_TMPDIR, to such a folder"
    )


def free_space(place: str | None) -> tuple[str, int]:
    """Where a Ray keeps its files that is given `place` as its folder, and the bytes that are free there."""
    folder = Path(place or os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    there = next(each for each in (folder, *folder.parents) if each.exists())
    return str(folder), shutil.disk_usage(there).free


def shortage(place: str | None) -> str:
    """What is wrong with the disk of Ray's folder, and what would do, in words; nothing if it has space."""
    folder, free = free_space(place)
    if free >= LEAST_BYTES:
        return ""
    return (
        f"Ray's temporary folder {folder} has {free / 1e6:.1f} MB free, and none of its processes starts on "
        "a full disk: free space there, or set RAY_TMPDIR to a folder on another disk"
    )


def refuse_full(place: str | None) -> None:
    """Do not begin to start a Ray on a disk that is full.

    Raises:
        OSError: It is.
    """
    if why := shortage(place):
        raise OSError(why)
