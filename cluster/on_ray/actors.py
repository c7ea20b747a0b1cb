"""The slots of the pool on Ray: one actor each, and the calls that it has in flight."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray

from espalier.cluster.on_ray.worker_side import Worker
from espalier.cluster.pool import Execute, Job


@dataclass
class Call:
    """A job handed to an actor.

    Attributes:
        event: The reference of its packed event, which is ready when the call has ended, well or badly.
        blobs: References of as many blobs as the job may give, the last ones empty if it gave fewer.
        moved: It was taken back, and its job queued again.
        born: When it was handed over, in monotonic seconds.
    """

    job: Job
    attempt: int
    event: Any
    blobs: Sequence[Any] = ()
    moved: bool = False
    born: float = field(default_factory=time.monotonic)


@dataclass(eq=False)
class Slot:
    """An actor and the calls it holds, oldest first.

    `hello` is pending until the actor answers, who was asked for at `born`; from then on its `node` is known,
    the `memory` that it may use there, and whether it `sees` the store of the sweep. The oldest call has been
    at work since `since`.
    """

    actor: Any
    hello: Any
    born: float = field(default_factory=time.monotonic)
    node: str = ""
    memory: int = 0
    sees: bool = True
    place: dict[str, str] = field(default_factory=dict[str, str])
    calls: deque[Call] = field(default_factory=deque[Call])
    seen: frozenset[str] = frozenset()
    since: float = 0.0

    def run(self, returns: int, *sent: Any) -> list[Any]:
        """Have the actor `run` what is sent; references of so many objects that it gives."""
        call = self.actor.run.options(num_returns=returns).remote(*sent)
        return call if returns > 1 else [call]

    @property
    def awaited(self) -> Any:
        """The reference that tells of this slot's next news, or None while it idles."""
        # An actor runs its calls in order, so only the oldest one can end next.
        return self.hello or (self.calls[0].event if self.calls else None)

    def given(self, job: Job) -> Job:
        """A job as this actor gets it: without a shelf that it does not see."""
        return job if self.sees or job.shelf is None else replace(job, shelf=None)

    def overdue(self, now: float) -> bool:
        """Whether its oldest call has been at work for longer than the job's limit."""
        return bool(self.calls) and now - self.since > self.calls[0].job.limit


MakeSlot = Callable[[frozenset[str]], Slot]
"""Asks Ray for an actor on any node but some."""


def slot_maker(need: Mapping[str, float], threads: int, execute: str | Execute) -> MakeSlot:
    """How slots are made: with a share of a node, and so many threads, set before NumPy or torch load."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    actor: Any = ray.remote(
        num_cpus=need["CPU"],
        num_gpus=need["GPU"],
        memory=int(need["memory"]),
        max_restarts=0,
        max_task_retries=0,
        runtime_env={"env_vars": dict.fromkeys(names, str(threads))},
    )(Worker)

    def make(excluded: frozenset[str]) -> Slot:
        others = {"ray.io/node-id": f"!in({','.join(sorted(excluded))})"}
        options: dict[str, Any] = {"label_selector": others} if excluded else {}
        options["enable_task_events"] = False  # the head would keep some 3 KB of each call
        made = actor.options(**options).remote(execute, need["GPU"] > 0)
        return Slot(made, made.place.remote())

    return make
