"""The kind `ensembles`: the nets of a width together, and their distance from the widest (docs/method.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from espalier.orchestrator.planning.cost import Cost
from espalier.orchestrator.planning.kind import Ladder, Scope
from espalier.orchestrator.planning.kinds.pair_blocks import alive, ladder_groups
from espalier.orchestrator.planning.kinds.similarity_cost import ensembles_cost
from espalier.orchestrator.planning.measure import Measure
from espalier.orchestrator.planning.task import Task
from espalier.tasks.data.images import DataFacts
from espalier.tasks.spec import Measurement, Snapshot
from espalier.tasks.tables.ensemble_columns import ENSEMBLES as ENSEMBLES_TABLE
from espalier.tasks.tables.ensemble_columns import KERNEL_SPREAD


class Ensembles(Measure):
    """A result for each setting, width and epoch: its nets, then the widest ones as their reference.

    One more seed, here or among the widest, makes another result with rows of its own.
    """

    name, units = "ensembles", "ensembles"
    work = "espalier.tasks.jobs.similarity_job:average_nets"
    tables = ("kernel_spread", "ensembles")
    own_tables = (KERNEL_SPREAD, ENSEMBLES_TABLE)
    gemm_share = 0.25

    def measurements(self, scope: Scope) -> Sequence[Measurement]:
        """Of the nets whose training did not diverge."""
        images = scope.config.similarity.images
        return [self.of(*nets, images=images) for nets in nets_together(scope.ladders, scope.hopeless)]

    def cost(self, measurement: Measurement, facts: DataFacts) -> Cost:
        """Forward passes over a few images, and a kernel of each layer."""
        return ensembles_cost(measurement.snapshots, int(measurement.settings["images"]), facts)

    def job_of(self, units: Sequence[Measurement], facts: DataFacts, where: Mapping[str, Any]) -> Task:
        """The job of one result, named by its width."""
        (unit,) = units
        counts = Counter(snap.net.width for snap in unit.snapshots)
        nets = " beside ".join(f"{count} of width {width}" for width, count in counts.items())
        label = f"ensembles of nets, {nets}, epoch {unit.snapshots[0].epoch}"
        return replace(super().job_of(units, facts, where), label=label)


def nets_together(ladders: Sequence[Ladder], hopeless: Collection[str]) -> Iterator[tuple[Snapshot, ...]]:
    """For each setting, width and epoch its nets by seed, then those of the widest width that has any."""
    groups = ladder_groups(ladders)
    for (kind, width), group in groups.items():
        wider = sorted((other for k, other in groups if k == kind and other > width), reverse=True)
        for position in range(len(group[0])):
            here = alive(group, position, hopeless)
            beside = (alive(groups[kind, other], position, hopeless) for other in wider)
            if here:
                yield (*here, *next((nets for nets in beside if nets), ()))


ENSEMBLES = Ensembles()
