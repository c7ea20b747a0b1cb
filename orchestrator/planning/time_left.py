"""The time that is left, by the speed of the jobs that have ended: one rule for the progress and `status`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from espalier.orchestrator.planning.plan import Plan

ENOUGH_JOBS = 2
"""Jobs of a kind that must have ended before its speed is believed: the first pays for starts and caches."""


@dataclass(frozen=True)
class Worked:
    """What has ended of a kind of work: jobs, their operations, and the workers' seconds."""

    jobs: int = 0
    flops: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: Worked) -> Worked:
        """Both."""
        return Worked(self.jobs + other.jobs, self.flops + other.flops, self.seconds + other.seconds)


def worked(log: pa.Table) -> dict[str, Worked]:
    """What has ended well, by kind, as table `jobs` has it."""
    done = log.filter(pc.field("outcome") == "done").select(["kind", "flops", "seconds"])
    sums = done.group_by("kind").aggregate([("kind", "count"), ("flops", "sum"), ("seconds", "sum")])
    return {
        row["kind"]: Worked(row["kind_count"], row["flops_sum"], row["seconds_sum"])
        for row in sums.to_pylist()
    }


def flops_left(plan: Plan) -> dict[str, float]:
    """Operations of the missing jobs, by kind."""
    left = dict.fromkeys(plan.total, 0.0)
    for task in plan.tasks:
        left[task.job.kind] += task.cost.flops
    return left


def unseen(left: Mapping[str, float], ended: Mapping[str, Worked]) -> tuple[str, ...]:
    """The kinds of which work is `left` whose speed is not known yet."""
    return tuple(kind for kind, flops in left.items() if flops > 0 and not _known(ended.get(kind, Worked())))


def _known(ended: Worked) -> bool:
    return ended.jobs >= ENOUGH_JOBS and ended.flops > 0


def seconds_left(left: Mapping[str, float], ended: Mapping[str, Worked], slots: int) -> float | None:
    """Seconds of the work that is `left`, in operations by kind, shared by the slots.

    Each kind goes on at the speed of its jobs that have ended. None until that is known of every kind that is
    left (`unseen`).
    """
    if unseen(left, ended):
        return None
    rests = (ended[kind].seconds * flops / ended[kind].flops for kind, flops in left.items() if flops > 0)
    return sum(rests) / slots
