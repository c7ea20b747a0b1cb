"""Jobs that compute nothing: they sleep, or not, and answer with rows and bytes of a chosen size.

Workers import `answer`; `InstantPool` gives the same answers in this process, at once.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import pyarrow as pa

from benchmarks.table_reading import graft_parts
from espalier.cluster.pool import Done, Failed, Job, Output
from espalier.orchestrator.planning.cost import Cost
from espalier.orchestrator.planning.plan import Plan
from espalier.orchestrator.planning.task import Task

KIND = "graft"


@dataclass(frozen=True)
class Ask:
    """What a job is to do: sleep for so long, then answer with so many rows of `grafts` and a blob."""

    seconds: float = 0.0
    rows: int = 0
    blob_bytes: int = 0


@cache
def _some_rows(count: int) -> pa.Table:
    return next(iter(graft_parts(max(count, 1), 1))).slice(0, count)


def answer(job: Job, blobs: Mapping[str, bytes]) -> Output:  # noqa: ARG001
    """What `execute` is to the workers."""
    ask: Ask = job.payload
    time.sleep(ask.seconds)
    rows = _some_rows(ask.rows)
    keys = pa.array([job.key] * len(rows), pa.string())
    tables = {"grafts": rows.set_column(0, rows.schema.field(0), keys)} if ask.rows else {}
    blob = {f"{job.key}.blob": job.key.encode().ljust(ask.blob_bytes, b"b")} if ask.blob_bytes else {}
    return Output(tables, blob)


def answer_bytes(ask: Ask) -> int:
    """Of an answer, in memory, where rows take several times as much as in a file."""
    return _some_rows(ask.rows).nbytes + ask.blob_bytes


def tasks(count: int, ask: Ask) -> list[Task]:
    """So many jobs that all ask for the same, and of which each is one unit."""
    named = ((f"{number:024x}", f"job {number}") for number in range(count))
    return [Task(Job(key, KIND, ask), Cost(1.0, 0, 0), label) for key, label in named]


def plan(some: list[Task]) -> Plan:
    """A plan of these tasks alone."""
    return Plan(tuple(some), {KIND: 0}, {KIND: len(some)})


class InstantPool:
    """Slots without workers: what is given is done at the next look. `busy` is the CPU time of answering."""

    memories: tuple[int, ...] = ()

    def __init__(self, slots: int) -> None:
        self.slots, self.busy = slots, 0.0
        self._given: deque[tuple[Job, int]] = deque()

    def submit(self, job: Job, attempt: int) -> None:
        """Take a job."""
        self._given.append((job, attempt))

    def wait(self, timeout: float) -> list[Done | Failed]:  # noqa: ARG002
        """The answers to all that was given."""
        start = time.process_time()
        given, self._given = self._given, deque()
        done: list[Done | Failed] = [
            Done(job.key, attempt, answer(job, {}), 0.0, "here", "cpu") for job, attempt in given
        ]
        self.busy += time.process_time() - start
        return done

    def running(self) -> dict[str, float]:
        """What was given."""
        return {job.key: 0.0 for job, _ in self._given}

    def close(self) -> None:
        """Nothing is held."""
