"""How long a sweep of many pairs takes to plan: with nothing done, with half of it done, and with all.

Each measurement is a process of its own, so that its peak of memory is its own too.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.table_reading import measured, plain_column
from espalier.orchestrator.planning.kind import Have
from espalier.orchestrator.planning.kinds.grafts import GRAFTS
from espalier.orchestrator.planning.plan import scope_of
from espalier.orchestrator.planning.task import Limits
from espalier.orchestrator.store.parquet_parts import encode
from espalier.orchestrator.store.sweep_store import Store
from espalier.orchestrator.sweep import Sweep
from espalier.tasks.tables.schemas import SCHEMAS

CONFIG = """
[data]
dataset = "digits"

[network]
layers = [1, "pool", 1]

[sweep]
widths = [2]
seeds = {seeds}

[train]
epochs = 1
snapshots = [1]

[graft]
nulls = []
"""
PART_PAIRS = 20_000
LONG_AGO = (1.7e9, 1.7e9)  # what is only just written is read again
SWEEP = "from espalier.orchestrator.sweep import Sweep"
WORK = {
    "plan": f"{SWEEP}; work = lambda folder: Sweep(folder).plan(slots=2)",
    "status": f"{SWEEP}; from espalier.orchestrator.watching.status import look; "
    "work = lambda folder: look(Sweep(folder))",
}
DONE = {"nothing": 0.0, "half": 0.5, "all": 1.0}


@dataclass(frozen=True)
class Setup:
    """Numbers of nets, all of one width and grafted in all ordered pairs."""

    seeds: tuple[int, ...] = (317, 1001)
    repeats: int = 3


def run(setup: Setup) -> dict[str, Any]:
    """Medians of seconds, by the clock and of the CPU, and of the growth of the process's peak memory."""
    rows = [row for seeds in setup.seeds for done in DONE for row in _rows(seeds, done, setup.repeats)]
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    return {"machine": machine | asdict(setup), "planning": rows}


def _rows(seeds: int, done: str, repeats: int) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as place:
        pairs = write(Path(place), seeds, DONE[done])
        for work, prepare in WORK.items():
            found = [measured(prepare, Path(place)) for _ in range(repeats)]
            medians = {name: round(statistics.median(one[name] for one in found), 2) for name in found[0]}
            each = round(1e6 * medians["cpu_seconds"] / pairs, 2)
            yield {"work": work, "done": done, "pairs": pairs, **medians, "us_a_pair": each}


def write(folder: Path, seeds: int, share: float) -> int:
    """A folder with the rows of that share of the pairs, one each, as the run that wrote them left it.

    Gives the number of all pairs. No net is trained: the plan has a job for each.
    """
    (folder / "sweep.toml").write_text(CONFIG.format(seeds=seeds), encoding="utf-8")
    sweep = Sweep(folder)
    scope = scope_of(sweep.config, sweep.facts, Have(), Limits(2**40, 2), {}, {})
    keys = GRAFTS.wanted(scope).keys
    done = keys[: int(share * len(keys))]
    for table in GRAFTS.done_in(sweep.config) if len(done) else ():
        place = folder / "tables" / table
        place.mkdir(parents=True)
        for number, part in enumerate(_parts(table, done)):
            path = place / f"{number:064x}.parquet"
            path.write_bytes(encode(table, part))
            os.utime(path, LONG_AGO)
    Store(folder).scan()
    return len(keys)


def _parts(table: str, keys: NDArray[np.bytes_]) -> Iterator[pa.Table]:
    rng, schema = np.random.default_rng(0), SCHEMAS[table]
    for start in range(0, len(keys), PART_PAIRS):
        some = keys[start : start + PART_PAIRS]
        columns = {field.name: _column(field, some, rng) for field in schema}
        yield pa.table(columns, schema=schema)


def _column(field: pa.Field, keys: NDArray[np.bytes_], rng: np.random.Generator) -> pa.Array:
    if field.name == "key":
        return pa.array(keys.astype(np.str_)).cast(field.type)
    if pa.types.is_string(field.type):
        return pa.array([""] * len(keys), field.type)
    return plain_column(field.type, len(keys), rng)
