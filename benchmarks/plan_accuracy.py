"""What `espalier plan` predicts beside what a run takes, and how long a large simulation takes.

A small sweep calibrates; others of the same recipe with more seeds are predicted by its jobs, and then run,
each in a folder of its own. Seconds of a run are those from the first job's submission to the last one's end.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from espalier.cluster.on_ray import session
from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.orchestrator.planning.kind import Have
from espalier.orchestrator.planning.plan import Plan, make_plan
from espalier.orchestrator.planning.rates import Rates
from espalier.orchestrator.planning.simulate import Fleet, simulate
from espalier.orchestrator.planning.task import Limits
from espalier.orchestrator.record import cpu_name
from espalier.orchestrator.running.progress import Lines, Tally
from espalier.orchestrator.sweep import Sweep
from espalier.orchestrator.watching.forecast import Cluster, foresee
from espalier.tasks.data import images

GPU_FLOPS = 3e12
"""Assumed of one GPU in the large simulation: a tenth of a float32 GEMM's 30 TFLOP/s."""


@dataclass(frozen=True)
class Setup:
    """Slots to run on, seeds of the calibrating sweep and of the others; nets and nodes of 8 GPUs."""

    slots: tuple[int, ...] = (1, 2, 4)
    calibrating_seeds: int = 2
    seeds: int = 4
    widths: tuple[int, ...] = (8, 16)
    nets: int = 1000
    nodes: int = 125


class Timed(Lines):
    """The lines of a run, which also take the time from its first job to its last."""

    seconds = 0.0

    def __enter__(self) -> Self:
        """The first jobs are handed out now."""
        self._start = time.perf_counter()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The last job has ended."""
        self.seconds = time.perf_counter() - self._start
        super().__exit__(kind, error, trace)


def run(setup: Setup) -> dict[str, Any]:
    """The machine, a row for each number of slots, and one for a large cluster."""
    with tempfile.TemporaryDirectory() as root, ray_with(max(setup.slots)):
        first = sweep(setup, setup.calibrating_seeds, 1, Path(root) / "calibrate")
        seconds_of_run(first)
        rows = [row(setup, slots, root) for slots in setup.slots]
    return {"machine": machine(setup), "runs": rows, "large": [large(setup)]}


@contextmanager
def ray_with(cpus: int) -> Iterator[None]:
    """A Ray that believes in so many cores: more slots than cores share them."""
    session.connect(cpus=cpus)
    try:
        yield
    finally:
        session.disconnect()


def machine(setup: Setup) -> dict[str, Any]:
    """What it ran on, and how busy that was with others' work."""
    facts = {"processor": cpu_name(), "cores": os.cpu_count(), "python": platform.python_version()}
    return facts | {"load": round(os.getloadavg()[0], 1), **asdict(setup)}


def sweep(setup: Setup, seeds: int, slots: int, folder: Path) -> Sweep:
    """A small sweep on digits."""
    folder.mkdir()
    text = f"""
[data]
dataset = "digits"
[network]
layers = [1, 1, "pool", 2, "pool"]
[train]
epochs = 10
snapshots = [0, 2, 10]
[sweep]
widths = {list(setup.widths)}
seeds = {seeds}
[graft]
ridge = 1e-6
[run]
slots = {slots}
"""
    (folder / "sweep.toml").write_text(text, encoding="utf-8")
    return Sweep(folder)


def seconds_of_run(swept: Sweep) -> float:
    """Wall time from the first job to the last.

    Raises:
        RuntimeError: A job failed.
    """
    shown: list[Timed] = []

    def show(plan: Plan, slots: int) -> Lines:
        shown.append(Timed(Tally(plan, slots), lambda text: print(text, file=sys.stderr, flush=True)))
        return shown[-1]

    if not swept.run(show=show).complete:
        raise RuntimeError(f"the run in {swept.path} is not complete")
    return shown[-1].seconds


def row(setup: Setup, slots: int, root: str) -> dict[str, Any]:
    """One prediction and one run."""
    swept = sweep(setup, setup.seeds, slots, Path(root) / f"slots{slots}")
    foreseen = foresee(swept, Cluster(calibrate=f"{root}/calibrate"))
    load = os.getloadavg()[0]
    predicted, took = foreseen.forecast.seconds, seconds_of_run(swept)
    busy = {"load_before": round(load, 1), "load_after": round(os.getloadavg()[0], 1)}
    ratio = {"predicted_s": predicted, "run_s": took, "predicted/run": predicted / took}
    found = {"slots": slots, "jobs": foreseen.forecast.jobs, **ratio, **busy}
    print(found, file=sys.stderr, flush=True)  # later rows may take long
    return found


def large(setup: Setup) -> dict[str, Any]:
    """The plan of all pairs of many nets of one width, and its simulation on nodes of 8 GPUs."""
    axes = {"widths": [16], "seeds": setup.nets}
    recipe = {"epochs": 20, "snapshots": [20]}
    config = SweepConfig.parse(
        {"data": {"dataset": "mnist5k"}, "train": recipe, "sweep": axes, "graft": {"nulls": []}}
    )
    start = time.process_time()
    plan = make_plan(config, images.facts("mnist5k"), Have(), Limits(2**34, 8 * setup.nodes))
    planned = time.process_time()
    speed = Rates(dict.fromkeys(plan.total, GPU_FLOPS), "assumed")
    made = simulate(plan.tasks, set(), Fleet(setup.nodes, 8), speed)
    return {
        "gpus": 8 * setup.nodes,
        "pairs": plan.total["graft"],
        "jobs": len(plan.tasks),
        "plan_cpu_s": planned - start,
        "simulation_cpu_s": time.process_time() - planned,
        "utilisation": made.utilisation,
        "predicted_s": made.seconds,
    }
