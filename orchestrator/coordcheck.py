"""The coordinate check of a sweep's settings: a few steps at widths over a factor of 16."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from espalier.orchestrator.config.sweep_config import ConfigError
from espalier.orchestrator.planning.nets import nets, used
from espalier.orchestrator.sweep import Sweep
from espalier.tasks.spec import NetSpec
from espalier.tasks.tables.schemas import COORDINATES

PLACE = "coordcheck"
DOUBLINGS = 4
"""Without widths of its own a check takes the sweep's least one and so many doublings of it."""


@dataclass(frozen=True)
class Check:
    """What is asked for; widths and a rate that are None are the sweep's own."""

    widths: tuple[int, ...] | None = None
    steps: int = 5
    seeds: int = 8
    lr: float | None = None
    drawn_outputs: bool = False


def checked_nets(sweep: Sweep, check: Check) -> list[NetSpec]:
    """The nets of every setting at the check's widths and seeds.

    Raises:
        ConfigError: Fewer than two widths, or a width or rate that is none.
    """
    config = sweep.config
    if check.lr is not None and not 0 < check.lr < math.inf:
        raise ConfigError(f"--lr: found {check.lr:g}; give a rate above 0")
    widths = check.widths or tuple(min(config.sweep.widths) * 2**power for power in range(DOUBLINGS + 1))
    if len(set(widths)) < 2 or min(widths) < 1:
        raise ConfigError(f"--widths: found {list(widths)}; give 2 or more, 1 and up, as in 8,16,32,64,128")
    axes = config.sweep.model_copy(
        update={"widths": tuple(sorted(set(widths))), "seeds": tuple(range(check.seeds))}
    )
    used(config, sweep.facts)  # refuses limits that leave a class without images
    return nets(config.model_copy(update={"sweep": axes}), sweep.facts)


def run_check(
    sweep: Sweep, check: Check, tell: Callable[[int, int, NetSpec], None] = lambda *_: None
) -> pa.Table:
    """Train the nets and write `coordcheck/changes.parquet` into the sweep's folder; its rows.

    Args:
        sweep: The sweep; nothing else of its folder is changed.
        check: What is asked for.
        tell: Called before each net with its number, the number of nets, and the net.
    """
    from espalier.tasks.data.tensors import load_warned
    from espalier.tasks.kernels.compiled import kernels
    from espalier.tasks.training.coordinate_check import at_a_constant_rate, coordinate_changes
    from espalier.tasks.worker.devices import use

    use("cpu")
    config = sweep.config
    asked = config.data.dataset, config.data.limit_train, config.data.limit_test
    data = load_warned(*asked, sweep.folder, sweep.facts.content).data
    made = checked_nets(sweep, check)
    rows: list[dict[str, Any]] = []
    for number, net in enumerate(made, start=1):
        tell(number, len(made), net)
        moved = at_a_constant_rate(net, check.lr)
        with kernels(config.run.kernels):
            rows += coordinate_changes(moved, data, check.steps, check.drawn_outputs)
    table = pa.Table.from_pylist(rows, schema=COORDINATES)
    sink = io.BytesIO()
    pq.write_table(table, sink)
    sweep.store.files.replace(f"{PLACE}/changes.parquet", sink.getvalue())
    return table
