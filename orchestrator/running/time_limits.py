"""When a job is taken for hung: far beyond what it should take, by the cost model and the jobs seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import pyarrow as pa

from espalier.cluster.pool import Job
from espalier.orchestrator.planning.task import Task

LEAST_SECONDS = 600.0
"""No job is given less: a data set is read, kernels are compiled, the machine is busy with other things."""

FIRST_RATE = 1e10
"""Operations per second of a worker until a job of its kind was seen; the slowest kinds reach about that."""

SLACK = 20.0
"""A job may take so many times what is expected: a machine may be slow, or shared by many."""

PATIENCE = 4.0
"""After a try that ran into its limit the next may take so many times longer: the worker may be slow."""

MOST_LATE = 10
"""Tries that may have run into their limits before one that is still at work: with more it would be years."""

TOLD_AFTER_SECONDS = 60.0
"""A job that has been at work for longer is named as what is being waited for."""


class TimeLimits:
    """The limits of a run's jobs: a kind of job is as fast as those of the kind that have ended were."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, float]] = {}

    def done(self, task: Task, seconds: float) -> None:
        """Learn from a finished job."""
        flops, spent = self._seen.get(task.job.kind, (0.0, 0.0))
        self._seen[task.job.kind] = (flops + task.cost.flops, spent + seconds)

    def limited(self, task: Task, late: int = 0) -> Job:
        """The job with its need of memory and the limit of its next try; `late` tries ran into theirs."""
        flops, spent = self._seen.get(task.job.kind, (0.0, 0.0))
        rate = flops / spent if flops and spent else FIRST_RATE
        expected = SLACK * (task.cost.seconds + task.cost.flops / rate)
        limit = max(LEAST_SECONDS, expected) * PATIENCE**late
        return replace(task.job, limit=limit, memory=task.cost.memory)


def longest_attempt(tasks: Iterable[Task], log: pa.Table, attempts: int) -> float:
    """Seconds that no attempt of a run of this folder can have lasted, or can last, with so many `attempts`.

    `log` is table `jobs`: a run that is over may have had slower jobs than any that is planned now.
    """
    seconds = [task.cost.seconds + task.cost.flops / FIRST_RATE for task in tasks]
    if log.num_rows:
        longest, largest = (float(log[name].to_numpy().max()) for name in ("seconds", "flops"))
        seconds += longest, largest / FIRST_RATE
    late = min(attempts - 1, MOST_LATE)
    return max(LEAST_SECONDS, SLACK * max(seconds, default=0.0)) * PATIENCE**late


def waited_for(
    running: Mapping[str, float], tasks: Mapping[str, Task], duration: Callable[[float | None], str]
) -> str:
    """The job that has been at work for longest, in words, if that is long; or that no worker is at work.

    Args:
        running: Seconds at work by the jobs' keys.
        tasks: What is in flight, by key.
        duration: Says a time in words.
    """
    known = {key: seconds for key, seconds in running.items() if key in tasks}
    if not tasks:
        return ""
    if not running:
        return "a worker to start"
    key = max(known, key=known.__getitem__, default=None)
    if key is None or known[key] < TOLD_AFTER_SECONDS:
        return ""
    return f"{tasks[key].label} (at work for {duration(known[key])})"
