"""The crew of the pool on Ray: slots on nodes where workers start, each replaced when its worker dies."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray._private import state
from ray.exceptions import RayError

from espalier.cluster.on_ray import session
from espalier.cluster.on_ray.actors import MakeSlot, Slot
from espalier.cluster.on_ray.set_aside import SetAside

START_SECONDS = 300.0
"""A worker that was given a place and does not answer for so long has failed to start."""

LOOK_SECONDS = 10.0


class Crew:
    """The slots of a pool.

    Args:
        make: Asks Ray for an actor on any node but some.
        count: How many slots.
        need: What a slot takes of a node's resources.
        execute: What each worker imports, for errors.
        start_timeout: Seconds without any live worker after which `check` gives up.
        tell: Takes lines for the user.
    """

    def __init__(
        self,
        make: MakeSlot,
        count: int,
        need: Mapping[str, float],
        execute: object,
        start_timeout: float,
        tell: Callable[[str], object],
    ) -> None:
        self._make, self._need, self._execute = make, need, execute
        self._start_timeout, self._tell = start_timeout, tell
        self._aside, self._excluded = SetAside(), frozenset[str]()
        self._alive_at = self._looked = time.monotonic()
        self.slots = [make(frozenset()) for _ in range(count)]

    def alive(self) -> None:
        """A worker has answered just now."""
        self._alive_at = time.monotonic()

    def greet(self, slot: Slot) -> None:
        """Note that a worker has started, or put another in its place.

        Raises:
            RuntimeError: Workers start nowhere.
        """
        try:
            slot.place, slot.hello = ray.get(slot.hello), None
        except RayError as error:
            self._failed(slot, str(error).strip().splitlines()[-1])
            return
        slot.node = _place(slot)
        self._aside.started(slot.node)
        self.alive()

    def replace(self, slot: Slot) -> None:
        """Put a new worker in a slot; Ray ends the old one, by force after five seconds."""
        ray.kill(slot.actor)  # it may be alive but cut off, or hang
        self.slots[self.slots.index(slot)] = self._make(self._aside.excluded())

    def check(self) -> None:
        """Look after those who have not started: on nodes that are to be tried again, or without an answer.

        Raises:
            RuntimeError: No worker has started for too long.
        """
        now = time.monotonic()
        if not all(slot.hello for slot in self.slots):
            self.alive()
        elif now - self._alive_at > self._start_timeout:
            failed = f" The last that failed said: {self._aside.error()}" if self._aside.error() else ""
            raise RuntimeError(
                f"No worker has started for {self._start_timeout:.0f} s: the cluster's cores, GPUs or memory "
                f"are held by others (see `ray status`). Free them, or ask for less per slot.{failed}"
                f"{session.where()}"
            )
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        again = self._excluded - self._aside.excluded()
        for slot in [slot for slot in self.slots if slot.hello]:
            placed = _place(slot)
            if not placed and again:
                self.replace(slot)  # it was to be started anywhere but on a node that is tried again now
            elif placed and now - slot.born > START_SECONDS:
                self._failed(slot, f"a worker did not answer within {START_SECONDS:.0f} s of its start")
        self._excluded = self._aside.excluded()

    def elsewhere(self, node: str) -> bool:
        """Whether there is a live worker on another node."""
        return any(not slot.hello and slot.node != node for slot in self.slots)

    def close(self) -> None:
        """Kill all workers."""
        slots, self.slots = self.slots, []
        for slot in slots:
            ray.kill(slot.actor)

    def _failed(self, slot: Slot, error: str) -> None:
        node, names = _place(slot), _names(self._need)
        # An actor that was given to a node just before that died says nothing of any node.
        seconds = self._aside.failed(node, error) if node in names else 0.0
        if self._aside.all_of(names) and all(other.hello for other in self.slots):
            raise RuntimeError(
                f"workers die while starting, on every node ({', '.join(sorted(set(names.values())))}). "
                f"Check that `execute` ({self._execute}) can be imported on every node. The last one said: "
                f"{self._aside.error()}{session.where()}"
            )
        if seconds:
            self._tell(
                f"node {names.get(node, node)} is set aside, for workers do not start there: {error} "
                f"(tried again in {seconds:.0f} s)"
            )
        self._excluded = self._aside.excluded()
        self.replace(slot)


def _place(slot: Slot) -> str:
    """The id of the node on which a slot's actor is or was; empty if Ray has found none for it."""
    told: Any = state.actors(slot.actor._actor_id.hex())
    address = told.get("Address", {})
    return address.get("NodeID", "") if address.get("IPAddress") else ""


def _names(need: Mapping[str, float]) -> dict[str, str]:
    """How people call the nodes that are alive and large enough for a slot, by their ids."""
    return {
        node["NodeID"]: f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        for node in ray.nodes()
        if node["Alive"] and all(node["Resources"].get(name, 0.0) >= need[name] for name in need)
    }
