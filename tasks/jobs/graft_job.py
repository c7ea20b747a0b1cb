"""Jobs of the kind `graft`: the pairs of a tile."""

from __future__ import annotations

from espalier.tasks.grafting.graft import graft
from espalier.tasks.jobs.worker_inputs import Inputs, Results
from espalier.tasks.spec import AtOnce, GraftTile


def graft_pairs(tile: GraftTile, inputs: Inputs) -> Results:
    """Graft a tile; its rows."""
    data, _ = inputs.images(tile.snapshots[0].net.data)
    at_once = AtOnce(*inputs.where.get("at_once", ()))
    rows = graft(tile, inputs.networks(tile.snapshots), data, at_once)
    return Results({"downstream": rows.downstream, "ridges": rows.ridges, "grafts": rows.grafts})
