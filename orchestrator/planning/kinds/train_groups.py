"""How the nets that are to be trained share jobs: those of one recipe together in one job.

Which nets share a job changes no bit of theirs (`tasks.training.train`), so groups are cut as memory and
slots want.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from espalier.cluster.pool import Job
from espalier.orchestrator.planning.identity import group_key, probe_key
from espalier.orchestrator.planning.kind import SINGLY, Choice, Choices
from espalier.orchestrator.planning.kinds.train_cost import train_cost, train_seconds
from espalier.orchestrator.planning.task import Limits, Task
from espalier.tasks.data.images import DataFacts
from espalier.tasks.grafting.tile_parts import groups
from espalier.tasks.spec import (
    ALONE,
    Snapshot,
    TrainGroup,
    TrainMode,
    TrainSegment,
    blob_name,
    mode_of,
    segments_of,
    state_name,
)


@dataclass(frozen=True)
class Rung:
    """A segment, and the snapshot whose state it goes on from."""

    segment: TrainSegment
    start: Snapshot | None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The state that it reads."""
        return (state_name(self.start.key),) if self.start else ()


Chain = Sequence[Rung]
"""The segments of one net, in order."""


def train_tasks(
    chains: Sequence[Chain], choices: Choices, facts: DataFacts, limits: Limits, where: Mapping[str, Any]
) -> list[Task]:
    """The jobs of all chains, those of nets that may be trained together in one."""
    device = where.get("device", "cpu")
    work = sum(_seconds(chain, facts) for chain in chains) / max(1, limits.slots)
    tasks: list[Task] = []
    for alike in _alike(chains):
        choice = _allowed(choices.get(probe_key(_net(alike[0]), device), SINGLY), where)
        choice = _affordable(alike[0], choice, facts, limits)
        how = {**where, "train_mode": astuple(choice.mode)} if choice.mode != ALONE else dict(where)
        for some in _blocks(alike, choice, facts, limits, work):
            tasks += [train_task(rungs, facts, how) for rungs in zip(*some, strict=True)]
    return tasks


def _allowed(choice: Choice, where: Mapping[str, Any]) -> Choice:
    """The choice, or without compiled kernels the plain way in its layout."""
    off = where.get("kernels") == "off"
    return replace(choice, mode=replace(choice.mode, compiled=False)) if off else choice


def _affordable(chain: Chain, choice: Choice, facts: DataFacts, limits: Limits) -> Choice:
    """The choice, or the plainest way in its layout if not even one net fits the memory by it."""
    largest = max(chain, key=lambda rung: rung.segment.snapshot.epoch).segment
    plain = plainest(choice.mode)
    if choice.mode != plain and train_cost([largest], facts, choice.mode).memory > limits.memory:
        return Choice(plain)
    return choice


def plainest(mode: TrainMode) -> TrainMode:
    """What takes least memory: a net by itself, without a copy beside it or transformed filters."""
    return replace(mode, grouped=False, compiled=False)


def _alike(chains: Sequence[Chain]) -> list[list[Chain]]:
    """Chains by what must be the same in a group, and by their epochs, so that no net waits for another."""
    found: dict[object, list[Chain]] = defaultdict(list)
    for chain in chains:
        kind, first = replace(_net(chain), seed=0, order=(), tuning=None), chain[0].segment.start
        ends = tuple((rung.segment.snapshot.epoch, rung.segment.keep_state) for rung in chain)
        found[kind, first, ends].append(chain)
    return list(found.values())


def _net(chain: Chain) -> Any:
    return chain[0].segment.snapshot.net


def _blocks(
    alike: Sequence[Chain], choice: Choice, facts: DataFacts, limits: Limits, work: float
) -> list[list[Chain]]:
    """The largest blocks of chains that fit the memory, of which none is more than a slot's share of all."""
    size = min(choice.nets, len(alike)) if choice.mode.grouped else 1
    while size > 1 and not _fits(alike[:size], facts, limits, work):
        size = -(-size // 2)
    return [list(some) for some in groups(list(alike), size)]


def _fits(some: Sequence[Chain], facts: DataFacts, limits: Limits, work: float) -> bool:
    # Half of eight equal numbers is less than the sum of four of them, by rounding, for some numbers.
    if sum(_seconds(chain, facts) for chain in some) > (1.0 + 1e-9) * work:
        return False
    largest = [max(chain, key=lambda rung: rung.segment.snapshot.epoch).segment for chain in some]
    return train_cost(largest, facts).memory <= limits.memory


def _seconds(chain: Chain, facts: DataFacts) -> float:
    return sum(train_seconds(rung.segment, facts) for rung in chain)


def train_task(rungs: Sequence[Rung], facts: DataFacts, where: Mapping[str, Any]) -> Task:
    """One job of one net's segment, or of several nets'."""
    segments = [rung.segment for rung in rungs]
    inputs = tuple(name for rung in rungs for name in rung.inputs)
    return _task(segments, inputs, facts, where)


def _task(
    segments: Sequence[TrainSegment], inputs: tuple[str, ...], facts: DataFacts, where: Mapping[str, Any]
) -> Task:
    keys = [segment.snapshot.key for segment in segments]
    produces = tuple(name for segment in segments for name in blobs_of(segment))
    key, payload = keys[0], segments[0]
    if len(segments) > 1:
        key, payload = group_key(keys), TrainGroup(tuple(segments))
    job = Job(key, "train", payload, inputs, dict(where), gives=len(produces))
    cost = train_cost(segments, facts, mode_of(where))
    return Task(job, cost, _label(segments), produces, len(segments))


def _label(segments: Sequence[TrainSegment]) -> str:
    snap = segments[0].snapshot
    seeds = " ".join(str(segment.snapshot.net.seed) for segment in segments)
    return f"train width {snap.net.width} seed{'s' * (len(segments) > 1)} {seeds} to epoch {snap.epoch}"


def segment_label(segment: TrainSegment) -> str:
    """One segment of a group in words."""
    return _label([segment])


def blobs_of(segment: TrainSegment) -> tuple[str, ...]:
    """What a segment gives."""
    key = segment.snapshot.key
    return (blob_name(key), state_name(key)) if segment.keep_state else (blob_name(key),)


def some_of(task: Task, kept: Sequence[TrainSegment], facts: DataFacts) -> Task:
    """A training job's part with some of its segments, in their order."""
    segments, inputs = segments_of(task.job.payload), task.job.inputs
    by_segment = dict(zip(segments, inputs, strict=True)) if inputs else {}
    read = tuple(by_segment[segment] for segment in kept) if inputs else ()
    return _task(kept, read, facts, task.job.where)


def without_states(task: Task, lost: Collection[str], facts: DataFacts) -> Task | None:
    """A group without the nets whose states are lost, or None if nothing is left."""
    segments = segments_of(task.job.payload)
    kept = [segment for segment, name in zip(segments, task.job.inputs, strict=False) if name not in lost]
    return some_of(task, kept, facts) if kept else None


def halves(task: Task, facts: DataFacts) -> tuple[Task, ...]:
    """A group as two of half its nets, one net as plain as can be, or () if nothing can be left out."""
    segments, mode = segments_of(task.job.payload), mode_of(task.job.where)
    middle = -(-len(segments) // 2)
    if len(segments) < 2:
        plain = plainest(mode)
        singly = {**task.job.where, "train_mode": astuple(plain)}
        return (_task(segments, task.job.inputs, facts, singly),) if segments and mode != plain else ()
    return some_of(task, segments[:middle], facts), some_of(task, segments[middle:], facts)
