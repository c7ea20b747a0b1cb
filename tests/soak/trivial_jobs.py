"""What a driver and a head keep of each job, as JSON: `python -m tests.soak.trivial_jobs --jobs 40000`.

One connection, two workers, and jobs that do nothing but give a blob of 4,000 bytes, as a tiny net's.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import ray

from espalier.cluster.on_ray.ray_pool import RayPool
from espalier.cluster.pool import Job, Output
from tests.integration.conftest import descendants, title
from tests.integration.ray_head import ray_head
from tests.soak.rounds import resident

ROOT = Path(__file__).parents[2]
IN_FLIGHT = 16
SAMPLES = 10
WARM = 0.4
"""Part of the jobs before anything is counted: until then the driver's cache of small blobs fills."""


def give(job, blobs):
    """A job's work."""
    return Output(blobs={job.key: bytes(4000)})


def measure(jobs, head):
    """Megabytes of the driver and the head's process after each tenth of the jobs, and what each job adds."""
    every, samples, begun = jobs // SAMPLES, [], time.monotonic()
    with RayPool("tests.soak.trivial_jobs:give", {}.__getitem__, address="auto", slots=2) as pool:
        sent = ended = 0
        while ended < jobs:
            for _ in range(min(IN_FLIGHT - (sent - ended), jobs - sent)):
                pool.submit(Job(f"k{sent}", "give", None, gives=1), 1)
                sent += 1
            ended += len(pool.wait(1.0))
            if ended >= every * (len(samples) + 1):
                samples.append((ended, resident(Path("/proc/self")), resident(Path(f"/proc/{head}"))))
    after = [each for each in samples if each[0] > WARM * jobs]
    counted = after[-1][0] - after[0][0]
    return {
        "jobs": jobs,
        "jobs_a_second": round(jobs / (time.monotonic() - begun)),
        "driver_mb": [round(each[1], 1) for each in samples],
        "gcs_mb": [round(each[2], 1) for each in samples],
        "driver_kb_a_job": round(1000 * (after[-1][1] - after[0][1]) / counted, 3),
        "gcs_kb_a_job": round(1000 * (after[-1][2] - after[0][2]) / counted, 3),
        "ray": ray.__version__,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=40_000)
    parser.add_argument("--head", type=int, help="the process of a head that is there already")
    given = parser.parse_args()
    if given.head:
        print(json.dumps(measure(given.jobs, given.head), indent=2))  # noqa: T201
        return
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    with ray_head(ROOT, environment) as variables:
        head = next(pid for pid in descendants(os.getpid()) if "gcs_server" in title(pid).split("\0")[0])
        command = [sys.executable, "-m", "tests.soak.trivial_jobs", f"--head={head}", f"--jobs={given.jobs}"]
        subprocess.run(command, cwd=ROOT, env=variables, check=True)


if __name__ == "__main__":
    main()
