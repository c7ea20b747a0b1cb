"""What is judged and what comes of it: nodes, what is wanted of them, findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Level = Literal["ok", "warn", "bad"]
GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `bad` makes a run fail; `cure` is what to do unless all is well."""

    level: Level
    topic: str
    what: str
    cure: str = ""


@dataclass(frozen=True)
class Node:
    """One node's answer, see `cluster.on_ray.ask_nodes`; without facts, `error` says why there is none."""

    name: str
    resources: Mapping[str, float]
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    skew: Mapping[str, float] | None = None
    shared: bool | None = None
    has: bool | None = None
    error: str = ""


@dataclass(frozen=True)
class Wanted:
    """What is to be run: on a cluster or this machine alone, on which device, and its places.

    `place` is where results go, `images` a path that every node must have; nothing where it is not known.
    """

    cluster: bool
    device: str = ""
    place: str = ""
    images: str = ""


Nodes = Sequence[Node]


def machines(nodes: Nodes, part: Callable[[Node], object] = lambda _: None) -> list[Node]:
    """The nodes by the machine that they are on, and by a `part` of it: each once.

    It has the names, the resources and the ports of all of its nodes, and else what the first of them said.
    """
    groups: dict[object, list[Node]] = {}
    for node in nodes:
        groups.setdefault((node.facts["host"], part(node)), []).append(node)
    return [_together(group) for group in groups.values()]


def _together(nodes: Nodes) -> Node:
    resources = Counter[str]()
    for node in nodes:
        resources.update(node.resources)
    ports = [port for node in nodes for port in node.facts["ports"]]
    return replace(nodes[0], name=names(nodes), resources=resources, facts={**nodes[0].facts, "ports": ports})


def names(nodes: Iterable[Node]) -> str:
    """The nodes' names in a row."""
    return ", ".join(node.name for node in nodes)
