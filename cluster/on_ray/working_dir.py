"""What `ray job submit --working-dir` would send, found by Ray's own rules before it sends anything."""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from pathlib import Path

from ray._private import ray_constants
from ray._private.runtime_env import packaging

LIMIT = packaging.GCS_STORAGE_MAX_SIZE
"""Bytes of the archive that Ray refuses: it goes in one message."""

END_BYTES, ENTRY_BYTES = 22, 76
"""What a zip archive adds: its end, and for each entry two headers (APPNOTE 4.3.7, 4.3.12, 4.3.16)."""

_quiet = logging.getLogger(__name__)


def shipped(folder: Path) -> dict[str, int]:
    """Bytes by path of what Ray would send of a folder: links are followed, empty folders are entries.

    `.git`, `.venv`, `venv`, `__pycache__` and what `.gitignore` and `.rayignore` name stay, at any depth.
    """
    top, found = folder.absolute(), dict[str, int]()

    def take(path: Path) -> None:
        if path.is_file():
            found[str(path.relative_to(top))] = path.stat().st_size
        elif path.is_dir() and next(path.iterdir(), None) is None:
            found[f"{path.relative_to(top)}/"] = 0

    excludes = [packaging._get_excludes(top, ray_constants.get_runtime_env_default_excludes())]
    unread = os.environ.get(ray_constants.RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") == "1"
    packaging._dir_travel(top, excludes, take, include_gitignore=not unread, logger=_quiet)
    return found


def archive_bytes(files: dict[str, int]) -> int:
    """The archive's size: Ray stores files as they are, without compression."""
    return END_BYTES + sum(size + ENTRY_BYTES + 2 * len(os.fsencode(path)) for path, size in files.items())


def largest(files: dict[str, int], count: int = 5) -> list[tuple[str, int]]:
    """The largest entries with their bytes: files at the top, and folders of the second level as wholes.

    >>> largest({"results/a/big": 7, "results/a/more": 1, "results/b/small": 2, "README.md": 3}, count=2)
    [('results/a', 8), ('README.md', 3)]
    """
    sums = Counter[str]()
    for path, size in files.items():
        sums["/".join(path.split("/")[:2])] += size
    return sums.most_common(count)


def refuse_too_large(folder: Path, limit: int = LIMIT) -> str:
    """The size of what would be sent, in words.

    Raises:
        ValueError: Ray would refuse it; says the largest entries, and what to do.
    """
    files = shipped(folder)
    size = archive_bytes(files)
    if size < limit:
        return f"{folder.absolute()}: {len(files)} files, {_mib(size)} of the {_mib(limit)} that Ray can send"
    big = ", ".join(f"{path} {_mib(bytes_)}" for path, bytes_ in largest(files))
    raise ValueError(
        f"{folder.absolute()} has {_mib(size)} to send, and Ray can send {_mib(limit)}; the largest: {big}. "
        "Name what a run does not need in .rayignore (as in .gitignore), and put images where every node "
        "reads them (data.dataset takes an absolute path or a URL)"
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def before_submit(working_dir: str | None = None, **_: object) -> None:
    """For `RAY_JOB_SUBMIT_HOOK`: has a plain `ray job submit` refuse what is too large before it sends it."""
    if working_dir is not None and Path(working_dir).is_dir():
        try:
            refuse_too_large(Path(working_dir))
        except ValueError as error:
            sys.exit(str(error))
