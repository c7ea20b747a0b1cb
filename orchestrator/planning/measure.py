"""A measure: a kind of work that is done of snapshots alone, where `sweep.measures` names it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from espalier.cluster.pool import Job
from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.planning.cost import Cost
from espalier.orchestrator.planning.identity import content_key
from espalier.orchestrator.planning.kind import Kind, Scope, UnitKind
from espalier.orchestrator.planning.task import Task
from espalier.tasks.data.images import DataFacts
from espalier.tasks.spec import Measurement, Snapshot, blob_name
from espalier.tasks.tables.schemas import ROW_IDENTITY


class Measure(UnitKind[Measurement]):
    """A kind of work of which each unit is a job of its own, given a `tasks.spec.Measurement`.

    A folder that is finished gets no work from a measure that is registered later: only `sweep.measures`
    asks for it, and it may be named there at any time.
    """

    @abstractmethod
    def measurements(self, scope: Scope) -> Sequence[Measurement]:
        """All results of a sweep, each made by `of`.

        Raises:
            ConfigError: The config asks for what cannot be.
        """

    @abstractmethod
    def cost(self, measurement: Measurement, facts: DataFacts) -> Cost:
        """What one result costs."""

    def of(self, *snapshots: Snapshot, **settings: float | str) -> Measurement:
        """The result for these snapshots, in this order; its key covers them, the settings and `schema`."""
        key = content_key(self.name, settings, [snap.key for snap in snapshots], self.schema)
        return Measurement(key, snapshots, settings)

    def wanted(self, scope: Scope) -> Sequence[Measurement]:
        """The results, if the config names this measure."""
        return self.measurements(scope) if self.name in scope.config.sweep.measures else ()

    def jobs(self, units: Sequence[Measurement], scope: Scope) -> list[Task]:
        """A job each."""
        return [self.job_of([unit], scope.facts, scope.where) for unit in units]

    def job_of(self, units: Sequence[Measurement], facts: DataFacts, where: Mapping[str, Any]) -> Task:
        """The job of one result."""
        (unit,) = units
        inputs = tuple(blob_name(snap.key) for snap in unit.snapshots)
        nets = ", ".join(
            f"width {snap.net.width} seed {snap.net.seed} epoch {snap.epoch}" for snap in unit.snapshots
        )
        job = Job(unit.key, self.name, unit, inputs, dict(where))
        return Task(job, self.cost(unit, facts), f"{self.name} of {nets}")

    def units_of(self, task: Task) -> Sequence[Measurement]:
        """The one result of a job."""
        return (task.job.payload,)

    def refuse_answer(self, task: Task, tables: Mapping[str, Any]) -> None:
        """Refuse rows of another key, and none: the result would never count as done.

        Raises:
            ValueError: Says what was found.
        """
        for name in self.tables:
            (column,) = ROW_IDENTITY[name]
            found = sorted(set(tables[name][column].to_pylist())) if name in tables else []
            if found != [task.job.key]:
                raise ValueError(
                    f"a job of '{self.name}' must give rows of table '{name}' with its key {task.job.key}, "
                    f"found {', '.join(found) or 'none'}"
                )


def refuse_unknown_measures(config: SweepConfig, kinds: Iterable[Kind]) -> None:
    """Refuse a name in `sweep.measures` that no registered measure has.

    Raises:
        ConfigError: Names it, and those that there are.
    """
    known = sorted(kind.name for kind in kinds if isinstance(kind, Measure))
    unknown = sorted(set(config.sweep.measures) - set(known))
    if unknown:
        there = f"these are registered: {', '.join(known)}" if known else "none is registered"
        raise ConfigError(f"sweep.measures: found {unknown}, but {there}")
