"""What a job costs, as a number of each kind.

The operations are checked against PyTorch's own counter in the tests, the memory against measured peaks.
`net_cost` has what follows from one net; each kind of work reckons its own jobs from it.
"""

from __future__ import annotations

from dataclasses import dataclass

BASE_BYTES = 500_000_000
"""A Ray worker that has trained and grafted next to nothing: 492 MB measured, PyTorch 2.13 for CPUs."""


@dataclass(frozen=True)
class Cost:
    """Operations (a multiply-add is 2), bytes of snapshots read, bytes of memory at the peak.

    `seconds` of a core go by whatever the operations: each step of training takes some. Operations take
    `slower` times as long as in wide nets.
    """

    flops: float
    bytes_in: int
    memory: int
    seconds: float = 0.0
    slower: float = 1.0
