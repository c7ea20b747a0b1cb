"""How long a plan would take on a cluster: the driver's own state machine in model time."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from espalier.orchestrator.planning.idle_slots import Idle, IdleWatch
from espalier.orchestrator.planning.plan import Plan
from espalier.orchestrator.planning.rates import Rates
from espalier.orchestrator.planning.state_machine import JOBS_IN_FLIGHT_PER_SLOT, Machine, Submission
from espalier.orchestrator.planning.task import Task


@dataclass(frozen=True)
class Fleet:
    """Nodes that are alike.

    Attributes:
        nodes: How many.
        slots: Jobs that run at once on each.
        loss_every: Seconds after which one of the nodes is lost, again and again.
        replaced_after: Seconds from the loss of a node to its successor's first job.
    """

    nodes: int
    slots: int
    loss_every: float = math.inf
    replaced_after: float = 300.0


@dataclass
class Forecast:
    """What a simulated run came to.

    Attributes:
        seconds: Until the last job ended.
        busy: Seconds of slots in jobs that ended.
        wasted: Seconds of slots in attempts that were lost with their node.
        slot_seconds: Seconds of the slots that there were.
        node_seconds: The same of nodes: what is paid for.
        jobs: That ended.
        lost_nodes: How many.
        lost_attempts: Jobs that ran on them.
        given_up: Jobs that were lost too often, and those that needed their results.
        node_memory: Bytes, the most that jobs held at one time on one node.
        slot_memory: Bytes, the most of one job.
        node_bytes: Bytes read on the node that reads most, each job its own inputs: what a node has cached
            it reads once.
        idle: When slots had nothing to do, in order.
    """

    seconds: float = 0.0
    busy: float = 0.0
    wasted: float = 0.0
    slot_seconds: float = 0.0
    node_seconds: float = 0.0
    jobs: int = 0
    lost_nodes: int = 0
    lost_attempts: int = 0
    given_up: int = 0
    node_memory: int = 0
    slot_memory: int = 0
    node_bytes: int = 0
    idle: Sequence[Idle] = ()

    @property
    def utilisation(self) -> float:
        """Share of the slots' time in jobs that ended."""
        return self.busy / self.slot_seconds if self.slot_seconds else 1.0


@dataclass
class _Node:
    alive: bool = True
    memory: int = 0
    read: int = 0


@dataclass(frozen=True)
class _Running:
    """An attempt, by its number."""

    task: Task
    node: int
    start: float


_END, _LOSS, _JOIN = range(3)
"""Of events at one moment a job's end comes first."""


class _Simulation:
    def __init__(
        self, tasks: Iterable[Task], available: Collection[str], fleet: Fleet, speed: Rates, attempts: int
    ) -> None:
        self._fleet, self._speed = fleet, speed
        self._machine = Machine(tasks, available, 0, attempts, reduce=lambda task, lost: None)  # noqa: ARG005
        self._nodes = [_Node() for _ in range(fleet.nodes)]
        # Whose slot is free, a slot an entry: the one that is free for longest has the next job.
        self._free = deque(node for _ in range(fleet.slots) for node in range(fleet.nodes))
        self._queue: deque[Submission] = deque()
        self._running: dict[int, _Running] = {}
        self._numbers = count()
        self._events: list[tuple[float, int, int]] = []
        self._now, self._alive, self._victim = 0.0, fleet.nodes, 0
        self._watch = IdleWatch()
        self._made = Forecast(idle=self._watch.found)

    def run(self) -> Forecast:
        """Go on until nothing can run any more."""
        if math.isfinite(self._fleet.loss_every):
            heapq.heappush(self._events, (self._fleet.loss_every, _LOSS, 0))
        while True:
            self._machine.room = JOBS_IN_FLIGHT_PER_SLOT * max(1, self._alive * self._fleet.slots)
            self._queue.extend(self._machine.submit())
            while self._free and self._queue:
                self._begin(self._queue.popleft().task, self._free.popleft())
            if self._machine.finished:
                self._watch.stop(self._now)
                self._made.seconds = self._now
                self._made.node_bytes = max(self._made.node_bytes, *(node.read for node in self._nodes))
                return self._made
            at, what, number = heapq.heappop(self._events)
            self._pass(at)
            (self._end, self._lose, self._join)[what](number)

    def _pass(self, at: float) -> None:
        """Time goes on to `at`."""
        if at > self._now:
            self._watch.passed(self._now, at, len(self._free), self._machine.held_up)
            self._made.node_seconds += self._alive * (at - self._now)
            self._made.slot_seconds += self._alive * self._fleet.slots * (at - self._now)
        self._now = at

    def _begin(self, task: Task, number: int) -> None:
        node, attempt = self._nodes[number], next(self._numbers)
        self._running[attempt] = _Running(task, number, self._now)
        node.memory += task.cost.memory
        node.read += task.cost.bytes_in
        self._made.node_memory = max(self._made.node_memory, node.memory)
        self._made.slot_memory = max(self._made.slot_memory, task.cost.memory)
        heapq.heappush(self._events, (self._now + self._speed.seconds(task), _END, attempt))

    def _end(self, attempt: int) -> None:
        job = self._running.pop(attempt, None)
        if job is None:
            return  # it was lost with its node
        self._nodes[job.node].memory -= job.task.cost.memory
        self._free.append(job.node)
        self._watch.ended(job.task)
        self._made.busy += self._now - job.start
        self._made.jobs += 1
        self._machine.done(job.task.job.key)

    def _lose(self, _: int) -> None:
        """The next node in turn is lost with all that runs there."""
        heapq.heappush(self._events, (self._now + self._fleet.loss_every, _LOSS, 0))
        if not self._alive:
            return
        while not self._nodes[self._victim].alive:
            self._victim = (self._victim + 1) % len(self._nodes)
        lost = self._victim
        self._victim = (lost + 1) % len(self._nodes)
        node = self._nodes[lost]
        self._made.node_bytes = max(self._made.node_bytes, node.read)
        node.alive, node.memory, node.read = False, 0, 0
        self._alive -= 1
        self._free = deque(node for node in self._free if node != lost)
        attempts = [attempt for attempt, job in self._running.items() if job.node == lost]
        self._made.lost_nodes += 1
        self._made.lost_attempts += len(attempts)
        for attempt in attempts:
            job = self._running.pop(attempt)
            self._made.wasted += self._now - job.start
            verdict = self._machine.failed(job.task.job.key, "lost")
            if not verdict.again:
                self._made.given_up += 1 + len(verdict.skipped)
        heapq.heappush(self._events, (self._now + self._fleet.replaced_after, _JOIN, lost))

    def _join(self, number: int) -> None:
        self._nodes[number].alive = True
        self._alive += 1
        self._free.extend([number] * self._fleet.slots)


def simulate(
    tasks: Iterable[Task], available: Collection[str], fleet: Fleet, speed: Rates, attempts: int = 1
) -> Forecast:
    """A run of `tasks` on a cluster, each job on the next free slot, as the driver hands them out.

    `available` are the blobs that exist. A job that is lost with its node runs again, as often as
    `attempts` errors allow (`orchestrator.planning.failures`). Work is counted by jobs, however many pairs
    they hold.
    """
    return _Simulation(tasks, available, fleet, speed, attempts).run()


def makespan(plan: Plan, available: Collection[str], slots: int, speed: Rates) -> float:
    """Seconds until the last job ends."""
    return simulate(plan.tasks, available, Fleet(1, slots), speed).seconds
