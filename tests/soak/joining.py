"""What a process keeps of each time that it joined Ray and left it, as JSON: `python -m tests.soak.joining`.

Ray alone, by `ray.init` and `ray.shutdown`: memory (RssAnon) and threads. A driver joins once.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import ray

from tests.integration.ray_head import ray_head
from tests.soak.rounds import resident

ROOT = Path(__file__).parents[2]
WARM = 10
"""Times before anything is counted."""


def join(times):
    """Join the Ray of RAY_ADDRESS and leave it so many times; what each of them added, after the first."""
    first = last = (0.0, 0)
    for number in range(1, times + 1):
        ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False, logging_level=logging.WARNING)
        ray.shutdown()
        last = (resident(Path("/proc/self")), len(list(Path("/proc/self/task").iterdir())))
        first = last if number == WARM else first
    counted = times - WARM
    return {
        "times": times,
        "memory_mb": [round(first[0], 1), round(last[0], 1)],
        "kb_each": round(1000 * (last[0] - first[0]) / counted, 1),
        "threads": [first[1], last[1]],
        "threads_each": round((last[1] - first[1]) / counted, 2),
        "ray": ray.__version__,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--joined", action="store_true", help="there is a Ray already")
    given = parser.parse_args()
    if given.joined:
        print(json.dumps(join(given.times), indent=2))  # noqa: T201
        return
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    with ray_head(ROOT, environment) as variables:
        command = [sys.executable, "-m", "tests.soak.joining", "--joined", f"--times={given.times}"]
        subprocess.run(command, cwd=ROOT, env=variables, check=True)


if __name__ == "__main__":
    main()
