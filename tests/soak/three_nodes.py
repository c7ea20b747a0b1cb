"""Sweeps of many small jobs on three Ray nodes, of which one is killed and replaced each minute.

`python -m tests.soak.three_nodes --minutes 30 --output FILE` is what `make soak` runs. The head has no slots;
two workers have one each. One driver runs the same sweep again and again (`tests.soak.rounds`), each in a
folder of its own, and each folder must end with the rows of an undisturbed run, each once.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import ray

from espalier.orchestrator.store.sweep_store import Store
from tests.integration.conftest import all_rows, descendants, run, title
from tests.integration.ray_head import ray_head, ray_worker, stop, wait_for
from tests.soak.rounds import EVERY, resident, soaked

ROOT = Path(__file__).parents[2]
KILL_EVERY = 60
"""Seconds from one killed node to the next."""
NODES = 2
"""Workers; the head is the third node."""
MESSAGE_BYTES = 3200
"""Ray sends a result below this with the answer, and a larger one by the object store: of a soak's snapshots,
those of width 2 (2.9 KB) go the one way, those of width 3 (3.7 KB) the other."""
GRACE = 300
"""Seconds after its end at which a driver counts as hung."""

HEAD = {"gcs": "gcs_server", "head_raylet": "raylet/raylet"}
"""What of the head is watched: its processes, by the name of the figure."""

FLAT = 30
"""MB an hour by which the memory of a process may seem to grow."""
ALLOWED = {"done", "failed lost"}
"""Outcomes of attempts, with their cause: a node was lost, and nothing else."""


class Workers:
    """The nodes that join a head: the oldest is killed, and another takes its place."""

    def __init__(self, variables, place):
        self._variables, self._place = variables, place
        self._running, self.killed = [], 0

    def join(self):
        log = self._place / f"w{self.killed + len(self._running)}.log"
        worker = ray_worker(ROOT, self._variables, log)
        self._running.append(worker)
        wait_for(worker, log)

    def replace(self):
        """SIGKILL to all that the oldest node started, as when a machine loses its power."""
        oldest = self._running.pop(0)
        for pid in [oldest.pid, *descendants(oldest.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        oldest.wait()
        self.killed += 1
        self.join()

    def stop(self):
        for worker in self._running:
            stop(worker)


def soak(minutes, place):
    """Run for so many minutes in a folder; the figures."""
    began = time.time()
    ours = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HOME": str(place), "NO_COLOR": "1"}
    environment = {**os.environ, **ours, "RAY_max_direct_call_object_size": str(MESSAGE_BYTES)}
    sockets = Path(tempfile.mkdtemp(prefix="soak", dir="/tmp"))  # short: a socket's path has 107 characters
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, sockets, ignore_errors=True)
        variables = stack.enter_context(ray_head(ROOT, environment, cpus=0))
        workers = Workers(variables, sockets)
        stack.callback(workers.stop)
        for _ in range(NODES):
            workers.join()
        with (place / "driver.log").open("w") as log:
            command = [sys.executable, "-m", "tests.soak.rounds", str(place), str(60 * minutes)]
            driver = subprocess.Popen(
                command, cwd=ROOT, env=variables, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        stack.callback(driver.kill)
        head = {name: _process(program) for name, program in HEAD.items()}
        samples = _watch(driver, workers, head, 60 * minutes + GRACE)
        ended = driver.poll()
    return _figures(place, samples, ended, workers.killed, time.time() - began)


def _process(program):
    """The process of a program, found by its path, that this one has started."""
    return next(pid for pid in descendants(os.getpid()) if program in title(pid).split("\0")[0])


def _watch(driver, workers, head, seconds):
    """Kill a node each minute and sample the head's memory until the driver ends or its time is out."""
    begun, samples = time.monotonic(), {name: [] for name in head}
    while driver.poll() is None and time.monotonic() < begun + seconds:
        if time.monotonic() > begun + KILL_EVERY * (workers.killed + 1):
            workers.replace()
        for name, pid in head.items():
            samples[name].append((time.time(), resident(Path(f"/proc/{pid}"))))
        with contextlib.suppress(subprocess.TimeoutExpired):
            driver.wait(EVERY)
    return samples


def _figures(place, head, ended, killed, seconds):
    undisturbed = soaked(place / "undisturbed")
    assert run(undisturbed).complete
    wanted = all_rows(undisturbed)
    rounds = _lines(place / "rounds.jsonl")
    folders = [place / f"round{line['round']}" for line in rounds]
    samples = _lines(place / "samples.jsonl")
    attempts = Counter()
    for folder in folders:
        log = Store(folder).read_table("jobs").to_pylist()
        attempts.update(f"{row['outcome']} {row['cause']}".strip() for row in log)
    stores = [(line["time"], line["store_mb"]) for line in samples if "store_mb" in line]
    return {
        "minutes": round(seconds / 60, 1),
        "nodes": 1 + NODES,
        "nodes_killed_and_replaced": killed,
        "driver_exit_code": ended,
        "sweeps": len(rounds),
        "sweeps_complete": sum(line["complete"] for line in rounds),
        "sweeps_with_the_rows_of_an_undisturbed_run_each_once": sum(all_rows(f) == wanted for f in folders),
        "attempts": dict(attempts),
        "memory": {
            "driver": _trend([(line["time"], line["driver_mb"]) for line in samples]),
            "object_store_in_use": _trend(stores),
            **{name: _trend(found) for name, found in head.items()},
        },
        "seconds_of_each_sweep": [line["seconds"] for line in rounds],
        "versions": {"python": platform.python_version(), "ray": ray.__version__},
        "cores": os.cpu_count(),
    }


def _trend(samples):
    """Where memory was at first, at most and at last (MB), and its slope over the last two thirds."""
    if len(samples) < 4:
        return {"samples": len(samples)}
    times, sizes = np.array(samples).T
    late = times >= times[0] + (times[-1] - times[0]) / 3
    slope = np.polyfit((times[late] - times[0]) / 3600, sizes[late], 1)[0]
    ends = {"first_mb": sizes[0], "largest_mb": sizes.max(), "last_mb": sizes[-1]}
    return {
        "samples": len(samples),
        **{name: round(float(size), 1) for name, size in ends.items()},
        "slope_mb_an_hour": round(float(slope), 1),
    }


def _lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def faults(figures):
    """What of the figures breaks a promise, in words."""
    sweeps = figures["sweeps"]
    same = figures["sweeps_with_the_rows_of_an_undisturbed_run_each_once"]
    odd = {name: n for name, n in figures["attempts"].items() if name not in ALLOWED}
    slopes = {name: trend.get("slope_mb_an_hour", 0) for name, trend in figures["memory"].items()}
    growing = {name: slope for name, slope in slopes.items() if slope > FLAT}
    found = {
        "the driver did not end well": figures["driver_exit_code"] != 0,
        "no sweep ended": not sweeps,
        f"{sweeps - same} sweeps have other rows": same != sweeps,
        f"attempts of other causes than a lost node: {odd}": bool(odd),
        f"memory grows (MB an hour): {growing}": bool(growing),
    }
    return [words for words, is_so in found.items() if is_so]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--place", type=Path, help="an empty folder, kept; by default a temporary one")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended on the way out
    with contextlib.ExitStack() as stack:
        place = given.place or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        place.mkdir(parents=True, exist_ok=True)
        figures = soak(given.minutes, place.resolve())
    given.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=2))  # noqa: T201
    sys.exit("\n".join(faults(figures)) or 0)


if __name__ == "__main__":
    main()
