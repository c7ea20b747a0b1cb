"""Jobs of the kind `pool`: targets served by channels dealt anew."""

from __future__ import annotations

from espalier.tasks.jobs.worker_inputs import Inputs, Results
from espalier.tasks.mixing.exchangeability import exchange
from espalier.tasks.spec import PoolTile


def deal_pools(tile: PoolTile, inputs: Inputs) -> Results:
    """Deal the channels of pools; their rows."""
    data, _ = inputs.images(tile.snapshots[0].net.data)
    rows = exchange(tile, inputs.networks(tile.snapshots), data)
    return Results(
        {"downstream": rows.downstream, "grafts": rows.grafts, "exchangeability": rows.exchangeability}
    )
