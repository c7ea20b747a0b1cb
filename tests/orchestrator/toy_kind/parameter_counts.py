"""A seventh kind of work, as one would add it: the number of parameters of every net at its last snapshot."""

from dataclasses import dataclass

from espalier.cluster.pool import Job
from espalier.orchestrator.planning.cost import Cost
from espalier.orchestrator.planning.identity import content_key
from espalier.orchestrator.planning.kind import UnitKind
from espalier.orchestrator.planning.task import Task
from espalier.tasks.spec import Snapshot, blob_name
from espalier.tasks.tables.columns import INTEGER, KEY
from espalier.tasks.tables.table import TableSpec


@dataclass(frozen=True)
class Count:
    key: str
    snapshot: Snapshot

    @property
    def reads(self):
        return (self.snapshot,)


class ParameterCounts(UnitKind[Count]):
    name, units = "count_parameters", "counts"
    work = "tests.orchestrator.toy_kind.count_job:count_parameters"
    tables = ("parameter_counts",)
    own_tables = (TableSpec("parameter_counts", (KEY, ("parameters", INTEGER, "numbers in a net")), "net"),)

    def wanted(self, scope):
        last = [ladder[-1] for ladder in scope.ladders]
        return [Count(content_key(self.name, {}, [snap.key], self.schema), snap) for snap in last]

    def jobs(self, units, scope):
        return [self.job_of([unit], scope.facts, scope.where) for unit in units]

    def job_of(self, units, facts, where):
        (unit,) = units
        job = Job(unit.key, self.name, unit, (blob_name(unit.snapshot.key),), dict(where))
        return Task(job, Cost(1e3, 100, 2**20), f"count parameters of {unit.snapshot.net_key[:6]}")

    def units_of(self, task):
        return [task.job.payload]


PARAMETER_COUNTS = ParameterCounts()
