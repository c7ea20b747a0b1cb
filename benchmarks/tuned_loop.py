"""The plain loop in Ray Tune: one trial per net, one core each, actors used again."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from benchmarks.plain_loop import train_nets
from espalier.tasks.data.tensors import Data
from espalier.tasks.spec import NetSpec


def fit_all(nets: Sequence[NetSpec], epochs: int, data: Data, cores: int, device: str, folder: Path) -> float:
    """Train one net in each trial, as many trials at once as there are cores.

    Returns:
        Seconds from the first trial's first step to the last one's end: what Tune takes to start its actors,
        and PyTorch to import its compiler at a worker's first step, is left out, as it is of Espalier.

    Raises:
        RuntimeError: A trial failed, or Ray has too few cores beside Espalier's.
    """
    free = ray.available_resources().get("CPU", 0.0)
    if free < cores:
        raise RuntimeError(
            f"Ray has {free:g} cores left for Ray Tune's {cores}: give the benchmark a Ray of its own, or "
            "leave Tune out by --no-tune"
        )
    # No tables on the screen, no logs for TensorBoard: they would only cost time.
    os.environ |= {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}
    logging.getLogger("ray.tune").setLevel(logging.ERROR)  # that there are no logs is no news
    shared = ray.put(Data(*(part.cpu() for part in data)))

    def trial(config: dict[str, Any]) -> dict[str, Any]:
        torch.set_num_threads(1)
        net = nets[config["net"]]
        images = Data(*(part.to(device) for part in ray.get(shared)))
        few = Data(images.x_train[:2], images.y_train[:2], images.x_test[:2], images.y_test[:2])
        train_nets(net.architecture, net.recipe, 1, few, 1)
        start = time.time()
        train_nets(net.architecture, net.recipe, epochs, images, 1)
        return {"start": start, "end": time.time()}

    resources = {"cpu": 1.0} | ({"gpu": 1.0 / cores} if device != "cpu" else {})
    tuner = tune.Tuner(
        tune.with_resources(trial, resources),
        param_space={"net": tune.grid_search(list(range(len(nets))))},
        tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=cores),
        run_config=tune.RunConfig(storage_path=str(folder / "tune"), verbose=0),
    )
    with redirect_stdout(sys.stderr):  # the benchmark's own output may be JSON
        results = tuner.fit()
    if results.num_errors:
        raise RuntimeError(f"{results.num_errors} of Ray Tune's trials failed")
    told = [result.metrics or {} for result in results]
    return max(one["end"] for one in told) - min(one["start"] for one in told)
