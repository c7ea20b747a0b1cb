"""The pool that runs jobs on Ray: one long-lived actor per slot, blobs through the object store.

Actors never restart and calls never retry by themselves:
the driver decides whether a lost job is tried again. Workers publish no rows; a worker that was
cut off and goes on working gives a result that nobody reads.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Literal

import ray

from espalier.cluster.on_ray import session
from espalier.cluster.on_ray.actors import Slot, slot_maker
from espalier.cluster.on_ray.answering import Watch
from espalier.cluster.on_ray.ask_nodes import alive
from espalier.cluster.on_ray.blob_cache import BlobCache
from espalier.cluster.on_ray.crew import Crew
from espalier.cluster.on_ray.dispatch import Dispatch
from espalier.cluster.on_ray.gpu_share import share_here
from espalier.cluster.on_ray.nodes import Nodes
from espalier.cluster.on_ray.slot_count import count_slots
from espalier.cluster.pool import Done, Execute, Failed, Fetch, Job

RESTARTS = 3
"""How often a Ray of our own that dies is started anew before a job ends in between."""

OTHERS_PATIENCE = 15.0
"""Seconds for which the head of a cluster may be gone, which others may start anew."""


PAUSE_SECONDS = 0.5


def to_stderr(line: str) -> None:
    """Tell the user at once; a live display lets the line pass."""
    sys.stderr.write(f"{line}\n")


class RayPool:
    """Slots on this machine's cores and GPUs, or on a cluster's.

    Args:
        execute: `"module:function"`, imported by each worker (best: no code travels), or a function.
        fetch: Reads a published blob; called in this process alone, so no shared disk is needed.
        address: A cluster to join (`"auto"` finds the one on this machine); by default RAY_ADDRESS,
            else a Ray of our own on localhost. A Ray that the caller has initialised is used as it is.
        slots: How many actors; by default as many as fit, also on nodes that join later.
        gpus_per_slot: Whole GPUs, a fraction of one, or "auto": as many slots a GPU as its memory and the
            cores allow (`cluster.on_ray.gpu_share`).
        largest_job: Bytes that the largest job needs, for "auto".
        threads: Cores, and threads of OpenMP, MKL and OpenBLAS, per slot.
        memory_per_slot: Bytes that the scheduler sets aside for each actor.
        object_store_memory: Bytes of shared memory, for a Ray of our own.
        cache_bytes: Blobs kept in the object store; by default half of the smallest node's.
        start_timeout: Seconds without any live actor after which `wait` gives up.
        tell: Takes lines for the user: what became of nodes, workers and Ray itself.

    Raises:
        ValueError: The cluster has no room for the slots; Ray itself would wait for ever.
        ConnectionError: No Ray answers at the address.
        RuntimeError: Ray does not start.
    """

    def __init__(
        self,
        execute: str | Execute,
        fetch: Fetch,
        *,
        address: str | None = None,
        slots: int | None = None,
        gpus_per_slot: float | Literal["auto"] = 0.0,
        largest_job: int = 0,
        threads: int = 1,
        memory_per_slot: int | None = None,
        object_store_memory: int | None = None,
        cache_bytes: int | None = None,
        start_timeout: float = 600.0,
        tell: Callable[[str], object] = to_stderr,
    ) -> None:
        self._execute, self._fetch, self._tell = execute, fetch, tell
        self._start_timeout, self._threads, self._wanted = start_timeout, threads, slots
        self._gpus, self._largest = gpus_per_slot, largest_job
        gpus = 0.0 if gpus_per_slot == "auto" else gpus_per_slot
        self._need = {"CPU": float(threads), "GPU": gpus, "memory": float(memory_per_slot or 0)}
        self._address, self._store, self._cache = address, object_store_memory, cache_bytes
        self._restarts = 0
        crew, blobs = self._begin()
        self._dispatch = Dispatch(crew, blobs, fetch, session.missing)

    def _begin(self) -> tuple[Crew, BlobCache]:
        """Connect to Ray, and ask it for the workers."""
        self._connected = session.connect(self._address, self._store)
        try:
            told = ray.nodes()
            nodes = [node["Resources"] for node in told if node["Alive"]]
            if self._gpus == "auto":
                self._need["GPU"] = share_here(self._largest, told)
            count = count_slots(nodes, self._need, self._wanted)
            store = min(node.get("object_store_memory", 0.0) for node in nodes)
            self._ours = self._connected and session.is_own()
            self._watch = Watch(session.missing, 0.0 if self._ours else OTHERS_PATIENCE)
            make = slot_maker(self._need, self._threads, self._execute)
            grows, nodes = self._wanted is None, Nodes(self._need)
            crew = Crew(make, count, grows, nodes, self._execute, self._start_timeout, self._tell)
        except BaseException:
            self._leave()
            raise
        return crew, BlobCache(int(store / 2) if self._cache is None else self._cache)

    def __enter__(self) -> RayPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _slots(self) -> list[Slot]:
        return self._dispatch.crew.slots

    @property
    def slots(self) -> int:
        """How many jobs run at once."""
        return len(self._slots)

    @property
    def spread(self) -> bool:
        """See `cluster.pool.Spread`: a Ray of our own is on this machine alone."""
        return not self._ours

    def shares(self, place: str, file: str, text: str) -> bool:
        """See `cluster.pool.Spread`."""
        if "://" in place:
            return True
        if len(alive()) < 2:  # the driver's own disk, as far as anybody knows
            return False
        self._dispatch.crew.shelf = (f"{place}/{file}", text)
        return True

    @property
    def memories(self) -> tuple[int, ...]:
        """Bytes of each slot that has room on a node of a cluster; () for a Ray of our own."""
        return () if self._ours else self._dispatch.crew.memories()

    def submit(self, job: Job, attempt: int) -> None:
        """Queue a job; `wait` hands it to an actor (its inputs may have to be fetched first)."""
        self._dispatch.submit(job, attempt)

    def running(self) -> dict[str, float]:
        """For how many seconds each job at work has been so, by key."""
        return self._dispatch.running()

    def wait(self, timeout: float) -> list[Done | Failed]:
        """Hand out queued jobs and return the events of those that ended, waiting for the first.

        Raises:
            RuntimeError: No actor starts, or Ray is gone for good.
        """
        deadline = time.monotonic() + timeout
        while True:
            if what := self._watch.gone():
                self._begin_again(what)
            if self._watch.absent:  # whatever is asked of Ray now would hang
                time.sleep(min(PAUSE_SECONDS, timeout))
                return []
            try:
                if not self._step(max(0.0, deadline - time.monotonic())):
                    events, self._dispatch.events = self._dispatch.events, []
                    if any(isinstance(event, Done) for event in events):
                        self._restarts = 0
                    return events
            except Exception:
                if not self._watch.look():
                    raise

    def _step(self, timeout: float) -> bool:
        """Hand out, and take what is ready within the timeout; false if there is no more to wait for."""
        self._dispatch.crew.check()
        self._dispatch.end_late()
        self._dispatch.hear_late()
        self._dispatch.fill()
        if self._dispatch.events:
            return False
        patience = self._dispatch.patience()
        ready = self._dispatch.ready(min(timeout, patience))
        if not ready:
            return patience < timeout
        self._dispatch.collect(ready)
        return True

    def close(self) -> None:
        """Kill the actors, and Ray too if this pool started it. May be called twice."""
        self._dispatch.queue.clear()
        if ray.is_initialized() and not session.missing():
            self._dispatch.crew.close()
        self._dispatch.crew.slots, self._dispatch.blobs = [], BlobCache(0)
        self._leave()

    def _leave(self) -> None:
        if self._connected:
            self._connected = False
            session.disconnect()

    def _begin_again(self, what: str) -> None:
        """Start a Ray of our own anew: what it had in hand is queued again, as the attempts that they are.

        Raises:
            RuntimeError: The Ray is not our own, or dies again and again.
        """
        if not self._ours:
            raise RuntimeError(
                f"{what} is gone: the cluster has ended, or this machine is cut off from it. Finished work "
                f"is kept; start the cluster and run again{session.where()}"
            )
        self._restarts += 1
        if self._restarts > RESTARTS:
            raise RuntimeError(
                f"{what} has died {self._restarts} times, and no job ended in between. Is this machine out "
                f"of memory? Finished work is kept; ask for fewer slots and run again{session.where()}"
            )
        self._tell(f"{what} has died; Ray is started anew, and the jobs that it had are run again")
        self._leave()
        self._dispatch.begin_again(*self._begin())
