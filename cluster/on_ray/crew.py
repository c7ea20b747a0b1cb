"""The crew of the pool on Ray: slots on nodes where workers start, each replaced when its worker dies."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import ray
from ray._private import state
from ray.exceptions import RayError

from espalier.cluster.on_ray import session
from espalier.cluster.on_ray.actors import MakeSlot, Slot
from espalier.cluster.on_ray.nodes import LOOK_SECONDS, Nodes
from espalier.cluster.on_ray.set_aside import SetAside

START_SECONDS = 300.0
"""A worker that was given a place and does not answer for so long has failed to start."""


class Crew:
    """The slots of a pool.

    Args:
        make: Asks Ray for an actor on any node but some.
        count: How many slots to begin with.
        grows: Whether there are to be as many slots as the nodes have room for, whoever joins and leaves.
        nodes: The cluster's nodes.
        execute: What each worker imports, for errors.
        start_timeout: Seconds without any live worker after which `check` gives up.
        tell: Takes lines for the user.
    """

    def __init__(
        self,
        make: MakeSlot,
        count: int,
        grows: bool,
        nodes: Nodes,
        execute: object,
        start_timeout: float,
        tell: Callable[[str], object],
    ) -> None:
        self._make, self._grows, self._nodes, self._execute = make, grows, nodes, execute
        self._start_timeout, self._tell = start_timeout, tell
        self._aside, self._excluded = SetAside(), frozenset[str]()
        self._alive_at = self._looked = time.monotonic()
        self._known = {key: node.name for key, node in nodes.now().items()}
        self._told_leaving, self._cramped, self._told_blind = set[str](), "", False
        self.shelf: tuple[str, str] | None = None
        """A file in the store of the sweep with the text that it has, which each worker is asked for."""
        self.slots = [make(frozenset()) for _ in range(count)]

    def alive(self) -> None:
        """A worker has answered just now."""
        self._alive_at = time.monotonic()

    def greet(self, slot: Slot) -> None:
        """Note that a worker has started, or put another in its place.

        Where there is a `shelf`, it has started once it has said whether it sees that: workers of a node that
        joins late too, and none waits for another's answer.

        Raises:
            RuntimeError: Workers start nowhere.
        """
        try:
            answer: Any = ray.get(slot.hello)
        except RayError as error:
            self._failed(slot, str(error).strip().splitlines()[-1])
            return
        slot.hello = None
        if not slot.place:
            slot.place = answer
            if self.shelf is not None:
                slot.hello = slot.actor.sees.remote(*self.shelf)
                slot.born = time.monotonic()  # as long as for the first answer, it is waited for this one
                return
        else:
            slot.sees = answer
        slot.node = _place(slot)
        # A worker that waited for a place starts at once on a node that joins.
        node = self._nodes.now(fresh=slot.node not in self._nodes.now()).get(slot.node)
        slot.memory = node.memory if node else 0
        if not slot.sees:
            self._tell_blind(slot)
        self._aside.started(slot.node)
        self.alive()

    def replace(self, slot: Slot) -> None:
        """Put a new worker in a slot; Ray ends the old one, by force after five seconds."""
        ray.kill(slot.actor)  # it may be alive but cut off, or hang
        self.slots[self.slots.index(slot)] = self._make(self._away())

    def leaving(self, slot: Slot) -> bool:
        """Whether a slot's node is being taken away, or was."""
        return self._nodes.taken(slot.node)

    def release(self, slot: Slot) -> None:
        """End an idle slot whose node is being taken away; if `slots` were asked for, another one is."""
        if self._grows:
            ray.kill(slot.actor)
            self.slots.remove(slot)
        else:
            self.replace(slot)

    def memories(self) -> tuple[int, ...]:
        """Bytes for each slot that the nodes have room for."""
        nodes = self._nodes.usable(self._aside.excluded()).values()
        return tuple(node.memory for node in nodes for _ in range(node.slots))

    def _away(self) -> frozenset[str]:
        """Where no worker is to be started now."""
        return self._aside.excluded() | self._nodes.leaving()

    def check(self) -> None:
        """Look after those who have not started, and after the nodes that have come and gone.

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
        self._tell_nodes()
        self._tell_space()
        if self._grows:
            self._fit()
        again = self._excluded - self._away()
        for slot in [slot for slot in self.slots if slot.hello]:
            placed = _place(slot)
            if not placed and again:
                self.replace(slot)  # it was to be started anywhere but on a node that is tried again now
            elif placed and now - slot.born > START_SECONDS:
                self._failed(slot, f"a worker did not answer within {START_SECONDS:.0f} s of its start")
        self._excluded = self._away()

    def _fit(self) -> None:
        """As many slots as the nodes have room for: ask for more, or for fewer of those without a place."""
        room = sum(node.slots for node in self._nodes.usable(self._aside.excluded()).values())
        for slot in [slot for slot in self.slots if slot.hello and not _place(slot)]:
            if len(self.slots) > room:
                ray.kill(slot.actor)
                self.slots.remove(slot)
        self.slots += [self._make(self._away()) for _ in range(room - len(self.slots))]

    def _tell_nodes(self) -> None:
        """Say which nodes have joined, are being taken away, or are gone."""
        now = self._nodes.now()
        for key in sorted(now.keys() - self._known.keys()):
            room = f"{now[key].slots} slot{'' if now[key].slots == 1 else 's'}"
            self._tell(f"node {now[key].name} has joined, with room for {room}")
        for key in sorted(self._nodes.leaving() - self._told_leaving):
            self._tell(f"node {now[key].name} is being taken away: it gets no more jobs")
        for key in sorted(self._known.keys() - now.keys()):
            self._tell(f"node {self._known[key]} is gone")
        self._known = {key: node.name for key, node in now.items()}
        self._told_leaving = set(self._nodes.leaving())

    def _tell_blind(self, slot: Slot) -> None:
        """Say once that a node does not see the store."""
        if self.shelf is not None and not self._told_blind:
            self._told_blind = True
            name, store = self._known.get(slot.node, slot.node), self.shelf[0].rpartition("/")[0]
            self._tell(
                f"checkpoints of workers on {name}, and on whatever other node does not see {store} either, "
                "go by way of the driver (`espalier doctor` says which)"
            )

    def _tell_space(self) -> None:
        """Say once when the disk of Ray's own files is full: the run goes on with the workers that it has."""
        was, self._cramped = self._cramped, session.cramped()
        if self._cramped and not was:
            self._tell(self._cramped)

    def close(self) -> None:
        """Kill all workers."""
        slots, self.slots = self.slots, []
        for slot in slots:
            ray.kill(slot.actor)

    def _failed(self, slot: Slot, error: str) -> None:
        self._nodes.now(fresh=True)
        node, names = _place(slot), {key: node.name for key, node in self._nodes.usable().items()}
        # An actor that was given to a node just before that died says nothing of any node.
        seconds = self._aside.failed(node, error) if node in names else 0.0
        if self._aside.all_of(names) and all(other.hello for other in self.slots):
            raise RuntimeError(
                f"workers die while starting, on every node ({', '.join(sorted(set(names.values())))}). "
                f"Check that `execute` ({self._execute}) can be imported on every node. The last one said: "
                f"{self._aside.error()}{_also(session.cramped())}{session.where()}"
            )
        if seconds:
            self._tell(
                f"node {names.get(node, node)} is set aside, for workers do not start there: {error} "
                f"(tried again in {seconds:.0f} s)"
            )
        self._excluded = self._away()
        self.replace(slot)


def _also(text: str) -> str:
    return text and f" {text}."


def _place(slot: Slot) -> str:
    """The id of the node on which a slot's actor is or was; empty if Ray has found none for it."""
    told: Any = state.actors(slot.actor._actor_id.hex())
    address = told.get("Address", {})
    return address.get("NodeID", "") if address.get("IPAddress") else ""
