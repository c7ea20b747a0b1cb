"""Nets per hour: Espalier, a plain PyTorch loop, and Ray Tune around that loop, on the same machine.

All train the same nets by the same recipe on the same images, in turns in one run; seconds are the wall's.

(a) The loop of `benchmarks.plain_loop` on one core with one thread.
(a2) The same with PyTorch's default threads.
(b) The same in Ray Tune, one trial per net and core, with its actors used again.
(c) Espalier: its pool of one slot per core, its own jobs, as its own probe says.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

from benchmarks.kernels import Kernels
from benchmarks.plain_loop import train_nets
from benchmarks.random_images import write_random_images
from benchmarks.timing import Progress
from espalier.cluster.pool import Done, Failed, Job, Pool
from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.orchestrator.planning.identity import net_key, snapshot
from espalier.orchestrator.planning.kinds.train_cost import train_cost, train_seconds
from espalier.orchestrator.planning.kinds.train_groups import Rung, train_tasks
from espalier.orchestrator.planning.nets import nets as specs
from espalier.orchestrator.planning.nets import used
from espalier.orchestrator.planning.task import Limits
from espalier.orchestrator.record import cpu_name
from espalier.orchestrator.running import probing
from espalier.tasks.data import images
from espalier.tasks.data.images import DataFacts
from espalier.tasks.data.tensors import Data, load
from espalier.tasks.spec import NetSpec, TrainSegment

CONV_WIDTHS, VGG_WIDTHS = (4, 8, 16, 32, 64), {"cpu": (8, 16), "cuda": (8, 16, 32, 64)}
PLAIN_NETS = 2
"""The plain loops train so many nets in a turn, since each takes as long as the next one."""
SHORTEST, LONGEST = 5, 20
"""Epochs: fewer would weigh the evaluations more than sweeps do, which train for dozens."""
BATCH = 64
CORES = {"cpu": 1, "cuda": 500}
"""What a device is taken for where work is measured out; the GPU's is a guess: it sets how long rows take."""


@dataclass(frozen=True)
class Setup:
    """What is asked for.

    Every net is trained for about `seconds` of a core (a GPU: of `CORES`) by the planner's model: for epochs
    over all images, or for the fewest epochs over as many batches as that takes.
    """

    networks: tuple[str, ...] = ("digits", "mnist5k", "vgg16")
    widths: tuple[int, ...] = ()
    nets: int = 8
    repeats: int = 5
    seconds: float = 2.0
    device: str = "cpu"
    tune: bool = True


@dataclass(frozen=True)
class Case:
    """One row: nets of one network and width, and what they are trained on for how long."""

    network: str
    width: int
    config: SweepConfig
    dataset: str
    facts: DataFacts
    nets: tuple[NetSpec, ...]
    epochs: int

    def data(self, device: str) -> Data:
        """The images on a device."""
        limits = self.config.data
        loaded = load(self.dataset, limit_train=limits.limit_train, limit_test=limits.limit_test)
        return Data(*(part.to(device) for part in loaded))


def cases(setup: Setup, random_images: str) -> Iterator[Case]:
    """The rows in their order; `random_images` are those in CIFAR's shape."""
    for network in setup.networks:
        dataset = random_images if network == "vgg16" else network
        for width in setup.widths or (VGG_WIDTHS[setup.device] if network == "vgg16" else CONV_WIDTHS):
            yield case(setup, network, width, dataset)


def case(setup: Setup, network: str, width: int, dataset: str) -> Case:
    """A row, its epochs or images cut to the time that is to be spent."""
    whole = images.facts(dataset)
    one = _segment(_specs(_config(setup, network, width, dataset), whole)[0], 1)
    epoch = train_seconds(one, whole)
    seconds = setup.seconds * CORES[setup.device]
    share = min(1.0, seconds / (SHORTEST * epoch))
    limits = {
        "limit_train": max(128, int(share * whole.train) // BATCH * BATCH),
        "limit_test": max(32, int(share * whole.test)),
    }
    config = _config(setup, network, width, dataset, **(limits if share < 1.0 else {}))
    epochs = max(SHORTEST, min(LONGEST, round(seconds / epoch)))
    nets = tuple(_specs(config, whole))
    return Case(network, width, config, dataset, used(config, whole), nets, epochs)


def _config(setup: Setup, network: str, width: int, dataset: str, **limits: int) -> SweepConfig:
    layers = {"family": "vgg16", "batch_norm": True} if network == "vgg16" else {"family": "conv"}
    return SweepConfig.parse(
        {
            "data": {"dataset": dataset, **limits},
            "network": layers,
            "train": {"schedule": "constant", "lr": 0.01, "warmup_epochs": 0.0, "batch_size": BATCH},
            "sweep": {"widths": [width], "seeds": setup.nets},
        }
    )


def _specs(config: SweepConfig, facts: DataFacts) -> list[NetSpec]:
    return specs(config, facts)


def _segment(net: NetSpec, epochs: int) -> TrainSegment:
    return TrainSegment(snapshot(net, net_key(net), epochs), None, keep_state=False)


PoolMaker = Callable[[Setup], AbstractContextManager[Pool]]


def run(setup: Setup, make_pool: PoolMaker | None = None) -> dict[str, Any]:
    """The machine, and a row for each network and width; `make_pool` may give another pool.

    Raises:
        RuntimeError: The device is not there, or a job of Espalier's fails.
    """
    if setup.device != "cpu" and not torch.cuda.is_available():
        raise RuntimeError(f"--device {setup.device}: PyTorch finds no GPU here; --device cpu would do")
    with tempfile.TemporaryDirectory() as folder, (make_pool or whole_machine)(setup) as pool:
        name = "parquet:" + write_random_images(Path(folder) / "random32")
        chosen = list(cases(setup, name))
        progress = Progress(len(chosen))
        rows = []
        for one in chosen:
            with progress.step(f"{one.network}, width {one.width}", 1.0):
                rows.append(Measurement(setup, one, pool, Path(folder)).row())
        return {"machine": machine(setup, pool), "rows": rows}


def cores() -> int:
    """Cores of this machine that this process may use."""
    return len(os.sched_getaffinity(0))


@cache
def default_threads() -> int:
    """Threads that PyTorch takes by itself, in a process that nobody has told otherwise."""
    free = {name: value for name, value in os.environ.items() if not name.endswith("NUM_THREADS")}
    ask = [sys.executable, "-c", "import torch; print(torch.get_num_threads())"]
    return int(subprocess.run(ask, env=free, capture_output=True, text=True, check=True).stdout)


@contextmanager
def whole_machine(setup: Setup) -> Iterator[Pool]:
    """Espalier's pool, in a Ray with as many cores again for Tune: the two never work at once."""
    from espalier.cluster.on_ray.ray_pool import RayPool
    from espalier.cluster.on_ray.session import connect

    connect(cpus=2 * cores())
    gpus = 1.0 / cores() if setup.device != "cpu" else 0.0
    pool = RayPool("benchmarks.train_jobs:execute", _nothing, slots=cores(), gpus_per_slot=gpus)
    try:
        yield pool
    finally:
        pool.close()


def _nothing(name: str) -> bytes:
    raise FileNotFoundError(name)


def machine(setup: Setup, pool: Pool) -> dict[str, Any]:
    """What it ran on, and on how much."""
    return {
        "processor": cpu_name() if setup.device == "cpu" else torch.cuda.get_device_name(),
        "slots": pool.slots,
        "clock": "wall",
        "torch": torch.__version__,
        "python": platform.python_version(),
        **asdict(setup),
        "plain_nets": PLAIN_NETS,
    }


class Measurement:
    """Everything that is measured of one row."""

    def __init__(self, setup: Setup, case: Case, pool: Pool, folder: Path) -> None:
        self.setup, self.case, self.pool, self.folder = setup, case, pool, folder
        self.data = case.data(setup.device)
        self.where = {"dataset": case.dataset, "device": setup.device}
        now = datetime.now(UTC)
        some = probing.alike(case.nets, case.epochs, case.facts, setup.device)
        # However short it is: a sweep's nets are trained for longer.
        long = {key: replace(one, seconds=probing.WORTH_SECONDS) for key, one in some.items()}
        self.probed = probing.probe(pool, long, {"device": setup.device}, _ignore, lambda: now)
        choices = {key: probing.choice(key, answer) for key, answer in self.probed.items()}
        chains = [[Rung(_segment(net, case.epochs), None)] for net in case.nets]
        limits = Limits(2**60, pool.slots)
        self.tasks = train_tasks(chains, choices, case.facts, limits, self.where)
        self.flops = train_cost([_segment(case.nets[0], case.epochs)], case.facts).flops

    def row(self) -> dict[str, Any]:
        """Ratios above 1 say that Espalier is faster; `kernel_ratio` is about `machine_ratio`'s most."""
        ways: dict[str, Callable[[], float]] = {
            "loop": lambda: self.plain(1),
            "machine": lambda: self.plain(default_threads()),
            "espalier": self.espalier,
            "gemm": self.gemm,
            "kernels": self.kernels,
        }
        for way in ways.values():
            way()
        if self.setup.tune:  # its actors are new ones in every turn, and its trials warm up by themselves
            ways["tune"] = self.tune
        turns = [{name: way() for name, way in ways.items()} for _ in range(self.setup.repeats)]
        rates = {name: statistics.median(turn[name] for turn in turns) for name in ways}
        (answer,) = self.probed.values()
        slots = self.pool.slots
        return {
            "network": self.case.network,
            "width": self.case.width,
            "mode": self._mode(answer),
            "epochs": self.case.epochs,
            "images": self.case.facts.train,
            **{f"{name}_nets_per_hour": rates.get(name) for name in ("loop", "machine", "tune", "espalier")},
            "loop_ratio": _ratio(turns, "espalier", "loop") / slots,
            "machine_ratio": _ratio(turns, "espalier", "machine"),
            "tune_ratio": _ratio(turns, "espalier", "tune") if self.setup.tune else None,
            "kernel_ratio": _ratio(turns, "kernels", "machine"),
            "gemm_share": _ratio(turns, "espalier", "gemm") / 3600 * self.flops / slots,
            "gemm_gflops": rates["gemm"] / 1e9,
        }

    def _mode(self, answer: dict[str, Any]) -> str:
        return f"{probing.choice('', answer).mode.name} x{max(task.size for task in self.tasks)}"

    def plain(self, threads: int) -> float:
        """Nets per hour of the loop."""
        torch.set_num_threads(threads)
        net, count = self.case.nets[0], min(PLAIN_NETS, len(self.case.nets))
        start = time.perf_counter()
        train_nets(net.architecture, net.recipe, self.case.epochs, self.data, count)
        torch.set_num_threads(1)
        return _per_hour(count, start)

    def espalier(self) -> float:
        """Nets per hour of the whole machine."""
        start = time.perf_counter()
        self._work([task.job for task in self.tasks])
        return _per_hour(len(self.case.nets), start)

    def gemm(self) -> float:
        """Operations per second of one slot, all of them at products."""
        return self._on_all_slots("gemm", None)

    def kernels(self) -> float:
        """Nets per hour of the whole machine if nothing but PyTorch's convolutions and products took time."""
        case, sizes = self.case, sorted({1, max(task.size for task in self.tasks)})
        work = Kernels(case.nets[0], case.epochs, case.facts, tuple(sizes))
        return 3600.0 * self.pool.slots / self._on_all_slots("kernels", work)

    def _on_all_slots(self, kind: str, payload: Any) -> float:
        """The mean of a job's number, all slots at work."""
        slots = range(self.pool.slots)
        done = self._work([Job(f"{kind}-{slot}", kind, payload, (), self.where) for slot in slots])
        return statistics.mean(json.loads(event.output.blobs["number"]) for event in done)

    def _work(self, jobs: list[Job]) -> list[Done]:
        """All jobs to their end."""
        for job in jobs:
            self.pool.submit(job, 1)
        done: list[Done] = []
        while len(done) < len(jobs):
            for event in self.pool.wait(10.0):
                if isinstance(event, Failed):
                    raise RuntimeError(f"{event.key}: {event.error}")
                done.append(event)
        return done

    def tune(self) -> float:
        """Nets per hour of Ray Tune, one trial per net."""
        from benchmarks.tuned_loop import fit_all

        case, device = self.case, self.setup.device
        seconds = fit_all(case.nets, case.epochs, self.data, cores(), device, self.folder)
        return 3600.0 * len(case.nets) / seconds


def _ignore(row: dict[str, Any]) -> None:
    """Table `jobs` has no place here."""


def _per_hour(count: int, start: float) -> float:
    return 3600.0 * count / (time.perf_counter() - start)


def _ratio(turns: list[dict[str, float]], one: str, other: str) -> float:
    """The median over turns of the ratio of neighbours."""
    return statistics.median(turn[one] / turn[other] for turn in turns)
