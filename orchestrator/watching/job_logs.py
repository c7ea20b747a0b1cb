"""The logs of attempts, found by a job's key and told with what became of each attempt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from espalier.orchestrator.store.attempt_logs import AttemptLog, log_of, logs, read_log
from espalier.orchestrator.store.sweep_store import Store


def listing(store: Store) -> Iterator[str]:
    """The logs that are there, a line each, oldest first."""
    rows, found = _attempts(store), logs(store.files)
    for log in found:
        yield _heading(log, rows.get(log))
    if not found:
        yield (
            "no attempt left a log: it ended well and without a warning, or its worker died before it could "
            "(`espalier status` tells of failures)"
        )


def told(store: Store, key: str, attempt: int | None = None) -> Iterator[str]:
    """What the attempts at one job said, oldest first, each after a heading.

    Raises:
        ValueError: No attempt at such a job is known, or the keys of several jobs begin so.
    """
    rows = _attempts(store)
    known = {log for log in {*rows, *logs(store.files)} if log.key.startswith(key)}
    if not known:
        raise ValueError(
            f"no attempt at a job '{key}' is known: `espalier logs {store.root}` lists those with a log"
        )
    keys = sorted({log.key for log in known})
    if len(keys) > 1:
        raise ValueError(
            f"the keys of {len(keys)} jobs begin with '{key}': {', '.join(keys[:5])}; give more of it"
        )
    chosen = sorted(log for log in known if attempt in (None, log.attempt))
    if not chosen:
        raise ValueError(
            f"job {keys[0]} has no attempt {attempt}: it has "
            + ", ".join(str(log.attempt) for log in sorted(known))
        )
    for log in chosen:
        yield _heading(log, rows.get(log))
        yield _text(store, log)


def _attempts(store: Store) -> dict[AttemptLog, Mapping[str, Any]]:
    """The rows of table `jobs` by the log that their attempt would have."""
    rows = store.read_table("jobs", skip_broken=True).to_pylist()
    return {log_of(row["key"], row["start"], row["attempt"]): row for row in rows}


def _heading(log: AttemptLog, row: Mapping[str, Any] | None) -> str:
    what = f"{log.key}, attempt {log.attempt} of {log.start} (UTC)"
    if row is None:  # rows are written a few seconds later than logs
        return what
    place = f" on {row['node']}" if row["node"] else ""
    return f"{what}: {row['label']}: {row['outcome']}{place}"


def _text(store: Store, log: AttemptLog) -> str:
    try:
        return read_log(store.files, log).rstrip()
    except FileNotFoundError:
        return "(it said nothing)"
