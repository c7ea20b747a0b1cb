"""Asking every node of a cluster what it is like, in a given time: one actor each, which reserves nothing."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray._private import worker
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from espalier.cluster.on_ray import node_facts, session

PINGS = 3


class Examiner:
    """Answers for its node. It imports Espalier there, as a run's workers do."""

    def facts(self, ray_folder: str | None) -> dict[str, Any]:
        """What the node is like."""
        return node_facts.facts(ray_folder)

    def clock(self) -> float:
        """The node's time of day."""
        return node_facts.clock()

    def shares(self, path: str, text: str) -> bool:
        """Whether the driver's file is on a disk that this node sees."""
        return node_facts.sees(path, text)

    def has(self, path: str) -> bool:
        """Whether the node has something at a path."""
        return node_facts.has(path)


def ask_nodes(
    address: str, seconds: float, folder: Path | None = None, needed: str | None = None
) -> list[dict[str, Any]]:
    """One answer per node that is alive: `name`, `resources`, `error` and, without one, what it is like.

    Args:
        address: The cluster, as for `cluster.on_ray.session.connect`.
        seconds: How long all of it may take once the cluster is joined; who has not answered has an `error`.
        folder: A local folder of the driver; `shared` says whether the node sees what is written there.
        needed: A path that every node must have; `has` says whether it does.

    Raises:
        ConnectionError: No Ray answers at the address.
        RuntimeError: Joining fails, say because the tokens differ.
        ValueError: The address means nothing that can be joined.
    """
    connected = session.connect(address)
    try:
        return _asked(time.monotonic() + seconds, folder, needed)
    finally:
        if connected:
            session.disconnect()


def alive() -> list[str]:
    """The ids of the nodes that are alive."""
    return sorted(node["NodeID"] for node in ray.nodes() if node["Alive"])


def _asked(deadline: float, folder: Path | None, needed: str | None) -> list[dict[str, Any]]:
    nodes = [node for node in ray.nodes() if node["Alive"]]
    examiners = [_examiner(node["NodeID"]) for node in nodes]
    here: Any = worker._global_node
    ray_folder = str(Path(here.get_session_dir_path()).parent)
    first = [examiner.facts.remote(ray_folder) for examiner in examiners]
    answers = list[dict[str, Any]]()
    with _mark(folder) as (path, text):
        for node, examiner, call in zip(nodes, examiners, first, strict=True):
            name = f"{node['NodeManagerAddress']} ({node['NodeID'][:6]})"
            answer: dict[str, Any] = {"name": name, "resources": node["Resources"], "error": ""}
            try:
                answer["facts"] = _got(call, deadline)
                answer["skew"] = _skew(examiner, deadline)
                answer["shared"] = _got(examiner.shares.remote(path, text), deadline) if path else None
                answer["has"] = _got(examiner.has.remote(needed), deadline) if needed else None
            except GetTimeoutError:
                answer["error"] = "no answer in time"
            except RayError as error:
                answer["error"] = _said(error)
            answers.append(answer)
    for examiner in examiners:
        ray.kill(examiner)
    return answers


def _examiner(node: str) -> Any:
    strategy = NodeAffinitySchedulingStrategy(node, soft=False)
    actor: Any = ray.remote(num_cpus=0, max_restarts=0)(Examiner)
    return actor.options(scheduling_strategy=strategy).remote()


def _got(call: Any, deadline: float) -> Any:
    return ray.get(call, timeout=max(0.0, deadline - time.monotonic()))


def _skew(examiner: Any, deadline: float) -> dict[str, float]:
    """Seconds that the node's clock is ahead of ours, and how far that may be wrong: half the round trip."""
    found = list[tuple[float, float]]()
    for _ in range(PINGS):
        before = time.time()
        there = _got(examiner.clock.remote(), deadline)
        after = time.time()
        found.append(((after - before) / 2, there - (after + before) / 2))
    error, ahead = min(found)
    return {"seconds": ahead, "error": error}


@contextlib.contextmanager
def _mark(folder: Path | None) -> Iterator[tuple[str, str]]:
    """A file with a text that nobody else can know, in a folder if it is there and can be written to."""
    if folder is None or not os.access(folder, os.W_OK | os.X_OK):
        yield "", ""
        return
    path, text = folder.resolve() / f".doctor-{uuid.uuid4().hex}", uuid.uuid4().hex
    path.write_text(text, encoding="utf-8")
    try:
        yield str(path), text
    finally:
        path.unlink(missing_ok=True)


def _said(error: Exception) -> str:
    """The last line that says something: of an import that failed on the node, the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if "Error" in line.partition(":")[0]]
    return (causes or lines or [type(error).__name__])[-1]
