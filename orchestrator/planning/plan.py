"""The plan: which jobs are missing, as a pure function of the config and of what is there.

What is missing is a set difference over keys, kind by kind. How missing work is put together into jobs
changes no row.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.planning.identity import net_key, snapshot
from espalier.orchestrator.planning.idle_axes import refuse_idle_axes
from espalier.orchestrator.planning.kind import Choices, Have, Kind, Ladder, Scope, Share
from espalier.orchestrator.planning.kinds.registry import KINDS, kind_of
from espalier.orchestrator.planning.measure import refuse_unknown_measures
from espalier.orchestrator.planning.nets import nets, used
from espalier.orchestrator.planning.studies import choices as chosen_recipes
from espalier.orchestrator.planning.task import Limits, Task
from espalier.tasks.data.images import DataFacts
from espalier.tasks.spec import NetSpec

WORTH_TELLING = 0.05
"""Share of a job's memory from which one matrix is named as what asks for it."""


@dataclass(frozen=True)
class Plan:
    """What is to be done, and how much of the sweep is done already, in units by kind."""

    tasks: tuple[Task, ...]
    done: dict[str, int]
    total: dict[str, int]
    hopeless: tuple[str, ...] = field(default=())


def make_plan(
    config: SweepConfig,
    facts: DataFacts,
    have: Have,
    limits: Limits,
    where: Mapping[str, Any] | None = None,
    ways: Choices | None = None,
) -> Plan:
    """All missing jobs of a sweep.

    `facts` are of the whole data set; `where` goes into each job and changes no key, and neither does how
    nets are trained, by `ways`.

    Raises:
        ConfigError: The layer list makes no network, no image would be held back to choose a ridge, or one
            job alone exceeds a slot's memory.
    """
    return what_is_missing(scope_of(config, facts, have, limits, where or {}, ways or {})).plan()


@dataclass(frozen=True)
class Missing:
    """What a sweep lacks, by kind, before it is put together into jobs."""

    scope: Scope
    shares: Mapping[str, Share]

    def plan(self) -> Plan:
        """The jobs. Raises as `make_plan`."""
        tasks = tuple(task for kind in KINDS for task in self._jobs(kind))
        refuse_what_cannot_fit(tasks, self.scope.limits)
        shown = {
            kind.name: share for kind in KINDS if (share := self.shares[kind.name]).total or kind.always_shown
        }
        return Plan(
            tasks,
            done={name: share.done for name, share in shown.items()},
            total={name: share.total for name, share in shown.items()},
            hopeless=tuple(sorted(self.scope.hopeless)),
        )

    def _jobs(self, kind: Kind) -> list[Task]:
        missing = self.shares[kind.name].missing
        return kind.jobs(missing, self.scope) if len(missing) else []

    def on(self, limits: Limits, ways: Choices) -> Missing:
        """The same for other slots, and nets that are trained in other ways."""
        return replace(self, scope=replace(self.scope, limits=limits, ways=ways))


def what_is_missing(scope: Scope) -> Missing:
    """The set difference, kind by kind.

    Raises:
        ConfigError: The config asks for what cannot be.
    """
    shares: dict[str, Share] = {}
    # Those that read come before what they read: a checkpoint that is gone is made again if a job wants it.
    for kind in reversed(KINDS):
        shares[kind.name] = share = kind.share(scope)
        scope = replace(scope, read={*scope.read, *share.reads})
    return Missing(scope, shares)


def scope_of(
    config: SweepConfig,
    facts: DataFacts,
    have: Have,
    limits: Limits,
    where: Mapping[str, Any],
    ways: Choices,
) -> Scope:
    """The nets of a sweep with all that their plan is made from. Raises as `make_plan`."""
    costed = used(config, facts)
    refuse_idle_axes(config, facts)
    refuse_unknown_measures(config, KINDS)
    chosen = chosen_recipes(config, facts, have.tuned)
    ladders = [_ladder(net, config.train.snapshots) for net in nets(config, facts, chosen)]
    hopeless = {key for ladder in ladders for key in _from_first(ladder, have.hopeless)}
    return Scope(config, facts, costed, ladders, have, hopeless, limits, dict(where), ways)


def without(task: Task, lost: Collection[str], facts: DataFacts) -> Task | None:
    """A job without what needs a lost blob, or None if nothing is left (or it cannot be parted)."""
    return kind_of(task.job.kind).without(task, lost, facts)


def halves(task: Task, facts: DataFacts) -> tuple[Task, ...]:
    """A job as others that need less memory each, or () if there is no such way."""
    return kind_of(task.job.kind).halves(task, facts)


def _ladder(net: NetSpec, epochs: Sequence[int]) -> Ladder:
    key = net_key(net)
    return [snapshot(net, key, epoch) for epoch in epochs]


def _from_first(ladder: Ladder, hopeless: Collection[str]) -> list[str]:
    """Keys from the first snapshot on that can never be had: what lies after it cannot either."""
    keys = [snap.key for snap in ladder]
    first = next((index for index, key in enumerate(keys) if key in hopeless), len(keys))
    return keys[first:]


def refuse_what_cannot_fit(tasks: Sequence[Task], limits: Limits) -> None:
    """Raise ConfigError if a job needs more memory than any slot has; names the largest."""
    largest = max(tasks, key=lambda task: task.cost.memory, default=None)
    if largest is not None and largest.cost.memory > limits.largest:
        need, budget = largest.cost.memory / 2**30, limits.largest / 2**30
        raise ConfigError(
            f"run.memory_gib: '{largest.label}' needs {need:.2f} GiB in a slot{_widest(largest)}, "
            f"but a slot has {budget:.2f} GiB: use fewer slots, a larger machine, or smaller widths"
        )


def _widest(task: Task) -> str:
    """Of a job whose square matrices ask for so much, how wide they are."""
    dim = kind_of(task.job.kind).widest(task)
    square = 8 * dim**2
    if not dim or square < WORTH_TELLING * task.cost.memory:
        return ""
    return f" (a layer of it has {dim} patch dimensions: {square / 2**30:.2f} GiB for each of a few matrices)"
