"""How fast a sweep's tables are read: many small parts, few large ones, and a report of many rows.

Each measurement is a process of its own, so that its peak of memory is its own too.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from espalier.orchestrator.store.parquet_parts import encode
from espalier.orchestrator.store.sweep_store import Store
from espalier.tasks.tables.image_blocks import BLOCKS, COUNT, COUNTS, SHARES
from espalier.tasks.tables.schemas import SCHEMAS

WIDTHS, EPOCHS, LAYERS = (4, 8, 16, 32, 64), (0, 1, 2, 5, 10), 6
IMAGES = 297
NULLS = ("none", "untrained", "shuffled_images", "permuted")
TEXTS = {
    "init": "he_normal",
    "regularizer": "l2",
    "recipe": "r" * 12,
    "architecture": "conv-1-1-p-2-2-p",
    "parametrization": "sp",
    "dataset": "digits",
    "activation": "relu",
    "pairing": "same_width",
    "method": "exact",
    "products": "float64",
    "bn": "none",
    "warning": "",
}
STORE = "from espalier.orchestrator.store.sweep_store import Store"
COLUMNS = """
from espalier import AXES, load
mean = ["target_width", "target_epoch", "layer", "null", "fvu_test"]
read = lambda folder, columns, filters=(): load(folder, filters, tables=["grafts"], columns=columns).grafts"""
"""What follows reads a few columns alone."""
WORK = {
    "load": "from espalier import load as work",
    "scan": f"{STORE}; work = lambda folder: Store(folder).scan(False, everything=True)",
    "start": f"{STORE}; work = lambda folder: Store(folder).scan(False)",
    "load one width": "from espalier import load; work = lambda f: load(f, [('target_width', '==', 64)])",
    "report": "from espalier.analysis.report.html_page import make_report as work",
    "load the columns of a mean": f"{COLUMNS}; work = lambda folder: read(folder, mean)",
    "load one width's": f"{COLUMNS}; work = lambda folder: read(folder, mean, [('target_width', '==', 64)])",
    "group": f"{COLUMNS}; frame = read(folder, mean)\n"
    "work = lambda folder: frame.groupby(mean[:-1])['fvu_test'].agg(['mean', 'sem', 'size'])",
    "load the columns of a fit": f"{COLUMNS}; work = lambda folder: read(folder, AXES)",
}
PUSHED_DOWN = ("load the columns of a mean", "load one width's", "group", "load the columns of a fit")
MEASURE = """
import json, sys, time
folder = sys.argv[1]
{prepare}
# not getrusage: a child's ru_maxrss begins at its parent's size
peak = lambda: next(int(line.split()[1]) for line in open("/proc/self/status") if "VmHWM" in line) / 1024
import espalier.analysis.tables
before, start, busy = peak(), time.perf_counter(), time.process_time()
work(folder)
print(json.dumps({{
    "seconds": time.perf_counter() - start,
    "cpu_seconds": time.process_time() - busy,
    "megabytes": peak() - before,
}}))
"""


@dataclass(frozen=True)
class Setup:
    """What is read: so many small parts, so many rows in ten parts, a report of so many rows, and the parts
    and rows that the start of a run knows."""

    parts: int = 5000
    rows: int = 1_000_000
    report_rows: int = 300_000
    remembered_parts: int = 20_000
    remembered_rows: int = 10_000_000
    repeats: int = 3


def run(setup: Setup, only: Sequence[str] = (), keep: str | None = None) -> dict[str, Any]:
    """Medians of seconds, by the clock and of the CPU, and of the growth of the process's peak memory.

    Args:
        setup: What is read.
        only: The names of some of the folders; all where there are none.
        keep: Where the folders are kept; one that is there is read as it is.
    """
    sizes = {
        "small parts": (setup.parts, setup.parts * LAYERS * len(NULLS), ("load", "scan", "start")),
        "large parts": (10, setup.rows, ("load", "load one width", "scan", "start")),
        "report": (10, setup.report_rows, ("report",)),
        "remembered parts": (known := setup.remembered_parts, known * LAYERS * len(NULLS), ("start",)),
        "remembered rows": (100, setup.remembered_rows, ("start", *PUSHED_DOWN)),
    }
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for name, (parts, count, works) in sizes.items():
            if only and name not in only:
                continue
            folder = Path(keep or place) / name
            if not folder.exists():
                write(folder, count, parts)
            Store(folder).scan()  # as the run that wrote them remembers them
            for work in works:
                found = [measured(WORK[work], folder) for _ in range(setup.repeats)]
                medians = {key: round(statistics.median(one[key] for one in found), 2) for key in found[0]}
                rows.append({"folder": name, "parts": parts, "rows": count, "work": work, **medians})
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    return {"machine": machine | asdict(setup), "reading": rows}


def measured(prepare: str, folder: Path) -> dict[str, float]:
    """Seconds and megabytes of the function `work` that `prepare` defines, in a process of its own."""
    code = MEASURE.format(prepare=prepare)
    answer = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    return json.loads(answer.stdout)


def write(folder: Path, rows: int, parts: int) -> None:
    """A sweep's folder with so many rows of `grafts`, in parts as a run writes them."""
    place = folder / "tables" / "grafts"
    place.mkdir(parents=True)
    for number, part in enumerate(graft_parts(rows, parts)):
        path = place / f"{number:064x}.parquet"
        path.write_bytes(encode("grafts", part))
        os.utime(path, (1.7e9, 1.7e9))  # long ago: what is only just written is read again


def graft_parts(rows: int, parts: int) -> Iterator[pa.Table]:
    """Rows of all ordered pairs of as many seeds as it takes, with an error that falls as `width^-1/2`."""
    per_pair = LAYERS * len(NULLS)
    pairs = math.ceil(rows / per_pair)
    seeds = math.ceil(math.sqrt(pairs / len(WIDTHS) / len(EPOCHS))) + 1
    rng = np.random.default_rng(0)
    step = math.ceil(pairs / parts)
    for start in range(0, pairs, step):
        yield _part(np.arange(start, min(start + step, pairs)), seeds, rng)


def _part(pair_P: np.ndarray, seeds: int, rng: np.random.Generator) -> pa.Table:
    """The rows of some pairs: every layer and null of each."""
    each = LAYERS * len(NULLS)
    pair = np.repeat(pair_P, each)
    layer, null = (
        np.tile(np.arange(each) % LAYERS, len(pair_P)) + 1,
        np.tile(np.arange(each) // LAYERS, len(pair_P)),
    )
    rest, a = np.divmod(pair, seeds)
    rest, shift = np.divmod(rest, seeds - 1)
    rest, place = np.divmod(rest, len(WIDTHS))
    width, epoch = np.array(WIDTHS)[place], np.array(EPOCHS)[rest % len(EPOCHS)]
    numbers: dict[str, Any] = {
        "layer": layer,
        "source_width": width,
        "target_width": width,
        "source_seed": a,
        "target_seed": (a + shift + 1) % seeds,
        "source_epoch": epoch,
        "target_epoch": epoch,
        "images_test": np.full(len(pair), IMAGES),
        "fvu_test": (1 + null) * layer * width**-0.5 * (1 + 0.1 * rng.standard_normal(len(pair))),
    }
    schema = SCHEMAS["grafts"]
    return pa.table({field.name: _column(field, numbers, pair, null, rng) for field in schema}, schema=schema)


def _column(
    field: pa.Field, numbers: dict[str, Any], pair: np.ndarray, null: np.ndarray, rng: np.random.Generator
) -> pa.Array:
    name = field.name
    if name in numbers:
        return pa.array(numbers[name]).cast(field.type)
    if name == "key":
        return pa.array([f"{p:020x}{n:04x}" for p, n in zip(pair, null, strict=True)], field.type)
    if name == "null":
        return pa.array(np.array(NULLS)[null], field.type)
    side = name.removeprefix("source_").removeprefix("target_")
    if side == "net":
        seed = numbers[name.replace("net", "seed")]
        width = numbers[name.replace("net", "width")]
        return pa.array([f"{w:032x}{s:032x}" for w, s in zip(width, seed, strict=True)], field.type)
    if pa.types.is_string(field.type):
        return pa.array([TEXTS.get(side, "")] * len(pair), field.type)
    if side == "reg_weight":
        return pa.array(np.full(len(pair), 5e-4), field.type)
    return plain_column(field.type, len(pair), rng)


def plain_column(kind: pa.DataType, rows: int, rng: np.random.Generator) -> pa.Array:
    """Counts of few lost images by block, no errors by block, real numbers, or ones."""
    if kind == COUNTS:
        lost = rng.binomial(IMAGES // BLOCKS, 0.05, (rows, BLOCKS)).astype(COUNT)
        return pa.array([counts.tobytes() for counts in lost], kind)
    if kind == SHARES:  # as of a sweep that does not ask for them
        return pa.nulls(rows, kind)
    if pa.types.is_floating(kind):
        return pa.array(rng.random(rows), kind)
    return pa.array(np.ones(rows, np.int64)).cast(kind)
