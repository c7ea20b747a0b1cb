"""What measures without a fit cost: beside the grafts of the same nets, and beside public implementations.

(a) All measures of all unordered pairs at all layers with their nulls (`tasks.measures`) take turns with the
grafts of all ordered pairs at all layers (`tasks.grafting`), with the nulls that a sweep gives by default and
without: the same nets, as many fitting and held-out images.
(b) Each measure that has a public implementation by itself, for all pairs at all layers, beside that
implementation for one pair at a time (`benchmarks.public_measures`): timed on one pair with a few
permutations, layer by layer, and scaled to all pairs with as many permutations as our rows have.
"""

from __future__ import annotations

import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from typing import Any

import torch

from benchmarks.graft_cost import prepare
from benchmarks.public_measures import PUBLIC, Public, pair_seconds
from benchmarks.timing import Progress, clock, seconds_of
from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.orchestrator.planning.identity import net_key, snapshot
from espalier.orchestrator.planning.kinds.pairings import graft_options, wanted_pairs
from espalier.orchestrator.planning.nets import nets as specs
from espalier.orchestrator.planning.nets import used
from espalier.orchestrator.record import cpu_name
from espalier.tasks.data import images
from espalier.tasks.data.tensors import Data, load
from espalier.tasks.grafting.graft import graft
from espalier.tasks.grafting.nulls.known_nulls import DEFAULT_NULLS
from espalier.tasks.measures.known_measures import MEASURES
from espalier.tasks.measures.layer_matrices import LayerMatrices
from espalier.tasks.measures.similarity_rows import similarities
from espalier.tasks.measures.streamed_layers import layers_of
from espalier.tasks.networks.network import Network, initialise
from espalier.tasks.spec import (
    Comparison,
    GraftTile,
    Pair,
    SimilarityTile,
    Snapshot,
    TrainSegment,
)
from espalier.tasks.training.train import initial_state, train

EPOCHS, DATASET = 2, "digits"
FEW = (1, 4)
"""Numbers of permutations that a public implementation is timed with; hyppo's are cheap, so more of them."""
FEW_OF = {"hyppo": (1, 101), "POT": (1, 21)}


@dataclass(frozen=True)
class Setup:
    """What is asked for: nets of one width on so many fitting and held-out images; median of some repeats."""

    width: int = 64
    nets: int = 8
    images: int = 1000
    permutations: int = 999
    repeats: int = 3
    ridges: tuple[float, ...] = (1e-6, 1e-4, 1e-2, 1e-1)


def run(setup: Setup) -> dict[str, Any]:
    """The machine, the measures beside the grafts, and a row for each measure that is known elsewhere."""
    prepare("cpu")
    data, snapshots, networks = trained(setup)
    progress = Progress(setup.repeats * 3.0 + len(PUBLIC) * 2.0)
    tile = _beside_grafts(setup, snapshots, networks, data, progress)
    layers = list(_layers_of_a_pair(setup, networks, data))
    rows = [
        _beside_public(setup, name, public, snapshots, networks, data, layers, progress)
        for name, public in PUBLIC.items()
    ]
    known = [row for row in rows if row["ratio"] is not None]
    result: dict[str, Any] = {"machine": machine(setup, data), "tile": [tile], "public": rows}
    if known:
        seconds, public_seconds = (sum(row[name] for row in known) for name in ("seconds", "public_seconds"))
        result["summary"] = [
            {
                "measures": ", ".join(row["measure"] for row in known),
                "seconds": seconds,
                "public_seconds": public_seconds,
                "ratio": public_seconds / seconds,
            }
        ]
    return result


def machine(setup: Setup, data: Data) -> dict[str, Any]:
    """What it ran on, and on how much."""
    return {
        "processor": cpu_name(),
        "threads": 1,
        "clock": "CPU seconds of the thread",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "dataset": DATASET,
        **asdict(setup),
        "held_out_images": len(data.y_test),
        "not_compared": [name for name in MEASURES if name not in PUBLIC],
    }


def trained(setup: Setup) -> tuple[Data, list[Snapshot], list[Network]]:
    """Nets of the family conv after a short training, and images to fit on and to hold out.

    Where there are too few for both, the last fitting images are the first that are held out: no time depends
    on it.
    """
    config = SweepConfig.parse(
        {
            "data": {"dataset": DATASET},
            "train": {"epochs": EPOCHS, "snapshots": [EPOCHS], "lr": 0.02},
            "sweep": {"widths": [setup.width], "seeds": setup.nets},
        }
    )
    data, snapshots, networks = load(DATASET), list[Snapshot](), list[Network]()
    for net in specs(config, used(config, images.facts(DATASET))):
        snapshots.append(snapshot(net, net_key(net), EPOCHS))
        segment = TrainSegment(snapshots[-1], None, keep_state=False)
        networks.append(train(segment, initial_state(net), data).network)
    x, y = torch.cat([data.x_train, data.x_test]), torch.cat([data.y_train, data.y_test])
    count = setup.images
    return Data(x[:count], y[:count], x[-count:], y[-count:]), snapshots, networks


def _tile(setup: Setup, snapshots: Sequence[Snapshot], measures: Sequence[str]) -> SimilarityTile:
    named = {name: name for name in measures}
    pairs = tuple(Comparison(*pair, named) for pair in combinations(range(len(snapshots)), 2))
    return SimilarityTile(tuple(snapshots), pairs, setup.images, setup.permutations)


def _beside_grafts(
    setup: Setup, snapshots: Sequence[Snapshot], networks: list[Network], data: Data, progress: Progress
) -> dict[str, Any]:
    measured = _tile(setup, snapshots, MEASURES)
    initial = [initialise(snap.net) for snap in snapshots]
    times: dict[str, list[float]] = {}
    counts: dict[str, int] = {}

    def measure() -> int:
        return len(similarities(measured, networks, data))

    def fit(nulls: Sequence[str]) -> int:
        return len(graft(_grafts(setup, snapshots, nulls), [*networks, *initial], data).grafts)

    works = {"measures": measure, "grafts": partial(fit, DEFAULT_NULLS), "real grafts": partial(fit, ())}
    for number in range(setup.repeats):
        for name, work in works.items():
            with progress.step(f"{name} of all pairs at all layers, run {number + 1}", 1.0):
                start = clock("cpu")()
                counts[name] = work()
                times.setdefault(name, []).append(clock("cpu")() - start)
    row: dict[str, Any] = {"width": setup.width, "nets": len(snapshots), "values": counts["measures"]}
    row["measure_seconds"] = statistics.median(times["measures"])
    for name in ("grafts", "real grafts"):
        ratios = [m / g for m, g in zip(times["measures"], times[name], strict=True)]
        row |= {name: counts[name], f"{name}: seconds": statistics.median(times[name])}
        row[f"measures / {name}"] = statistics.median(ratios)
    return row


def _grafts(setup: Setup, snapshots: Sequence[Snapshot], nulls: Sequence[str]) -> GraftTile:
    """Every ordered pair of the nets and its nulls, whose sources may be the nets as they began."""
    ladders = [(snapshot(snap.net, net_key(snap.net), 0), snap) for snap in snapshots]
    config = SweepConfig.parse({"graft": {"nulls": list(nulls), "ridges": list(setup.ridges)}})
    used_nets = (*snapshots, *(ladder[0] for ladder in ladders))
    place = {snap.key: number for number, snap in enumerate(used_nets)}
    pairs = tuple(
        Pair(pair.key, place[pair.source.key], place[pair.target.key], pair.null)
        for pair in wanted_pairs(config, ladders)
        if pair.target.epoch == snapshots[0].epoch
    )
    return GraftTile(used_nets, pairs, graft_options(config))


@torch.no_grad()
def _layers_of_a_pair(setup: Setup, networks: Sequence[Network], data: Data) -> list[LayerMatrices]:
    """Every layer of the first two nets."""
    found = []
    for _, batches in layers_of(networks[:2], data.x_test):
        layer = LayerMatrices([h.shape[1] for h in batches[0]], setup.permutations)
        for some in batches:
            layer.add(some)
        _ = layer.rows
        found.append(layer)
    return found


def _beside_public(
    setup: Setup,
    name: str,
    public: Public,
    snapshots: Sequence[Snapshot],
    networks: Sequence[Network],
    data: Data,
    layers: Sequence[LayerMatrices],
    progress: Progress,
) -> dict[str, Any]:
    """A measure of all pairs at all layers, and the same by one pair at a time."""
    row: dict[str, Any] = {"measure": name, "package": public.package, "version": public.installed()}
    row |= {"call": public.call, "permutations": None, "seconds": None, "public_seconds": None, "ratio": None}
    if row["version"] is None:
        return row | {"call": f"not installed: pip install {public.package}"}
    tile, made = _tile(setup, snapshots, [name]), list[dict[str, Any]]()
    with progress.step(f"{name} of all pairs", 1.0):
        times = [
            seconds_of(lambda: made.extend(similarities(tile, networks, data)), "cpu")
            for _ in range(setup.repeats)
        ]
    permutations = [
        next(r["permutations"] for r in made if r["layer"] == n) for n in range(1, len(layers) + 1)
    ]
    few, total = FEW_OF.get(public.package, FEW), 0.0
    with progress.step(f"{name} by {public.package}, one pair", 1.0):
        public.null(layers[-1])(few[0])  # imports and compiles
        for layer, count in zip(layers, permutations, strict=True):
            total += pair_seconds(public.null(layer), count, few, clock("cpu"))
    seconds = statistics.median(times)
    told = " ".join(map(str, dict.fromkeys(permutations)))
    values = {"permutations": told, "seconds": seconds, "public_seconds": total * len(tile.pairs)}
    return row | values | {"ratio": values["public_seconds"] / seconds}
