"""A seventh kind of work, as one would add it: the number of parameters of every net at its last snapshot."""

from espalier.orchestrator.planning.cost import Cost
from espalier.orchestrator.planning.measure import Measure
from espalier.tasks.tables.columns import INTEGER, KEY
from espalier.tasks.tables.table import TableSpec


class ParameterCounts(Measure):
    name, units = "count_parameters", "counts"
    work = "tests.orchestrator.toy_kind.count_job:count_parameters"
    tables = ("parameter_counts",)
    own_tables = (TableSpec("parameter_counts", (KEY, ("parameters", INTEGER, "numbers in a net")), "net"),)

    def measurements(self, scope):
        return [self.of(ladder[-1]) for ladder in scope.ladders]

    def cost(self, measurement, facts):
        return Cost(1e3, 100, 2**20)


PARAMETER_COUNTS = ParameterCounts()
