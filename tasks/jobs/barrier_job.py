"""Jobs of the kind `barrier`: the straight path between two nets."""

from __future__ import annotations

from espalier.tasks.jobs.worker_inputs import Inputs, Results
from espalier.tasks.mixing.barrier_rows import paths
from espalier.tasks.spec import BarrierPair


def follow_paths(pair: BarrierPair, inputs: Inputs) -> Results:
    """Follow a pair's paths; their rows."""
    data, _ = inputs.images(pair.snapshots[0].net.data)
    held = not inputs.where.get("recompute", False)
    found = paths(pair, inputs.networks(pair.snapshots), data, held)
    return Results({"barrier_curves": found.curves, "barriers": found.barriers})
