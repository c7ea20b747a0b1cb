"""Where jobs run, as the driver sees it: it submits plain jobs, and waits for their results.

A pool knows neither training nor grafting. It is given `execute`, which turns a job and the
snapshots it needs into an `Output`, and `fetch`, which reads a published snapshot's bytes.
"""

from __future__ import annotations

import math
import socket
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable


@dataclass(frozen=True)
class Receipt:
    """A blob that a worker has written to a shared store by itself.

    `file` is its name there, `sha256` the digest of all `size` bytes in hexadecimal digits.
    """

    file: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Shelf:
    """A store that a job's worker reads and writes by itself, so that blobs need not go through the driver.

    Attributes:
        place: Its path or URL, the same for every worker.
        mark: A text that is found there alone: a worker that sees another disk at that path does not find it.
        inputs: Of the job's inputs those that lie there, by name.
        takes: Whether the job's own blobs are to be written there.
    """

    place: str
    mark: str
    inputs: Mapping[str, Receipt] = field(default_factory=dict[str, Receipt])
    takes: bool = False


@dataclass(frozen=True)
class Job:
    """One unit of work as plain data.

    Attributes:
        key: Identity of the job; the driver never has two of one key in flight.
        kind: Which task does it, such as `train` or `graft`.
        payload: A frozen dataclass of `tasks.spec`; with `inputs` it fixes the result.
        inputs: Names of the blobs (serialised snapshots) that it reads.
        gives: How many blobs it gives at most. A pool may keep so many for later jobs that read them; those
            beyond come to the driver alone.
        where: Settings that change how it runs but not its result (data folder, memory).
        limit: Seconds of work after which an attempt is taken for hung.
        memory: Bytes that it needs by the planner's model; 0 if that is not known.
        shelf: The shared store that its worker uses; None if all blobs go through the driver.
    """

    key: str
    kind: str
    payload: Any
    inputs: tuple[str, ...] = ()
    gives: int = field(default=0, kw_only=True)
    where: Mapping[str, Any] = field(default_factory=dict[str, Any])
    limit: float = math.inf
    memory: int = 0
    shelf: Shelf | None = None

    @property
    def sent(self) -> tuple[str, ...]:
        """The inputs that the pool brings; the worker reads the others by itself."""
        if self.shelf is None:
            return self.inputs
        return tuple(name for name in self.inputs if name not in self.shelf.inputs)


@dataclass(frozen=True)
class Output:
    """The result of a job: tables (Arrow) by name, and blobs (serialised snapshots) by name.

    `receipts` are those of the blobs that the worker has stored by itself, which are not among `blobs`.
    If a job is several pieces of work, `failures` has the error of each piece that can never succeed,
    by the piece's key, in the form of `failure`. `notes` are lines for the user. `answer` is what a job found
    that belongs to no table: plain JSON values.
    """

    tables: Mapping[str, Any] = field(default_factory=dict[str, Any])
    blobs: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    receipts: Mapping[str, Receipt] = field(default_factory=dict[str, Receipt])
    failures: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()
    answer: Any = None


@dataclass(frozen=True)
class Done:
    """A finished attempt. `seconds` is the work inside the worker; `log` is what it said meanwhile."""

    key: str
    attempt: int
    output: Output
    seconds: float
    node: str
    device: str
    log: str = ""


@dataclass(frozen=True)
class Failed:
    """A failed attempt.

    `reason` is `lost` (the worker or its node died), `preempted` (its node was being taken away), `late`
    (there was no result within the job's limit), `error` (the task raised), `memory` (there was too little),
    `store` (the worker could not use the shared store: it raised an error whose class has a true `store`
    attribute) or `hopeless` (one whose class has a true `hopeless` attribute: the same bits would fail
    again). `shared` says that the error's class has a true attribute of that name: every other job that reads
    the same input fails alike. `log` is what the worker said meanwhile, and the traceback of what it raised.
    """

    key: str
    attempt: int
    reason: Literal["lost", "preempted", "late", "error", "memory", "store", "hopeless"]
    error: str
    seconds: float
    node: str = ""
    device: str = ""
    shared: bool = False
    log: str = ""


Execute = Callable[[Job, Mapping[str, bytes]], Output]
Fetch = Callable[[str], bytes]


class Pool(Protocol):
    """Slots that run jobs. Results come in any order; each submitted attempt gives one event.

    An attempt that was given up (`late`) may give a second one, its answer after all.
    """

    @property
    def slots(self) -> int:
        """How many jobs run at once."""
        ...

    @property
    def memories(self) -> tuple[int, ...]:
        """Bytes of memory of each slot, where slots are on other machines; () where they share this one's."""
        ...

    def submit(self, job: Job, attempt: int) -> None:
        """Take a job. Never blocks; more jobs than slots wait their turn inside the pool."""
        ...

    def wait(self, timeout: float) -> list[Done | Failed]:
        """Events since the last call, waiting up to `timeout` seconds for the first of them."""
        ...

    def running(self) -> dict[str, float]:
        """For how many seconds each job at work has been so, by key; empty if no worker has one."""
        ...

    def close(self) -> None:
        """Cancel the jobs in flight and release all workers."""
        ...


@runtime_checkable
class Spread(Protocol):
    """A pool whose workers may be on other machines than the driver."""

    @property
    def spread(self) -> bool:
        """Whether they are, or may come to be."""
        ...

    def shares(self, place: str, file: str, text: str) -> bool:
        """Whether workers on several machines may use a store: a URL, or a folder that they see.

        A folder is seen by who finds `text` in its `file`. To others the pool gives jobs without the shelf.
        """
        ...


def failure(job: Job, attempt: int, error: Exception, seconds: float, **place: str) -> Failed:
    """The event for an exception that `execute` raised."""
    reason = "memory" if isinstance(error, MemoryError) else "error"
    reason = "store" if getattr(error, "store", False) else reason
    reason = "hopeless" if getattr(error, "hopeless", False) else reason
    shared = bool(getattr(error, "shared", False))
    trace = "".join(traceback.format_exception(error))
    return Failed(job.key, attempt, reason, described(error), seconds, **place, shared=shared, log=trace)


def described(error: Exception) -> str:
    """An error in words."""
    return f"{type(error).__name__}: {error}"


def attempt_job(
    execute: Execute, job: Job, attempt: int, read: Fetch, place: Mapping[str, str]
) -> Done | Failed:
    """Run a job here and now; `read` gives its inputs. Whatever the task raises becomes an event."""
    start = time.monotonic()
    try:
        output = execute(job, {name: read(name) for name in job.sent})
    except Exception as error:  # noqa: BLE001 - a task's error is the driver's to judge, in every pool alike
        return failure(job, attempt, error, time.monotonic() - start, **place)
    return Done(job.key, attempt, output, time.monotonic() - start, **place)


class Around:
    """A pool that hands everything on to another: what changes some of it overrides that alone."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @property
    def slots(self) -> int:
        """How many jobs run at once."""
        return self._pool.slots

    @property
    def memories(self) -> tuple[int, ...]:
        """Bytes of memory of each slot."""
        return self._pool.memories

    def submit(self, job: Job, attempt: int) -> None:
        """Take a job."""
        self._pool.submit(job, attempt)

    def wait(self, timeout: float) -> list[Done | Failed]:
        """The pool's events."""
        return self._pool.wait(timeout)

    def running(self) -> dict[str, float]:
        """How long each job has been at work."""
        return self._pool.running()

    def close(self) -> None:
        """Cancel what is in flight and give back all workers."""
        self._pool.close()


class InProcessPool:
    """One slot in this process, for tests and debugging: a job runs when its result is waited for.

    Nobody is left to end a job that hangs, so limits do not count here.

    >>> pool = InProcessPool(lambda job, blobs: Output(blobs={"b": blobs["a"] * 2}), {"a": b"x"}.__getitem__)
    >>> pool.submit(Job("k", "double", None, inputs=("a",)), attempt=1)
    >>> pool.wait(timeout=0)[0].output.blobs["b"]
    b'xx'
    """

    slots = 1
    memories = ()

    def __init__(self, execute: Execute, fetch: Fetch) -> None:
        self._execute = execute
        self._fetch = fetch
        self._waiting: deque[tuple[Job, int]] = deque()

    def submit(self, job: Job, attempt: int) -> None:
        """Queue a job."""
        self._waiting.append((job, attempt))

    def wait(self, timeout: float) -> list[Done | Failed]:  # noqa: ARG002
        """Run the oldest queued job now and return its event."""
        if not self._waiting:
            return []
        job, attempt = self._waiting.popleft()
        place = {"node": socket.gethostname(), "device": "cpu"}
        return [attempt_job(self._execute, job, attempt, self._fetch, place)]

    def running(self) -> dict[str, float]:
        """The job that is next."""
        return {job.key: 0.0 for job, _ in list(self._waiting)[:1]}

    def close(self) -> None:
        """Drop the jobs that have not run."""
        self._waiting.clear()
