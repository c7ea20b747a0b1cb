"""Jobs of the kinds `similarity`, `features` and `ensembles`: nets compared and described without a fit."""

from __future__ import annotations

from espalier.tasks.jobs.worker_inputs import Inputs, Results
from espalier.tasks.measures.ensemble_rows import ensembles
from espalier.tasks.measures.similarity_rows import features, similarities
from espalier.tasks.spec import Measurement, SimilarityTile


def compare_nets(tile: SimilarityTile, inputs: Inputs) -> Results:
    """Compare the pairs of a tile; their rows."""
    data, _ = inputs.images(tile.snapshots[0].net.data)
    return Results({"similarity": similarities(tile, inputs.networks(tile.snapshots), data)})


def describe_net(asked: Measurement, inputs: Inputs) -> Results:
    """Describe the layers of one net; a row for each channel."""
    (snapshot,) = asked.snapshots
    data, _ = inputs.images(snapshot.net.data)
    (network,) = inputs.networks(asked.snapshots)
    return Results({"features": features(snapshot, asked.key, network, data, int(asked.settings["images"]))})


def average_nets(asked: Measurement, inputs: Inputs) -> Results:
    """Variance over seeds of the nets of one width, and their distance from the widest; two tables."""
    data, _ = inputs.images(asked.snapshots[0].net.data)
    return Results(ensembles(asked, inputs.networks(asked.snapshots), data))
