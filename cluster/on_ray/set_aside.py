"""Which nodes of a cluster are set aside, since workers do not start there; the clock is passed in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

FAILURES = 2
"""Workers in a row that may fail to start on a node; a node that is tried again has one."""

RETRY_SECONDS, LONGEST_SECONDS = 120.0, 1800.0
"""A node is tried again after so long; with each further failure the time doubles, up to the second."""


@dataclass
class _Node:
    failures: int = 0
    times: int = 0
    until: float = -1.0


class SetAside:
    """What is known of the starts of workers, node by node.

    >>> now = [0.0]
    >>> nodes = SetAside(lambda: now[0])
    >>> [nodes.failed("a", "no module"), nodes.failed("a", "no module")]
    [0.0, 120.0]
    >>> sorted(nodes.excluded())
    ['a']
    >>> now[0] = 120.0
    >>> nodes.excluded()
    frozenset()
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._nodes: dict[str, _Node] = {}
        self._error = ""

    def failed(self, node: str, error: str) -> float:
        """A worker failed to start; for how many seconds the node is set aside from now on, 0 if it is not.

        What was already on its way when the node was set aside says nothing new.
        """
        state = self._nodes.setdefault(node, _Node())
        self._error = error
        state.failures += 1
        if state.until > self._clock() or state.failures < FAILURES:
            return 0.0
        seconds = min(RETRY_SECONDS * 2**state.times, LONGEST_SECONDS)
        state.times += 1
        state.until = self._clock() + seconds
        state.failures = FAILURES - 1
        return seconds

    def started(self, node: str) -> None:
        """A worker started: the node is as good as any."""
        self._nodes.pop(node, None)

    def excluded(self) -> frozenset[str]:
        """The nodes where nothing is to be started now."""
        return frozenset(node for node, state in self._nodes.items() if state.until > self._clock())

    def all_of(self, nodes: Iterable[str]) -> bool:
        """Whether every one of some nodes is set aside."""
        return set(nodes) <= self.excluded()

    def error(self) -> str:
        """Why workers do not start, as the last that failed said; nothing if none did."""
        return self._error
