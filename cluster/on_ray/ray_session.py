"""The parts of the Ray pool that do not need Ray: the worker's side, the blob cache, the count of slots."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from espalier.cluster.pool import Done, Execute, Job, attempt_job


class Worker:
    """What runs inside an actor: imports `execute` once, then runs one job after the other."""

    def __init__(self, execute: str | Execute, gpu: bool) -> None:
        self._execute = _load(execute)
        self._place = {"node": socket.gethostname(), "device": _gpu_name() if gpu else "cpu"}

    def place(self) -> dict[str, str]:
        """Where this actor is; the first answer shows that it lives."""
        return self._place

    def run(self, job: Job, attempt: int, *arrays: np.ndarray) -> Iterator[Any]:
        """Yield the event with the names of its blobs, then each blob as an object of its own.

        Yielded objects belong to the driver, so they outlive this actor (those of `ray.put` would
        die with it), and a job on another node pulls the one blob that it names.
        """
        # Ray hands out read-only views of shared memory; safetensors takes nothing but bytes.
        inputs = dict(zip(job.inputs, arrays, strict=True))
        event = attempt_job(self._execute, job, attempt, lambda name: inputs[name].tobytes(), self._place)
        blobs = event.output.blobs if isinstance(event, Done) else {}
        if isinstance(event, Done):
            event = replace(event, output=replace(event.output, blobs={}))
        yield event, list(blobs)
        for blob in blobs.values():
            yield as_array(blob)


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


class BlobCache:
    """References by blob name; beyond `budget` bytes the least recently used are let go.

    >>> cache = BlobCache(budget=10)
    >>> for name in "ab": cache.put(name, name.upper(), size=5)
    >>> cache.get("a")
    'A'
    >>> cache.put("c", "C", size=5)
    >>> cache.get("b"), cache.size
    (None, 10)
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._entries: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self.size = 0

    def get(self, name: str) -> Any:
        """The reference of a blob, or None."""
        if name not in self._entries:
            return None
        self._entries.move_to_end(name)
        return self._entries[name][0]

    def put(self, name: str, reference: Any, size: int) -> None:
        """Keep a reference; a blob larger than the whole budget is not kept."""
        self.drop([name])
        self._entries[name] = (reference, size)
        self.size += size
        while self.size > self._budget:
            self.drop([next(iter(self._entries))])

    def drop(self, names: Iterable[str]) -> None:
        """Forget blobs. Calls in flight that name them keep them alive until they end."""
        for name in names:
            _, size = self._entries.pop(name, (None, 0))
            self.size -= size


def count_slots(nodes: list[dict[str, float]], need: Mapping[str, float], wanted: int | None) -> int:
    """How many slots to make: those wanted, or all that fit.

    >>> count_slots([{"CPU": 8, "GPU": 2}, {"CPU": 4}], {"CPU": 1, "GPU": 0.5}, None)
    4

    Raises:
        ValueError: They do not fit, or none does.
    """
    asked = {name: amount for name, amount in need.items() if amount}
    # A slot lives on one node; 1e-9 forgives 0.1 + 0.1 + 0.1.
    fit = sum(min(int(node.get(name, 0) / amount + 1e-9) for name, amount in asked.items()) for node in nodes)
    if fit >= (wanted or 1) and wanted != 0:
        return fit if wanted is None else wanted
    per_slot = " and ".join(f"{amount:g} {name}" for name, amount in asked.items())
    has = " and ".join(f"{sum(node.get(name, 0) for node in nodes):g} {name}" for name in asked)
    cure = f"1 to {fit} slots" if fit else "less per slot"
    raise ValueError(
        f"slots={wanted} of {per_slot} each (each on one node) were asked for; the cluster has {has} on "
        f"{len(nodes)} node(s), room for {fit}. Ask for {cure}, or join a larger cluster."
    )
