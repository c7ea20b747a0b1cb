"""The kind `features`: statistics of each layer of each snapshot (docs/method.md, section 6)."""

from __future__ import annotations

from collections.abc import Sequence

from espalier.orchestrator.planning.cost import Cost
from espalier.orchestrator.planning.kind import Scope
from espalier.orchestrator.planning.kinds.similarity_cost import features_cost
from espalier.orchestrator.planning.measure import Measure
from espalier.tasks.data.images import DataFacts
from espalier.tasks.spec import Measurement
from espalier.tasks.tables.similarity_columns import FEATURES


class LayerFeatures(Measure):
    """Statistics of the channels of every layer of every snapshot."""

    name, units = "features", "nets"
    work = "espalier.tasks.jobs.similarity_job:describe_net"
    tables = ("features",)
    own_tables = (FEATURES,)

    def measurements(self, scope: Scope) -> Sequence[Measurement]:
        """One for each snapshot."""
        images = scope.config.similarity.images
        return [self.of(snap, images=images) for ladder in scope.ladders for snap in ladder]

    def cost(self, measurement: Measurement, facts: DataFacts) -> Cost:
        """A forward pass over a few images."""
        (snapshot,) = measurement.snapshots
        return features_cost(snapshot, int(measurement.settings["images"]), facts)


LAYER_FEATURES = LayerFeatures()
