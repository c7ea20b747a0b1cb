"""What is kept of an attempt at a job: its row of table `jobs`, and what it said."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from espalier.cluster.pool import Done, Failed
from espalier.orchestrator.planning.kinds.registry import kind_of
from espalier.orchestrator.planning.task import Task
from espalier.orchestrator.store.attempt_logs import keep_log, log_of
from espalier.orchestrator.store.sweep_store import Store


def keep_attempt(
    store: Store, task: Task, event: Done | Failed, start: datetime, outcome: str, error: str = ""
) -> None:
    """Keep an attempt that was submitted at `start`. Raises as `Store.append_job`."""
    store.append_job(job_row(task, event, start, outcome, error))
    keep_log(store.files, log_of(task.job.key, start, event.attempt), event.log)


def refuse(store: Store, task: Task, event: Done, start: datetime, cause: str = "") -> str:
    """Log the answer of an attempt that was given up, for a cause if it is known; a line for the user.

    Another attempt has the job, or has done it. Raises as `Store.append_job`.
    """
    error = f"its answer came after it had been given up{cause and f' ({cause})'}, and was refused"
    keep_attempt(store, task, event, start, "refused", error)
    return f"{task.label}, attempt {event.attempt}: {error}"


def job_row(
    task: Task, event: Done | Failed, start: datetime, outcome: str, error: str = ""
) -> dict[str, Any]:
    """The row of table `jobs` of an attempt that was submitted at `start`; notes count as what went wrong."""
    said = event.output.notes if isinstance(event, Done) else ()
    error = "; ".join((*([error] if error else []), *said))
    return {
        "key": task.job.key,
        "kind": task.job.kind,
        "label": task.label,
        "attempt": event.attempt,
        "node": event.node,
        "device": event.device,
        "start": start,
        "seconds": event.seconds,
        "flops": task.cost.flops,
        "bytes_in": task.cost.bytes_in,
        "outcome": outcome,
        "error": " ".join(error.split())[:2000],
        "mode": kind_of(task.job.kind).mode(task),
        "cause": event.reason if isinstance(event, Failed) else "",
    }
