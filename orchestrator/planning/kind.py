"""The one face of a kind of work: what a sweep wants of it, how that becomes jobs, and what does them.

Plan, driver, worker, progress, simulation, record and store loop over the registered kinds
(`orchestrator.planning.kinds.registry`) and know none by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.orchestrator.config.tune_space import Parameters
from espalier.orchestrator.planning.task import Limits, Task
from espalier.orchestrator.planning.units import Mask, U, Units, as_units
from espalier.tasks.data.images import DataFacts
from espalier.tasks.spec import Snapshot, TrainMode, blob_name
from espalier.tasks.tables.table import TableSpec

Ladder = Sequence[Snapshot]
"""The snapshots of one net, in the order of their epochs."""


@runtime_checkable
class ManyPieces(Protocol):
    """A set of pieces of work that answers for many keys at once."""

    def missing(self, keys: NDArray[np.bytes_]) -> Mask:
        """Which of the keys are not there."""
        ...


@dataclass(frozen=True)
class Have:
    """What a sweep's folder holds.

    Attributes:
        present: Per table, the identities of the pieces of work whose rows are there.
        blobs: Names of checkpoints.
        hopeless: Keys of snapshots that can never be had, since training diverged.
        tuned: What was chosen, by the key of the study.
        trials: How many trials count already, by the key of the study.
    """

    present: Mapping[str, Collection[tuple[Any, ...]]] = field(
        default_factory=dict[str, Collection[tuple[Any, ...]]]
    )
    blobs: Collection[str] = frozenset()
    hopeless: Collection[str] = frozenset()
    tuned: Mapping[str, Parameters] = field(default_factory=dict[str, Parameters])
    trials: Mapping[str, int] = field(default_factory=dict[str, int])

    def has(self, table: str, *identity: Any) -> bool:
        """Whether the rows of a piece of work are in a table."""
        return identity in self.present.get(table, ())

    def lacks(self, table: str, keys: NDArray[np.bytes_]) -> Mask:
        """Of the keys of some pieces of work, whose rows are not in a table."""
        present = self.present.get(table, ())
        if isinstance(present, ManyPieces):
            return present.missing(keys)
        return np.array([(key.decode(),) not in present for key in keys.tolist()], np.bool_)


@dataclass(frozen=True)
class Choice:
    """How nets are trained: the mode, and how many together at most."""

    mode: TrainMode = TrainMode()  # noqa: RUF009 - frozen
    nets: int = 1


Choices = Mapping[str, Choice]
"""By `probe_key`; what is not there is trained `SINGLY`."""

SINGLY = Choice()


@dataclass(frozen=True)
class Scope:
    """What the plan of a kind is made from.

    Attributes:
        config: The sweep.
        images: The facts of the whole data set, as the config of a study wants them.
        facts: The facts of the images that the limits leave: what work costs.
        ladders: The snapshots of every net of the sweep.
        have: What is there.
        hopeless: Keys of all snapshots that can never be had, those after a diverged one included.
        limits: Memory of a slot, and the number of slots.
        where: Goes into each job, and changes no key.
        ways: How nets are trained.
        read: Keys of the snapshots that jobs of other kinds read.
    """

    config: SweepConfig
    images: DataFacts
    facts: DataFacts
    ladders: Sequence[Ladder]
    have: Have
    hopeless: Collection[str]
    limits: Limits
    where: Mapping[str, Any]
    ways: Choices = field(default_factory=dict[str, Choice])
    read: Collection[str] = frozenset()


@dataclass(frozen=True)
class Share:
    """A kind's part of a sweep: what is missing and can be had, and what that reads; units done of how many.

    What is missing is for the kind's own `jobs` alone.
    """

    missing: Sequence[Any] = ()
    done: int = 0
    total: int = 0
    reads: frozenset[str] = frozenset()


class Kind:
    """A kind of work: a value of this class, or of `UnitKind`, stands in the registry.

    What a kind does not say stays as it is here.

    Attributes:
        name: Of its jobs, in table `jobs` and in the progress.
        units: What people count of it, in the plural, such as `pairs`.
        work: `"module:function"` that does a job in a worker (`tasks.jobs.worker_inputs`).
        schema: Goes into the keys of its units; bumped by hand when their results change their meaning.
        tables: Where a unit that is done has rows, in the order in which they are published.
        own_tables: Definitions of tables that exist for this kind alone.
        gemm_share: Share of a float32 GEMM's rate that its jobs reach where none was measured yet; None if
            plans have no jobs of it.
        others_wait: Whether other kinds wait for it, so that its jobs come first.
        always_shown: Whether it is counted even where nothing is wanted of it.
        failures_are_told: Whether `status` tells what failed: of a trial a failure is a result.
        names_its_blobs: Whether its rows say which files its blobs are, so that workers may write them to a
            shared store by themselves; the blobs of other kinds go through the driver.
        may_change: Fields of the config that may be changed in a folder that holds results.
    """

    name: str
    units: str
    work: str
    schema: int = 1
    tables: tuple[str, ...] = ()
    own_tables: tuple[TableSpec, ...] = ()
    gemm_share: float | None = 0.1
    others_wait: bool = False
    always_shown: bool = False
    failures_are_told: bool = True
    names_its_blobs: bool = False
    may_change: frozenset[str] = frozenset()

    def share(self, scope: Scope) -> Share:  # noqa: ARG002
        """What is missing, and the counts.

        Raises:
            ConfigError: The config asks for what cannot be.
        """
        return Share()

    def jobs(self, units: Any, scope: Scope) -> list[Task]:  # noqa: ARG002
        """What is missing (`Share`) as jobs that fit a slot's memory and leave no slot idle."""
        return []

    def idle(self, config: SweepConfig) -> frozenset[str]:  # noqa: ARG002
        """Fields of the config that change nothing, since this sweep has no such work."""
        return frozenset()

    def without(self, task: Task, lost: Collection[str], facts: DataFacts) -> Task | None:  # noqa: ARG002
        """A job without what needs a lost blob, or None if nothing is left."""
        return None

    def halves(self, task: Task, facts: DataFacts) -> tuple[Task, ...]:  # noqa: ARG002
        """A job as others that need less memory each, or () if there is no such way."""
        return ()

    def failed_parts(self, task: Task, failed: Collection[str]) -> list[Task]:  # noqa: ARG002
        """Of a job that is done, the units with these keys that can never be had, each as a job."""
        return []

    def refuse_answer(self, task: Task, tables: Mapping[str, Any]) -> None:
        """Refuse tables of a job that do not hold what it was asked for, before they are published.

        Raises:
            ValueError: They do not; says what was found.
        """

    def used_up(self, task: Task) -> tuple[str, ...]:  # noqa: ARG002
        """Blobs that nobody needs once a job is done."""
        return ()

    def mode(self, task: Task) -> str:  # noqa: ARG002
        """How a job computes, for table `jobs`."""
        return ""

    def widest(self, task: Task) -> int:  # noqa: ARG002
        """The largest patch dimension d of a job's square matrices; 0 where it has none."""
        return 0


class UnitKind(Kind, ABC, Generic[U]):
    """A kind whose units are pure functions of snapshots, so that the plan is a set difference over keys."""

    @abstractmethod
    def wanted(self, scope: Scope) -> Sequence[U]:
        """All units that the config asks for, each once, whether they are there or not.

        Raises:
            ConfigError: The config asks for what cannot be.
        """

    @abstractmethod
    def jobs(self, units: Units[U], scope: Scope) -> list[Task]:
        """Units as jobs that fit a slot's memory and leave no slot idle."""

    @abstractmethod
    def job_of(self, units: Sequence[U], facts: DataFacts, where: Mapping[str, Any]) -> Task:
        """One job of units that may share one."""

    @abstractmethod
    def units_of(self, task: Task) -> Sequence[U]:
        """The units of a job."""

    def done_in(self, config: SweepConfig) -> tuple[str, ...]:  # noqa: ARG002
        """The tables that all have rows of a unit which is done."""
        return self.tables

    def share(self, scope: Scope) -> Share:
        """The units that are missing and can be had, and the counts."""
        units, tables = as_units(self.wanted(scope)), self.done_in(scope.config)
        keys, missing = units.keys, np.zeros(len(units), np.bool_)
        for name in tables:
            there = np.flatnonzero(~missing)
            missing[there] = scope.have.lacks(name, keys[there])
        possible = units.that(missing & ~units.reading(lambda snap: snap.key in scope.hopeless))
        return Share(
            possible,
            done=len(units) - int(missing.sum()),
            total=len(units),
            reads=possible.reads,
        )

    def without(self, task: Task, lost: Collection[str], facts: DataFacts) -> Task | None:
        """A job without the units that read a lost snapshot, or None if none is left."""
        units = as_units(self.units_of(task))
        kept = units.that(~units.reading(lambda snap: blob_name(snap.key) in lost))
        return self.job_of(kept, facts, task.job.where) if len(kept) else None
