"""Jobs of the kind `hybrid`: nets made of the channels of two."""

from __future__ import annotations

from espalier.tasks.jobs.worker_inputs import Inputs, Results
from espalier.tasks.mixing.hybrid import hybrids
from espalier.tasks.spec import HybridTile


def make_hybrids(tile: HybridTile, inputs: Inputs) -> Results:
    """Make hybrids; their rows."""
    data, _ = inputs.images(tile.snapshots[0].net.data)
    at_once = inputs.where.get("shares_at_once", 0)
    return Results({"hybrids": hybrids(tile, inputs.networks(tile.snapshots), data, at_once)})
