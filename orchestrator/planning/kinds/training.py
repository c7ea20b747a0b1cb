"""The kind `train`: the snapshots of every net, each from the last state of its optimizer before it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from espalier.cluster.pool import Job
from espalier.orchestrator.planning.cost import Cost
from espalier.orchestrator.planning.kind import Have, Kind, Ladder, Scope, Share
from espalier.orchestrator.planning.kinds.train_groups import (
    Chain,
    Rung,
    blobs_of,
    halves,
    segment_label,
    train_tasks,
    without_states,
)
from espalier.orchestrator.planning.task import Task
from espalier.tasks.data.images import DataFacts
from espalier.tasks.spec import Snapshot, TrainSegment, blob_name, mode_of, segments_of, state_name


class Training(Kind):
    """Snapshots, which all other work reads."""

    name, units = "train", "snapshots"
    work = "espalier.tasks.jobs.train_job:train_nets"
    tables = ("curves", "nets")
    gemm_share = 0.8  # at width 64 on mnist5k, an Intel Xeon; narrower nets by the seconds of their steps
    others_wait = always_shown = names_its_blobs = True
    may_change = frozenset(
        {"sweep.widths", "sweep.seeds", "sweep.cross", "sweep.settings", "train.snapshots"}
    )

    def share(self, scope: Scope) -> Share:
        """The segments that bring what is missing, and checkpoints that are read and gone, by net."""
        chains = [chain for ladder in scope.ladders if (chain := _chain(ladder, scope))]
        snapshots = [snap for ladder in scope.ladders for snap in ladder]
        planned = {rung.segment.snapshot.key for chain in chains for rung in chain}
        # A snapshot that is trained again for its checkpoint's sake counts when that is done, and once.
        trained = sum(has_rows(snap, scope.have) and snap.key not in planned for snap in snapshots)
        return Share(chains, trained, len(snapshots))

    def jobs(self, units: Sequence[Chain], scope: Scope) -> list[Task]:
        """Segments, those of nets that may be trained together in one job."""
        return train_tasks(units, scope.ways, scope.facts, scope.limits, scope.where)

    def without(self, task: Task, lost: Collection[str], facts: DataFacts) -> Task | None:
        """A group without the nets whose optimizer's state is lost."""
        return without_states(task, lost, facts)

    def halves(self, task: Task, facts: DataFacts) -> tuple[Task, ...]:
        """A group as two of half its nets, one net as plain as can be."""
        return halves(task, facts)

    def failed_parts(self, task: Task, failed: Collection[str]) -> list[Task]:
        """The nets that diverged, each as a job; their operations are counted with the group's."""
        return [
            _part(segment, task)
            for segment in segments_of(task.job.payload)
            if segment.snapshot.key in failed
        ]

    def used_up(self, task: Task) -> tuple[str, ...]:
        """The states that a segment went on from."""
        return task.job.inputs

    def mode(self, task: Task) -> str:
        """Such as `grouped channels_last x8`."""
        return mode_of(task.job.where).of(task.size)


def has_rows(snap: Snapshot, have: Have) -> bool:
    """Whether the rows that training writes for a snapshot are there."""
    curve = snap.epoch == 0 or have.has("curves", snap.net_key, snap.epoch)
    return curve and have.has("nets", snap.key)


def _part(segment: TrainSegment, task: Task) -> Task:
    job = Job(segment.snapshot.key, task.job.kind, segment, (), task.job.where)
    return Task(job, Cost(0.0, 0, 0), segment_label(segment), blobs_of(segment))


def _chain(ladder: Ladder, scope: Scope) -> Chain:
    """The segments that bring a net's missing snapshots, from the last optimizer state before them."""
    have = scope.have
    needed = [
        snap
        for snap in ladder
        if snap.key not in scope.hopeless
        and (not has_rows(snap, have) or (snap.key in scope.read and blob_name(snap.key) not in have.blobs))
    ]
    if not needed:
        return []
    before = [snap for snap in ladder if snap.epoch < needed[0].epoch and state_name(snap.key) in have.blobs]
    starts = [before[-1] if before else None, *needed[:-1]]
    return [
        Rung(TrainSegment(snap, start.epoch if start else None, keep_state=snap is not needed[-1]), start)
        for snap, start in zip(needed, starts, strict=True)
    ]


TRAINING = Training()
