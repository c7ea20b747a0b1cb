"""Where the best learning rate lies at each width, in sp and in mup (docs/parametrizations.md).

The rates are a factor sqrt(2) apart. At each width the search begins at the best rate of the width before and
walks until three rates on either side of the best one are worse. Nets are trained by a cosine with an epoch
of warm-up, without decay; the measure is the loss on the training images after the last epoch, a mean over
seeds. The best rate is that of a parabola through the logarithms of the seven losses around the least one. A
net that diverges has an infinite loss.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from benchmarks.timing import Progress
from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.orchestrator.planning.identity import net_key, snapshot
from espalier.orchestrator.planning.nets import nets
from espalier.orchestrator.record import cpu_name
from espalier.tasks.data import images
from espalier.tasks.data.tensors import Data, load
from espalier.tasks.spec import NetSpec, TrainSegment
from espalier.tasks.training.train import Diverged, initial_state, train
from espalier.tasks.worker.devices import use

STEP = math.sqrt(2.0)
AROUND = 3
"""So many rates on either side of the best one must have been tried: a factor of 2.8."""
MORE_SEEDS = 2
"""Narrow nets have so many times the seeds of the widest: they vary more, and cost less."""
TESTED = 100
"""Held-out images, which nothing depends on."""
LAST = 24
"""No search goes further than so many rates from the first."""


@dataclass(frozen=True)
class Setup:
    """What is asked for; `lr` is where the search begins at the first width.

    The base width of mup is 2, so that its outputs start small at every width: with 8 the narrowest nets,
    which then begin as in sp, had best rates of half the wide ones'.
    """

    widths: tuple[int, ...] = (8, 16, 32, 64, 128)
    seeds: int = 2  # of the widest nets
    epochs: int = 4
    images: int = 500
    network: Literal["conv", "dense"] = "conv"
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 0.04
    base_width: int = 2
    parametrizations: tuple[str, ...] = ("sp", "mup")


NETWORKS: dict[str, dict[str, Any]] = {
    "conv": {"layers": [1, "pool", 1, "pool", 1]},
    "dense": {"family": "dense", "layers": [1, 1, 1], "activation": "relu"},
}
"""`[network]` by name."""


def run(setup: Setup) -> dict[str, Any]:
    """The best rate of every parametrization and width, how far it moves, and every measured loss."""
    use("cpu")
    data = load("mnist5k", limit_train=setup.images, limit_test=TESTED)
    # Time goes about as the width squared, and each width needs about as many rates.
    progress = Progress(len(setup.parametrizations) * sum(width**2 + 100.0 for width in setup.widths))
    rows: list[dict[str, Any]] = []
    losses: list[dict[str, Any]] = []
    for parametrization in setup.parametrizations:
        place = 0
        for width in setup.widths:
            with progress.step(f"{parametrization} at width {width}", width**2 + 100.0):
                start = time.perf_counter()
                measured = search(setup, parametrization, width, place, data)
                place = min(measured, key=measured.__getitem__)
                known = {"parametrization": parametrization, "width": width}
                seconds = time.perf_counter() - start
                rows.append(known | _best(setup, measured) | {"seconds": round(seconds, 1)})
                losses += [
                    known | {"lr": rate_at(setup, at), "loss_train": measured[at]} for at in sorted(measured)
                ]
    return {
        "machine": {"cpu": cpu_name(), "threads": 1, **asdict(setup)},
        "summary": [_moved(rows, name) for name in setup.parametrizations],
        "rows": rows,
        "losses": losses,
    }


def rate_at(setup: Setup, place: int) -> float:
    """The learning rate so many factors of sqrt(2) from the first."""
    return setup.lr * STEP**place


def seeds_at(setup: Setup, width: int) -> int:
    """How many nets of a width are trained at each rate.

    >>> [seeds_at(Setup(), width) for width in (8, 16, 32, 64, 128)]
    [4, 4, 4, 4, 2]
    """
    return setup.seeds * min(MORE_SEEDS, max(setup.widths) // width)


def search(setup: Setup, parametrization: str, width: int, start: int, data: Data) -> dict[int, float]:
    """Losses by the place of their rate, until `AROUND` worse ones lie on either side of the least."""
    measured: dict[int, float] = {}
    missing = {start}
    while missing:
        for place in sorted(missing):
            measured[place] = loss_at(setup, parametrization, width, rate_at(setup, place), data)
        best = min(measured, key=measured.__getitem__)
        around = range(best - AROUND, best + AROUND + 1)
        missing = {place for place in around if abs(place) <= LAST} - measured.keys()
    return measured


def loss_at(setup: Setup, parametrization: str, width: int, lr: float, data: Data) -> float:
    """Mean over seeds of the loss on the training images after training; infinite if one diverges."""
    try:
        return float(
            np.mean([_trained(net, setup.epochs, data) for net in _nets(setup, parametrization, width, lr)])
        )
    except Diverged:
        return math.inf


def _nets(setup: Setup, parametrization: str, width: int, lr: float) -> Iterator[NetSpec]:
    config = SweepConfig.parse(
        {
            "data": {"dataset": "mnist5k", "limit_train": setup.images, "limit_test": TESTED},
            "network": {"parametrization": parametrization, "base_width": setup.base_width}
            | NETWORKS[setup.network],
            "train": {
                "epochs": setup.epochs,
                "snapshots": [setup.epochs],
                "lr": lr,
                "batch_size": 32,
                "optimizer": setup.optimizer,
                "regularizer": "none",
            },
            "sweep": {"widths": [width], "seeds": max(2, seeds_at(setup, width))},
        }
    )
    made = nets(config, images.facts("mnist5k"))
    # One order of images for all: only the rate tells two nets of a seed apart.
    return (replace(net, order=(net.seed,)) for net in made[: seeds_at(setup, width)])


def _trained(net: NetSpec, epochs: int, data: Data) -> float:
    segment = TrainSegment(snapshot(net, net_key(net), epochs), None, keep_state=False)
    loss = float(train(segment, initial_state(net), data).net_row["loss_train"])
    return loss if math.isfinite(loss) else math.inf


def _best(setup: Setup, measured: dict[int, float]) -> dict[str, float]:
    """The best rate between the places, that of the places, and its loss."""
    best = min(measured, key=measured.__getitem__)
    return {
        "best_lr": rate_at(setup, 0) * STEP ** vertex(measured, best),
        "best_lr_tried": rate_at(setup, best),
        "loss_train": measured[best],
    }


def vertex(measured: dict[int, float], best: int) -> float:
    """Where the parabola through the log losses within `AROUND` of the best place is least, in that range.

    >>> round(vertex({-1: 2.0**2.25, 0: 2.0**0.25, 1: 2.0**0.25, 2: 2.0**2.25}, 0), 6)
    0.5
    """
    near = [place for place in measured if abs(place - best) <= AROUND and 0.0 < measured[place] < math.inf]
    if len(near) < 3:
        return float(best)
    square, linear, _ = np.polyfit(near, np.log([measured[place] for place in near]), 2)
    if square <= 0:
        return float(best)
    return float(np.clip(-linear / (2 * square), best - AROUND, best + AROUND))


def _moved(rows: list[dict[str, Any]], parametrization: str) -> dict[str, Any]:
    """By what factor the best rate moves over the widths."""
    rates = [row["best_lr"] for row in rows if row["parametrization"] == parametrization]
    return {"parametrization": parametrization, "moved_by": max(rates) / min(rates)}
