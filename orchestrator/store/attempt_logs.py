"""What attempts at jobs said, `logs/<key>.<start>.<attempt>.log`: a file for each that said anything."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from espalier.orchestrator.store.files import Files, StoreWriteError

LOGS = "logs"
NAME = re.compile(r"(?P<key>[A-Za-z0-9_-]+)\.(?P<start>\d{8}T\d{6})\.(?P<attempt>\d+)\.log")


@dataclass(frozen=True, order=True)
class AttemptLog:
    """The log of one attempt: `start` is when it was submitted (UTC, such as `20260131T235959`)."""

    start: str
    attempt: int
    key: str

    @property
    def name(self) -> str:
        """Its file."""
        return f"{LOGS}/{self.key}.{self.start}.{self.attempt}.log"


def log_of(key: str, start: datetime, attempt: int) -> AttemptLog:
    """The log of the attempt at a job that was submitted at `start`."""
    return AttemptLog(f"{start:%Y%m%dT%H%M%S}", attempt, key)


def keep_log(files: Files, log: AttemptLog, text: str) -> None:
    """Write what an attempt said, if anything; a full disk ends no run because of it."""
    if text.strip():
        with suppress(StoreWriteError):
            files.replace(log.name, text.encode(errors="replace"))


def logs(files: Files, key: str = "") -> list[AttemptLog]:
    """The logs that are there, oldest first, of the jobs whose key begins with `key`."""
    found = filter(None, map(NAME.fullmatch, files.list(LOGS)))
    return sorted(
        AttemptLog(name["start"], int(name["attempt"]), name["key"])
        for name in found
        if name["key"].startswith(key)
    )


def read_log(files: Files, log: AttemptLog) -> str:
    """What the attempt said.

    Raises:
        FileNotFoundError: It said nothing.
        Misplaced: Something else lies where the log belongs.
    """
    return files.read(log.name).decode(errors="replace")
