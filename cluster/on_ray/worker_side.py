"""The worker's side of the pool on Ray, which itself needs no Ray: what runs inside an actor."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import pickle
import socket
import subprocess
import threading
from dataclasses import replace
from typing import Any

import numpy as np

from espalier.cluster.on_ray.node_facts import sees
from espalier.cluster.on_ray.packing import packed
from espalier.cluster.pool import Done, Execute, attempt_job

SIGHT_SECONDS = 60.0
"""For so long a look at a shared folder may take: a mount that hangs must not hold its worker."""

LOG_CHARACTERS = 64 * 2**10
"""Of what an attempt says so much is kept, its end: a warning in a loop must not fill the store."""


class Worker:
    """What runs inside an actor: imports `execute` once, then runs one job after the other."""

    def __init__(self, execute: str | Execute, gpu: bool) -> None:
        self._execute = _load(execute)
        self._place = {"node": socket.gethostname(), "device": _gpu_name() if gpu else "cpu"}

    def place(self) -> dict[str, str]:
        """Where this actor is; the first answer shows that it lives."""
        return self._place

    def sees(self, path: str, text: str) -> bool:
        """Whether the driver's file is on a disk that this machine sees; a mount that hangs is not seen."""
        seen: list[bool] = []
        look = threading.Thread(target=lambda: seen.append(sees(path, text)), daemon=True)
        look.start()
        look.join(SIGHT_SECONDS)
        return any(seen)

    def run(self, order: bytes, *arrays: np.ndarray) -> Any:
        """Do a job, given as the pickle of it and its attempt; `arrays` are the inputs that it was sent.

        Gives the packed event, and beside it each blob as an object of its own, as many as `Job.gives`
        says; the event names them, and holds what is beyond. Such objects belong to the driver, so they
        outlive this actor (those of `ray.put` would die with it), and a job on another node pulls the one
        blob that it names. A generator could give any number of them, and takes Ray twice the time.
        """
        job, attempt = pickle.loads(order)
        # Ray hands out read-only views of shared memory; safetensors takes nothing but bytes.
        inputs = dict(zip(job.sent, arrays, strict=True))
        said = Tail()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            event = attempt_job(self._execute, job, attempt, lambda name: inputs[name].tobytes(), self._place)
        said.write(event.log)
        event = replace(event, log=said.text)
        if not job.gives:
            return packed((event, ()))
        blobs = list(event.output.blobs.items()) if isinstance(event, Done) else []
        apart = blobs[: job.gives]
        if isinstance(event, Done):
            event = replace(event, output=replace(event.output, blobs=dict(blobs[job.gives :])))
        nothing = [None] * (job.gives - len(apart))
        names = tuple(name for name, _ in apart)
        return packed((event, names)), *(as_array(blob) for _, blob in apart), *nothing


class Tail(io.TextIOBase):
    """Takes what is written and keeps the end of it.

    >>> tail = Tail(most=4)
    >>> _ = tail.write("abc") + tail.write("defg")
    >>> tail.text
    '[3 characters left out]\\ndefg'
    """

    def __init__(self, most: int = LOG_CHARACTERS) -> None:
        self._most, self._kept, self._dropped = most, "", 0

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, text: str) -> int:
        """Take a text."""
        self._kept += text
        if len(self._kept) > 2 * self._most:
            self._trim()
        return len(text)

    def _trim(self) -> None:
        more = max(0, len(self._kept) - self._most)
        self._kept, self._dropped = self._kept[more:], self._dropped + more

    @property
    def text(self) -> str:
        """The end, after how much is missing before it."""
        self._trim()
        return f"[{self._dropped} characters left out]\n{self._kept}" if self._dropped else self._kept


def _load(execute: str | Execute) -> Execute:
    if not isinstance(execute, str):
        return execute
    module, _, name = execute.partition(":")
    return getattr(importlib.import_module(module), name)


def _gpu_name() -> str:
    """The name of the first GPU given to this process, `gpu` if no driver tells it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", f"--id={visible}"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return "gpu"
    return answer.stdout.strip() or "gpu"


def as_array(blob: bytes) -> np.ndarray:
    """Bytes as an array, which Ray writes to shared memory without pickling and reads without a copy."""
    return np.frombuffer(blob, dtype=np.uint8)
