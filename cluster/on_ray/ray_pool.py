"""The pool that runs jobs on Ray: one long-lived actor per slot, blobs through the object store.

Actors never restart and calls never retry by themselves:
the driver decides whether a lost job is tried again. Workers publish nothing; a worker that was
cut off and goes on working gives a result that nobody reads.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import ObjectLostError, OutOfMemoryError, RayError, RayTaskError, TaskCancelledError

from espalier.cluster.on_ray.actors import Call, Slot, actor_class
from espalier.cluster.on_ray.blob_cache import BlobCache
from espalier.cluster.on_ray.session import connect
from espalier.cluster.on_ray.slot_count import count_slots
from espalier.cluster.on_ray.worker_side import as_array
from espalier.cluster.pool import Done, Execute, Failed, Fetch, Job, failure

CALLS = 2
"""Calls in flight per actor: one runs, one waits with its inputs already brought to the node."""

START_FAILURES = 3
"""Actors in a row (or one per slot, if that is more) that may die before they answer; beyond it, give up."""

NEARBY = 16
"""How many of the oldest queued jobs are compared when a slot looks for inputs it has just had."""


class RayPool:
    """Slots on this machine's cores and GPUs, or on a cluster's.

    Args:
        execute: `"module:function"`, imported by each worker (best: no code travels), or a function.
        fetch: Reads a published blob; called in this process alone, so no shared disk is needed.
        address: A cluster to join (`"auto"` finds the one on this machine); by default RAY_ADDRESS,
            else a Ray of our own on localhost. A Ray that the caller has initialised is used as it is.
        slots: How many actors; by default as many as fit.
        gpus_per_slot: Whole GPUs, or a fraction of one.
        threads: Cores, and threads of OpenMP, MKL and OpenBLAS, per slot.
        memory_per_slot: Bytes that the scheduler sets aside for each actor.
        object_store_memory: Bytes of shared memory, for a Ray of our own.
        cache_bytes: Blobs kept in the object store; by default half of the smallest node's.
        start_timeout: Seconds without any live actor after which `wait` gives up.

    Raises:
        ValueError: The cluster has no room for the slots; Ray itself would wait for ever.
    """

    def __init__(
        self,
        execute: str | Execute,
        fetch: Fetch,
        *,
        address: str | None = None,
        slots: int | None = None,
        gpus_per_slot: float = 0.0,
        threads: int = 1,
        memory_per_slot: int | None = None,
        object_store_memory: int | None = None,
        cache_bytes: int | None = None,
        start_timeout: float = 600.0,
    ) -> None:
        self._execute = execute
        self._fetch = fetch
        self._start_timeout = start_timeout
        self._queue: deque[tuple[Job, int]] = deque()
        self._events: list[Done | Failed] = []
        self._slots: list[Slot] = []
        self._start_failures = 0
        self._alive_at = time.monotonic()
        need = {"CPU": float(threads), "GPU": gpus_per_slot, "memory": float(memory_per_slot or 0)}
        self._ours = connect(address, object_store_memory)
        try:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            count = count_slots(nodes, need, slots)
            store = min(node.get("object_store_memory", 0.0) for node in nodes)
            self._blobs = BlobCache(int(store / 2) if cache_bytes is None else cache_bytes)
            self._gpu = gpus_per_slot > 0
            self._actor = actor_class(need, threads)
            self._slots = [self._new_slot() for _ in range(count)]
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RayPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def slots(self) -> int:
        """How many jobs run at once."""
        return len(self._slots)

    def submit(self, job: Job, attempt: int) -> None:
        """Queue a job; `wait` hands it to an actor (its inputs may have to be fetched first)."""
        self._queue.append((job, attempt))

    def wait(self, timeout: float) -> list[Done | Failed]:
        """Hand out queued jobs and return the events of those that ended, waiting for the first.

        Raises:
            RuntimeError: No actor starts.
        """
        deadline = time.monotonic() + timeout
        while True:
            self._fill()
            if self._events:
                events, self._events = self._events, []
                return events
            if not self._ready(max(0.0, deadline - time.monotonic())):
                self._check_alive()
                return []
            self._collect()

    def close(self) -> None:
        """Kill the actors, and Ray too if this pool started it. May be called twice."""
        self._queue.clear()
        slots, self._slots = self._slots, []
        if not ray.is_initialized():
            return
        for slot in slots:
            ray.kill(slot.actor)
        self._blobs = BlobCache(0)
        if self._ours:
            self._ours = False
            ray.shutdown()

    # Handing out

    def _fill(self) -> None:
        """Give each live actor one call, then a second; move calls that wait to idle actors."""
        for held in range(CALLS):
            for slot in self._slots:
                if self._queue and not slot.hello and len(slot.calls) == held:
                    self._start(slot)
        idle = [slot for slot in self._slots if not slot.hello and not slot.calls]
        for slot, call in zip(idle, self._waiting_calls(), strict=False):
            self._move(call)
            self._start(slot)

    def _waiting_calls(self) -> list[Call]:
        return [call for slot in self._slots for call in list(slot.calls)[1:] if not call.moved]

    def _move(self, call: Call) -> None:
        """Take back a call that waits behind a running one.

        Ray drops a cancelled call only when its turn comes, so it stays in its actor's line and its
        result is ignored. If it began at this very moment, the job runs twice and counts once.
        """
        ray.cancel(call.stream)
        call.moved = True
        self._queue.append((call.job, call.attempt))

    def _start(self, slot: Slot) -> None:
        job, attempt = self._pick(slot)
        try:
            references = [self._reference(name) for name in job.inputs]
            stream = slot.actor.run.options(num_returns="streaming").remote(job, attempt, *references)
        except Exception as error:  # noqa: BLE001 - a blob that cannot be read fails its job, not the sweep
            self._events.append(failure(job, attempt, error, 0.0))
            return
        slot.seen = frozenset(job.inputs)
        slot.since = slot.since if slot.calls else time.monotonic()
        slot.calls.append(Call(job, attempt, stream, stream.completed()))

    def _pick(self, slot: Slot) -> tuple[Job, int]:
        """The queued job, among the oldest, that shares most inputs with the actor's last one."""
        shared = [len(slot.seen.intersection(job.inputs)) for job, _ in list(self._queue)[:NEARBY]]
        index = shared.index(max(shared))
        chosen = self._queue[index]
        del self._queue[index]
        return chosen

    def _reference(self, name: str) -> Any:
        reference = self._blobs.get(name)
        if reference is None:
            blob = self._fetch(name)
            reference = ray.put(as_array(blob))
            self._blobs.put(name, reference, len(blob))
        return reference

    # Taking back

    def _ready(self, timeout: float) -> list[Slot]:
        """Slots with an event, waiting up to `timeout` seconds for the first of them."""
        awaited = {slot.awaited: slot for slot in self._slots if slot.awaited is not None}
        if not awaited or not ray.wait(list(awaited), timeout=timeout)[0]:
            return []
        ready, _ = ray.wait(list(awaited), num_returns=len(awaited), timeout=0)
        return [awaited[reference] for reference in ready]

    def _collect(self) -> None:
        while ready := self._ready(0.0):
            for slot in ready:
                if slot.hello:
                    self._greet(slot)
                else:
                    self._take(slot)

    def _greet(self, slot: Slot) -> None:
        """Note that an actor has started, or put another in its place."""
        try:
            slot.place, slot.hello = ray.get(slot.hello), None
            self._start_failures = 0
        except RayError as error:
            self._start_failures += 1
            if self._start_failures >= max(START_FAILURES, len(self._slots)):
                last = str(error).splitlines()[-1]
                raise RuntimeError(
                    f"{self._start_failures} workers in a row died while starting. Check that `execute` "
                    f"({self._execute}) can be imported on every node. The last one said: {last}"
                ) from error
            self._replace(slot)

    def _take(self, slot: Slot) -> None:
        call = slot.calls.popleft()
        try:
            event = self._result(call)
        except RayError as error:
            event = self._broken(slot, call, error)
        slot.since = self._alive_at = time.monotonic()
        if not call.moved:
            self._events.append(event)

    def _result(self, call: Call) -> Done | Failed:
        """The worker's event with its blobs, whose references are kept for later jobs."""
        event, references = call.answer()
        if isinstance(event, Failed):
            return event
        blobs = {
            name: array.tobytes()
            for name, array in zip(references, ray.get(list(references.values())), strict=True)
        }
        for name, blob in blobs.items():
            self._blobs.put(name, references[name], len(blob))
        return replace(event, output=replace(event.output, blobs=blobs))

    def _broken(self, slot: Slot, call: Call, error: RayError) -> Failed:
        """The event for a call that gave no answer: what `execute` raises comes as an answer."""
        ended = {
            "key": call.job.key,
            "attempt": call.attempt,
            "seconds": time.monotonic() - slot.since,
            **slot.place,
        }
        # The first line says what happened; ids and advice follow over a kilobyte.
        text = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        if isinstance(error, RayTaskError) and not isinstance(error.cause, RayError):
            return Failed(reason="error", error=text, **ended)  # such as a job that cannot be unpickled
        # The next attempt reads from the durable store, for the lost thing may be an input.
        if not call.moved:
            self._blobs.drop(call.job.inputs)
        if not isinstance(error, RayTaskError | ObjectLostError | TaskCancelledError):
            self._replace(slot)
        return Failed(reason="memory" if isinstance(error, OutOfMemoryError) else "lost", error=text, **ended)

    # Actors

    def _new_slot(self) -> Slot:
        actor = self._actor.remote(self._execute, self._gpu)
        return Slot(actor, actor.place.remote())

    def _replace(self, slot: Slot) -> None:
        """Put a new actor in a slot. Jobs that the old actor had not begun go back to the queue."""
        ray.kill(slot.actor)  # it may be alive but cut off
        self._queue.extendleft((call.job, call.attempt) for call in slot.calls if not call.moved)
        self._slots[self._slots.index(slot)] = self._new_slot()

    def _check_alive(self) -> None:
        if not all(slot.hello for slot in self._slots):
            self._alive_at = time.monotonic()
        elif time.monotonic() - self._alive_at > self._start_timeout:
            raise RuntimeError(
                f"No worker has started for {self._start_timeout:.0f} s: the cluster's cores, GPUs or memory "
                "are held by others (see `ray status`). Free them, or ask for less per slot."
            )
