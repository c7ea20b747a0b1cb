"""What a folder holds and what a run there is at: one look, as data."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from espalier.orchestrator.planning.kinds.registry import kind_of
from espalier.orchestrator.planning.plan import Plan
from espalier.orchestrator.planning.rates import crowd, gemm_rate, on_device, rates
from espalier.orchestrator.planning.simulate import makespan
from espalier.orchestrator.planning.time_left import flops_left, seconds_left, unseen, worked
from espalier.orchestrator.running.heartbeat import Heartbeat, heartbeat
from espalier.orchestrator.store.attempt_logs import LOGS, logs
from espalier.orchestrator.store.files import BLOBS, TABLES
from espalier.orchestrator.store.sweep_store import Store
from espalier.orchestrator.sweep import Sweep
from espalier.tasks.tables.schemas import SCHEMAS


@dataclass(frozen=True)
class Failure:
    """A job whose last attempt failed for good: how often it was tried, and whether an attempt has a log."""

    key: str
    label: str
    outcome: str
    cause: str
    error: str
    node: str
    attempts: int
    log: bool


@dataclass(frozen=True)
class Status:
    """One look at a sweep.

    Attributes:
        at: When.
        plan: What is done and what is missing.
        active: Whether a run holds the folder now.
        beat: What that run said last; None if it has said nothing.
        slots: Jobs that run at once: of the run that is active, else of this machine.
        predicted: Seconds until the last of the missing jobs would end on these slots, by the cost model.
        seconds_left: Of work left, as the progress of a run has it (`orchestrator.planning.time_left`).
        unseen: Kinds of missing jobs of which fewer than two have ended, so that `seconds_left` is None.
        failures: Jobs given up, oldest first.
        causes: Failed attempts by cause, also of jobs that succeeded later.
        broken: What the folder holds that is not whole, in words.
        used: Bytes of checkpoints, tables and logs.
        free: Bytes free on their disk; None at a URL.
    """

    at: datetime
    plan: Plan
    active: bool
    beat: Heartbeat | None
    slots: int
    predicted: float
    seconds_left: float | None
    unseen: tuple[str, ...]
    failures: tuple[Failure, ...]
    causes: Mapping[str, int] = field(default_factory=dict[str, int])
    broken: tuple[str, ...] = ()
    used: int = 0
    free: int | None = None

    def plain(self) -> dict[str, Any]:
        """The look as JSON values; seconds and bytes throughout."""
        return {
            "at": self.at.isoformat(timespec="seconds"),
            "complete": not self.plan.tasks,
            "active": self.active,
            "kinds": by_kind(self.plan),
            "slots": self.slots,
            "seconds_left": self.seconds_left,
            "seconds_predicted": self.predicted,
            "run": self.beat.model_dump(mode="json") if self.beat else None,
            "failures": [asdict(failure) for failure in self.failures],
            "failed_attempts": dict(self.causes),
            "broken": list(self.broken),
            "disk": {"used": self.used, "free": self.free},
        }


def by_kind(plan: Plan) -> dict[str, dict[str, Any]]:
    """What is wanted, done and left of each kind, as JSON values."""
    left = flops_left(plan)
    return {
        kind: {
            "units": kind_of(kind).units,
            "total": total,
            "done": plan.done[kind],
            "jobs_left": sum(task.job.kind == kind for task in plan.tasks),
            "flops_left": left[kind],
        }
        for kind, total in plan.total.items()
    }


def look(sweep: Sweep) -> Status:
    """One look at a sweep; changes nothing, and works beside a run.

    Raises:
        ConfigError: The config describes no sweep, or another one than the folder's.
    """
    plan, store = sweep.plan(), sweep.store
    log = store.read_table("jobs", skip_broken=True)
    active = store.files.locked()
    broken = list(store.inventory.problems)
    beat = None
    if active:
        try:
            beat = heartbeat(store)
        except ValueError as error:  # torn, or not ours: the run writes it anew
            broken.append(str(error))
    slots = beat.slots if beat else sweep.slots
    left, ended = flops_left(plan), worked(on_device(log, sweep.config.run.device == "cuda"))
    rows = log.to_pylist()
    return Status(
        at=datetime.now(UTC),
        plan=plan,
        active=active,
        beat=beat,
        slots=slots,
        predicted=_predicted(plan, store, slots, log) if plan.tasks else 0.0,
        seconds_left=seconds_left(left, ended, slots),
        unseen=unseen(left, ended),
        failures=_failures(rows, {log.key for log in logs(store.files)}),
        causes=Counter(row["cause"] or "unknown" for row in rows if row["outcome"] in FAILED),
        broken=tuple(broken),
        used=_used(store),
        free=None if "://" in store.root else shutil.disk_usage(store.root).free,
    )


def _predicted(plan: Plan, store: Store, slots: int, log: pa.Table) -> float:
    """Seconds of the missing jobs; those that ended are taken to have run on as many slots."""
    shared = crowd(slots, os.cpu_count() or 1)
    return makespan(plan, set(store.blobs()), slots, rates(log, gemm_rate(), shared, shared))


FAILED = ("failed", "gave_up", "diverged")
FOR_GOOD = ("gave_up", "diverged")


def _failures(rows: Sequence[Mapping[str, Any]], logged: set[str]) -> tuple[Failure, ...]:
    """The jobs whose last attempt, in whatever run, failed for good."""
    last: dict[str, Mapping[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["start"]):
        last.pop(row["key"], None)  # the order is that of the last attempts
        last[row["key"]] = row
    tries = Counter(row["key"] for row in rows if row["outcome"] in FAILED)
    return tuple(
        Failure(
            key=key,
            label=row["label"],
            outcome=row["outcome"],
            cause=row["cause"],
            error=row["error"],
            node=row["node"],
            attempts=tries[key],
            log=key in logged,
        )
        for key, row in last.items()
        if row["outcome"] in FOR_GOOD and kind_of(row["kind"]).failures_are_told
    )


def _used(store: Store) -> int:
    folders = (BLOBS, LOGS, *(f"{TABLES}/{table}" for table in SCHEMAS))
    return sum(sum(store.files.sizes(folder).values()) for folder in folders)
