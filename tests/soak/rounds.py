"""The driver of a soak: one process that runs the same sweep again and again in new folders.

It joins Ray once, as the driver of one long sweep does: what each further joining leaves behind in Ray's
library is measured by itself (`tests.soak.joining`).

`python -m tests.soak.rounds PLACE SECONDS` writes a line to `PLACE/samples.jsonl` each ten seconds, and one
to `PLACE/rounds.jsonl` for each sweep that has ended. No sweep begins that would end too late.
"""

import json
import sys
import threading
import time
from pathlib import Path

import ray

from espalier.cluster.on_ray import session
from espalier.orchestrator.sweep import Sweep
from tests.integration.conftest import SINGLY, measured, write_config

EVERY = 10
"""Seconds between two samples of memory."""


def soaked(folder):
    """A folder with the config of a soak: 24 tiny nets, each of 11 snapshots, and a job for each snapshot."""
    fields = {"data__limit_train": 1000, "data__limit_test": 80, "network__layers": '[1, "pool", 1]'}
    training = {"train__epochs": 10, "train__batch_size": 4, "train__snapshots": list(range(11))}
    sizes = {"sweep__widths": [2, 3], "sweep__seeds": 12, "graft__ridge": 1e-6, "graft__nulls": '["self"]'}
    return measured(SINGLY, write_config(folder, **fields, **training, **sizes))


def main(place, seconds):
    end = time.monotonic() + seconds
    threading.Thread(target=_sample, args=(place / "samples.jsonl",), daemon=True).start()
    session.connect("auto")
    number, longest = 0, 0.0
    while time.monotonic() + 1.2 * longest < end:
        begun = time.monotonic()
        summary = Sweep(soaked(place / f"round{number}")).run()
        longest = max(longest, time.monotonic() - begun)
        line = {"round": number, "complete": summary.complete, "seconds": round(time.monotonic() - begun, 1)}
        _write(place / "rounds.jsonl", line)
        number += 1
    session.disconnect()


def _sample(path):
    while True:
        line = {"time": time.time(), "driver_mb": round(resident(Path("/proc/self")), 2)}
        store = "object_store_memory"
        try:
            used = ray.cluster_resources().get(store, 0) - ray.available_resources().get(store, 0)
            line["store_mb"] = round(used / 1e6, 3)
        except Exception as error:  # noqa: BLE001  at the beginning this process has no Ray
            line["no_ray"] = type(error).__name__
        _write(path, line)
        time.sleep(EVERY)


def resident(process):
    """Megabytes that a process of this folder in /proc holds in memory and shares with nobody's file."""
    lines = (process / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1e3


def _write(path, line):
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
