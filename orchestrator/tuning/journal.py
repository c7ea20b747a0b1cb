"""Where Optuna keeps the studies: a journal in the sweep's folder, or the storage that `tune.storage` names.

The rows of table `trials` are the truth, and a study that is missing is made anew from them. At a URL, where
no file can be appended to, the studies live in memory for as long as a run lasts.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, get_storage
from optuna.storages.journal import JournalFileBackend

from espalier.orchestrator.config.sweep_config import ConfigError
from espalier.orchestrator.store.local_files import LocalFiles
from espalier.orchestrator.store.real_entries import FILE, FOLDER, found
from espalier.orchestrator.store.sweep_store import Store

JOURNAL = "study.journal"
LOCK_SECONDS = 2.0
"""How long Optuna's own lock on the journal may be held: it is taken for one write at a time."""


def open_storage(store: Store, url: str | None) -> tuple[BaseStorage, list[str]]:
    """The storage and what was mended of it. For the holder of the store's lock.

    Raises:
        ConfigError: `tune.storage` cannot be opened.
    """
    if url:
        return _named(url), []
    if not isinstance(store.files, LocalFiles):
        return InMemoryStorage(), []
    path, told = Path(store.root) / JOURNAL, list[str]()
    _free(path.with_name(path.name + ".lock"), store)
    fault = _not_ours(path)
    if not fault:
        told = mend(path)
        fault = _fault(path) if path.exists() else ""
    if not fault:
        try:
            return JournalStorage(JournalFileBackend(str(path))), told
        except (ValueError, KeyError, TypeError, AttributeError, AssertionError, OptunaError) as error:
            fault = f"Optuna cannot read it ({type(error).__name__}: {error})"
    place = store.files.quarantine(JOURNAL)
    told.append(f"{JOURNAL}: {fault}; moved to {place}; made anew from the rows of table trials")
    return JournalStorage(JournalFileBackend(str(path))), told


def _named(url: str) -> BaseStorage:
    try:
        return get_storage(os.path.expandvars(url))
    except ImportError as error:
        raise ConfigError(f"tune.storage: {url} needs a package that is not installed: {error}") from error
    except Exception as error:  # noqa: BLE001 - each database has its own; none may show what was filled in
        raise ConfigError(
            f"tune.storage: {url} cannot be opened ({type(error).__name__}): an Optuna storage is wanted, "
            "such as sqlite:////disk/studies.db or postgresql://me:$PASSWORD@host/studies"
        ) from None


def _not_ours(path: Path) -> str:
    """Why what lies there may not be written to: Optuna would follow a link, or wait at a pipe."""
    there = found(path)
    if there not in (None, FILE):
        return f"{there}, where {FILE} belongs"
    return "a file that has another name too" if there and path.lstat().st_nlink > 1 else ""


def mend(path: Path) -> list[str]:
    """Cut a journal to its last whole line: a crash or a full disk may have torn the write after it."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole == len(data):
        return []
    with path.open("r+b") as file:
        file.truncate(whole)
        os.fsync(file.fileno())
    return [f"{path.name}: its last line was torn, {len(data) - whole} bytes; cut off"]


def _fault(path: Path) -> str:
    """What is wrong with a line of a journal, in words."""
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or "op_code" not in entry:
            return f"line {number} is no entry of a journal"
    return ""


def _free(lock: Path, store: Store) -> None:
    """Remove the lock of a process that was killed while it wrote; Optuna itself would wait 30 s for it."""
    end = time.monotonic() + LOCK_SECONDS
    while os.path.lexists(lock) and time.monotonic() < end:
        time.sleep(0.05)
    if found(lock) == FOLDER:
        store.files.quarantine(lock.name)
    lock.unlink(missing_ok=True)
