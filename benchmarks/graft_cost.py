"""What a graft costs: all pairs at once, one pair at a time, and Adam as in Gu et al. 2020.

All three fit the same layers of the same nets on the same images, in one process with one thread, in turns.

(a) Adam: `tasks.grafting.adam`'s steps of one pair and layer, its time that of some steps, scaled to the
schedule.
(b) One pair at a time: patches by im2col, float64 products, one solve, held-out scores.
(c) The engine, `tasks.grafting.graft`: all ordered pairs and layers, the ridge chosen on held-back images,
with
    everything that it reports; its time is shared out evenly over its grafts.
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch

from benchmarks.graft_floor import floor
from benchmarks.one_pair import OnePair
from benchmarks.phases import clocked, phase_shares
from benchmarks.timing import Progress, clock, gemm_rates, median_seconds, seconds_of, shares_of_gemm
from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.orchestrator.planning.identity import net_key, snapshot
from espalier.orchestrator.planning.nets import nets as specs
from espalier.orchestrator.planning.nets import used
from espalier.orchestrator.record import cpu_name
from espalier.tasks.data import images
from espalier.tasks.data.tensors import Data, load
from espalier.tasks.grafting.adam import rates
from espalier.tasks.grafting.graft import graft
from espalier.tasks.grafting.lag_gram import LagSums, lags
from espalier.tasks.grafting.layer_input import LayerInput
from espalier.tasks.kernels.compiled import crosses, summing_crosses
from espalier.tasks.networks.architectures import images_per_batch
from espalier.tasks.networks.layout import laid
from espalier.tasks.networks.network import Network
from espalier.tasks.spec import WIDE, GraftOptions, GraftTile, Pair, Snapshot, TrainSegment
from espalier.tasks.training.train import initial_state, train
from espalier.tasks.worker.kept_memory import kept_memory

EPOCHS = 2
RIDGE = 1e-6
"""Of one pair at a time, and of the engine where it has no ridges to choose from."""
DEPTH = 5  # of the family `conv` as it is by default
ADAM_PAIRS, ADAM_STEPS = ((0, 1), (1, 0)), 4
"""Adam is timed on these pairs, so many steps at a time."""


@dataclass(frozen=True)
class Setup:
    """What is asked for.

    The engine chooses among `ridges`, on a fifth of the fitting images. Adam's whole schedule is run at the
    layers `to_the_end`, for its FVU.
    """

    widths: tuple[int, ...] = (32, 64)
    nets: int = 8
    repeats: int = 3
    images: int = 1000
    device: str = "cpu"
    to_the_end: tuple[int, ...] = (3, DEPTH)
    ridges: tuple[float, ...] = (1e-6, 1e-4, 1e-2, 1e-1)


def run(setup: Setup) -> dict[str, Any]:
    """The machine, a row per width and layer, and for each width a summary and the engine's phases.

    Raises:
        RuntimeError: The device is not there.
    """
    prepare(setup.device)
    data = Data(*(part.to(setup.device) for part in load("mnist5k", limit_train=setup.images)))
    progress = Progress(sum(sum(weights(setup, width).values()) for width in setup.widths))
    result: dict[str, Any] = {
        "machine": machine(setup, data),
        **{name: [] for name in ("rows", "summary", "phases", "floor")},
    }
    with kept_memory():  # as a worker does; it helps all three ways
        for width in setup.widths:
            measured = Measurement(setup, width, data, progress)
            rows, phases = measured.rows()
            result["rows"] += rows
            result["summary"].append(summary(width, rows))
            result["phases"].append({"width": width} | phases)
            result["floor"] += measured.floor(rows[0]["exact_seconds"], phases)
    return result


def prepare(device: str) -> None:
    """One thread; on a GPU products in float32 rather than TF32."""
    if device != "cpu" and not torch.cuda.is_available():
        raise RuntimeError(f"--device {device}: PyTorch finds no GPU here; --device cpu would do")
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def weights(setup: Setup, width: int) -> dict[str, float]:
    """About the seconds that each kind of step takes in all on one core, to tell the time left."""
    layers, scale = DEPTH - 1, (width / 32) ** 2
    seconds = {
        "train": 2 * setup.nets,
        "engine": setup.repeats * setup.nets**2,
        "naive": 5 * setup.repeats * layers,
        "adam": 3 * setup.repeats * layers,
        "schedule": 50 * len(setup.to_the_end),
        "kernels": 2 * setup.repeats * layers,
    }
    return {kind: scale * time for kind, time in seconds.items()}


def machine(setup: Setup, data: Data) -> dict[str, Any]:
    """What it ran on, and on how much."""
    return {
        "processor": cpu_name() if setup.device == "cpu" else torch.cuda.get_device_name(),
        "threads": 1,
        "clock": "CPU seconds of the thread" if setup.device == "cpu" else "wall",
        "torch": torch.__version__,
        "python": platform.python_version(),
        **asdict(setup),
        "held_out_images": len(data.y_test),
        "adam_steps": sum(1 for _ in rates(GraftOptions())),
        "adam_steps_timed": setup.repeats * ADAM_STEPS * len(ADAM_PAIRS),
    }


def trained(setup: Setup, width: int) -> tuple[list[Snapshot], list[Network]]:
    """Nets of the family conv after a short training, moved to the device."""
    limits = {"dataset": "mnist5k", "limit_train": setup.images}
    recipe = {"epochs": EPOCHS, "snapshots": [EPOCHS], "lr": 0.02}
    axes = {"widths": [width], "seeds": setup.nets}
    config = SweepConfig.parse({"data": limits, "train": recipe, "sweep": axes})
    data = load("mnist5k", limit_train=setup.images)
    snapshots, networks = [], []
    for net in specs(config, used(config, images.facts("mnist5k"))):
        snapshots.append(snapshot(net, net_key(net), EPOCHS))
        done = train(TrainSegment(snapshots[-1], None, keep_state=False), initial_state(net), data)
        moved = {name: value.to(setup.device) for name, value in done.network.parameters.items()}
        networks.append(Network(net.architecture, moved))
    return snapshots, networks


class Measurement:
    """Everything that is measured at one width."""

    def __init__(self, setup: Setup, width: int, data: Data, progress: Progress) -> None:
        self.setup, self.width, self.data, self._progress = setup, width, data, progress
        self._weights = weights(setup, width)
        with self._step("train", f"train {setup.nets} nets"):
            self.snapshots, self.networks = trained(setup, width)

    def _step(self, kind: str, label: str, of: int = 1) -> Any:
        return self._progress.step(f"width {self.width}: {label}", self._weights[kind] / of)

    def rows(self) -> tuple[list[dict[str, Any]], dict[str, float]]:
        """A row per layer, and the engine's phases."""
        exact_seconds, fvu_exact, phases = self.engine()
        rows = []
        for layer in range(2, DEPTH + 1):
            times = {"adam_seconds": self.adam_seconds(layer), **self.naive(layer)}
            fvu_naive = times.pop("fvu_naive")
            rows.append(
                {
                    "width": self.width,
                    "layer": layer,
                    **times,
                    "exact_seconds": exact_seconds,
                    "adam_ratio": times["adam_seconds"] / exact_seconds,
                    "naive_ratio": times["naive_seconds"] / exact_seconds,
                    "fvu_adam": self.fvu_adam(layer),
                    "fvu_naive": fvu_naive,
                    "fvu_exact": fvu_exact[layer],
                    **self.kernels(layer),
                }
            )
        return rows, phases

    def _ordered_pairs(self) -> list[tuple[int, int]]:
        """All of them."""
        count = len(self.networks)
        return [(a, b) for a in range(count) for b in range(count) if a != b]

    def engine(self) -> tuple[float, dict[int, float], dict[str, float]]:
        """Seconds per graft, held-out FVU of the pair (0, 1) by layer, and the shares of the phases."""
        now = clock(self.setup.device)
        pairs = tuple(Pair(f"{a}-{b}", a, b) for a, b in self._ordered_pairs())
        ridges = self.setup.ridges
        options = GraftOptions(ridges=ridges) if ridges else GraftOptions(ridge=RIDGE)
        tile = GraftTile(tuple(self.snapshots), pairs, options)
        seconds: list[float] = []
        made = None
        with clocked(now) as phases:
            for number in range(self.setup.repeats):
                label = f"all {len(pairs)} pairs by the engine, run {number + 1}"
                with self._step("engine", label, self.setup.repeats):
                    start = now()
                    made = graft(tile, self.networks, self.data)
                    seconds.append(now() - start)
        assert made is not None
        fvu = {row["layer"]: row["fvu_test"] for row in made.grafts if row["key"] == "0-1"}
        per_graft = statistics.median(seconds) / len(made.grafts)
        return per_graft, fvu, phase_shares(phases, sum(seconds))

    def pair(self, source: int, target: int, layer: int) -> OnePair:
        """A graft by itself."""
        return OnePair(self.networks[source], self.networks[target], layer, self.data)

    def naive(self, layer: int) -> dict[str, float]:
        """Seconds and held-out FVU of one pair at a time."""
        fvu: list[float] = []
        with self._step("naive", f"layer {layer}, one pair at a time", DEPTH - 1):
            one = self.pair(0, 1, layer)
            seconds = median_seconds(
                lambda: fvu.append(one.naive(RIDGE)), self.setup.repeats, self.setup.device
            )
        return {"naive_seconds": seconds, "fvu_naive": fvu[-1]}

    def adam_seconds(self, layer: int) -> float:
        """Seconds of Adam's schedule, from some of its steps; the first ones warm up."""
        times: list[float] = []
        with self._step("adam", f"layer {layer}, steps of Adam", DEPTH - 1):
            for source, target in ADAM_PAIRS:
                steps = self.pair(source, target, layer).adam()
                next(steps)
                some = partial(_take, steps)
                times += [seconds_of(some, self.setup.device) for _ in range(self.setup.repeats)]
        return statistics.median(times) / ADAM_STEPS * sum(1 for _ in rates(GraftOptions()))

    def fvu_adam(self, layer: int) -> float | None:
        """Held-out FVU of Adam's whole schedule."""
        if layer not in self.setup.to_the_end:
            return None
        with self._step("schedule", f"layer {layer}, Adam to the end", len(self.setup.to_the_end)):
            return self.pair(0, 1, layer).adam_fvu()

    def kernels(self, layer: int) -> dict[str, float | None]:
        """Rates of the lag Gram and of the cross terms as shares of the GEMM's; None for a dense layer.

        The operations of the lag Gram are those of its products over the padded maps; borders come on top.
        Those of cross terms, of all pairs where kernels share the maps, are those of direct convs.
        """
        architecture = self.networks[0].architecture
        description = architecture.layers[layer - 1]
        if description.kind == "dense":
            return {"gram_share": None, "cross_share": None}
        with self._step("kernels", f"layer {layer}, rates", DEPTH - 2), torch.no_grad():
            x = laid(self.data.x_train[: images_per_batch(architecture)], "channels_last")
            read = [network.prefix(layer, x) for network in self.networks]
            written = [net.layer(layer, h) for net, h in zip(self.networks, read, strict=True)]
            h, z, cross, pairs = read[0], written[1], None, self._ordered_pairs()
            batch, channels, height, width = h.shape
            kernel, inputs = description.kernel, LayerInput(description, h, "float32")
            if (
                h.device.type == "cpu"
                and channels >= WIDE
                and crosses(description, (channels, height, width))
            ):
                cross = summing_crosses(pairs, None)
            padded = batch * (height + kernel - 1) * (width + kernel - 1)
            sums, steps = LagSums(kernel, description.padding), len(list(lags(kernel, height, width)))
            works = {
                "gram_share": (2.0 * steps * channels**2 * padded, lambda: sums.add(h)),
                "cross_share": (
                    2.0 * z.numel() * channels * kernel**2 * (len(pairs) if cross else 1),
                    lambda: cross.add(read, written) if cross else inputs.cross_CD(z),
                ),
            }
            return {**shares_of_gemm(works, 5 * self.setup.repeats, self.setup.device)}

    def floor(self, seconds: float, phases: dict[str, float]) -> list[dict[str, Any]]:
        """The engine's seconds of each phase for one graft beside those of a perfect machine, and all."""
        with self._step("kernels", "rate of matrix products", DEPTH - 2):
            rate = statistics.median(gemm_rates(9, self.setup.device))
        sizes = len(self.networks), self.setup.images, len(self.data.y_test)
        rows = floor(self.networks[0].architecture, *sizes, self.setup.ridges, rate)
        for row in rows:
            row["engine_seconds"] = phases[row["phase"]] * seconds
        names = [name for name in rows[0] if name != "phase"]
        sums = {name: sum(row[name] for row in rows) for name in names} | {"engine_seconds": seconds}
        total: dict[str, Any] = {"phase": "all", **sums}
        return [{"width": self.width, "gemm_gflops": rate / 1e9} | row for row in [*rows, total]]


def _take(steps: Iterator[object]) -> None:
    for _ in islice(steps, ADAM_STEPS):
        pass


def summary(width: int, rows: list[dict[str, Any]]) -> dict[str, float]:
    """Ratios of the means over layers."""
    adam, naive, exact = (
        statistics.mean(row[f"{name}_seconds"] for row in rows) for name in ("adam", "naive", "exact")
    )
    return {"width": width, "adam_ratio": adam / exact, "naive_ratio": naive / exact, "exact_seconds": exact}
