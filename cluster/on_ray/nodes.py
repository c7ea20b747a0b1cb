"""The nodes of a cluster as they are now: their room for slots, the memory of a slot, and who is leaving."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray._private import state

from espalier.cluster.on_ray.slot_count import room

LOOK_SECONDS = 5.0
"""A spot node is announced to go 30 to 120 seconds before it does."""


@dataclass(frozen=True)
class Node:
    """A node that is alive.

    Attributes:
        name: How people call it.
        slots: How many slots have room on it.
        memory: Bytes for each of them, if all are used.
        leaving: It is being drained: its provider takes it away, or its `ray start --block` was told to end.
    """

    name: str
    slots: int
    memory: int
    leaving: bool = False


Ask = Callable[[Mapping[str, float]], dict[str, Node]]
"""Gives the nodes by their ids, for slots that need so much of a node's resources each."""


def ask_ray(need: Mapping[str, float]) -> dict[str, Node]:
    """The nodes that Ray knows to be alive."""
    return nodes_of(ray.nodes(), state.state.get_draining_nodes(), need)


def nodes_of(
    told: Iterable[Mapping[str, Any]], draining: Iterable[str], need: Mapping[str, float]
) -> dict[str, Node]:
    """The nodes that are alive, from Ray's table of nodes and the ids of those being drained."""
    leaving, nodes = set(draining), dict[str, Node]()
    for node in told:
        if node["Alive"]:
            slots = room(node["Resources"], need)
            memory = int(node["Resources"].get("memory", 0) / max(1, slots))
            name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            nodes[node["NodeID"]] = Node(name, slots, memory, node["NodeID"] in leaving)
    return nodes


class Nodes:
    """The nodes, asked for when the last answer is old.

    Args:
        need: What a slot takes of a node's resources.
        ask: Gives the nodes.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self,
        need: Mapping[str, float],
        ask: Ask = ask_ray,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._need, self._ask, self._clock = need, ask, clock
        self._at = float("-inf")
        self._nodes: dict[str, Node] = {}
        self._left: set[str] = set()

    def now(self, fresh: bool = False) -> dict[str, Node]:
        """The nodes that are alive, by their ids; `fresh` asks whatever the age of the last answer."""
        if fresh or self._clock() - self._at >= LOOK_SECONDS:
            self._at, self._nodes = self._clock(), self._ask(self._need)
            self._left |= {key for key, node in self._nodes.items() if node.leaving}
        return self._nodes

    def leaving(self) -> frozenset[str]:
        """The nodes that are alive and being taken away."""
        return frozenset(self._left & self.now().keys())

    def taken(self, key: str) -> bool:
        """Whether a node is being taken away, or was."""
        self.now()
        return key in self._left

    def usable(self, excluded: frozenset[str] = frozenset()) -> dict[str, Node]:
        """The nodes with room for a slot that stay, but for some."""
        return {
            key: node
            for key, node in self.now().items()
            if node.slots and key not in self._left and key not in excluded
        }
