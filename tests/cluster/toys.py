"""Small tasks that Ray's workers can import (the fixture puts this folder on their path)."""

import os
import signal
import threading
import time
from pathlib import Path

from espalier.cluster.pool import Output


class HopelessError(Exception):
    hopeless = True


def execute(job, blobs):
    return KINDS[job.kind](job, blobs)


def join(job, blobs):
    assert all(type(blob) is bytes for blob in blobs.values())
    joined = b"".join(blobs[name] for name in job.inputs) + str(job.payload).encode()
    return Output(
        {"lengths": [len(blob) for blob in blobs.values()]}, {job.key: joined, f"{job.key}/empty": b""}
    )


def look(job, blobs):
    time.sleep(job.payload)
    return Output({"pid": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS")})


def sleep(job, blobs):
    time.sleep(job.payload)
    return Output()


def stay(job, blobs):
    """Goes on until a file is there."""
    end = time.monotonic() + 60
    while not Path(job.payload).exists() and time.monotonic() < end:
        time.sleep(0.02)
    return Output()


def once(job, blobs):
    """Sleeps long the first time, and never again."""
    seconds, folder = job.payload
    mark = Path(folder) / f"slept {seconds}"
    if not mark.exists():
        mark.touch()
        time.sleep(seconds)
    return Output()


def die(job, blobs):
    os._exit(1)


def hang(job, blobs):
    Path(job.payload).write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGSTOP)
    return Output({"late": True})


def fail(job, blobs):
    raise ValueError(f"no {job.payload}")


def despair(job, blobs):
    raise HopelessError("never")


def unpicklable(job, blobs):
    return Output({"a": threading.Lock()})


KINDS = {f.__name__: f for f in (join, look, sleep, stay, once, die, hang, fail, despair, unpicklable)}
