"""Channels of two nets matched by their weights: coordinate descent over the streams of channels.

Weight matching (Ainsworth, Hayase & Srinivasa 2022, "Git Re-Basin", algorithm 1): the permutations of net B's
channels that bring its parameters nearest to A's. All streams at once are a sum of bilinear assignment
problems, which is NP-hard; one stream with the others held is a linear assignment, solved exactly.

Legend: C channels of a stream; A and B two nets of one architecture. An order says which channel of B comes
to each place of A.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from espalier.tasks.networks.architectures import is_trained
from espalier.tasks.networks.network import Network, free_streams, reordered_inputs, sides
from espalier.tasks.seeds import stream

Orders = Mapping[int, Tensor]
"""By stream (`tasks.networks.network.streams`): the order (C,) of B's channels."""

PASSES = 100
"""Most passes over all streams; each but the last brings the nets nearer, and few are needed."""

STARTS = 4
"""Descents: one from B's own orders, so that matching never makes it worse, the others from random ones.

Of 20 dense nets of width 4 and their permuted copies one descent found 15 again, four found all; of wider
nets one found 19 or 20.
"""

GAIN = 1e-9
"""Share of the largest possible agreement by which a new order must be better: less is rounding."""


class WeightMatch(NamedTuple):
    """Orders, the agreement `<A, B'>` of all trained parameters, and whether a whole pass changed nothing."""

    orders: dict[int, Tensor]
    agreement: float
    settled: bool


def match_weights(a: Network, b: Network, *names: int | str) -> WeightMatch:
    """The best of several descents; `names` name the random numbers of their starts and of their ways.

    With the agreement the distance is least as well, since permutations change no norm.
    """
    both = _Both(a, b)
    found = [_descent(both, start, *names) for start in range(STARTS)]
    return max(found, key=lambda one: one.agreement)


def best_order(gain_CC: Tensor) -> Tensor:
    """The order with the largest sum of `gain_CC[place, channel]` (linear assignment, exact)."""
    _, order = linear_sum_assignment(gain_CC.cpu().numpy(), maximize=True)
    return torch.from_numpy(order)


def _descent(both: _Both, start: int, *names: int | str) -> WeightMatch:
    """One stream after the other, in an order drawn anew for each pass, until none changes."""
    generator = stream("weight matching", start, *names)
    orders = {
        number: torch.randperm(count, generator=generator) if start else torch.arange(count)
        for number, count in both.free.items()
    }
    tolerance, numbers = GAIN * both.most, [*both.free]
    for _ in range(PASSES):
        changed = False
        for place in torch.randperm(len(numbers), generator=generator).tolist():
            number = numbers[place]
            new = {**orders, number: best_order(both.gain(number, orders))}
            if both.agreement(new, number) > both.agreement(orders, number) + tolerance:
                orders, changed = new, True
        if not changed:
            return WeightMatch(orders, both.agreement(orders), True)
    return WeightMatch(orders, both.agreement(orders), False)


class _Both:
    """The trained parameters of two nets in float64, and the streams that each of them touches."""

    def __init__(self, a: Network, b: Network) -> None:
        self.free = free_streams(a.architecture)
        self._a, self._b = (
            {name: value.double() for name, value in net.parameters.items() if is_trained(name)}
            for net in (a, b)
        )
        self._sides = {name: sides(a.architecture, name) for name in self._a}
        norms = [sum(value.square().sum().item() for value in some.values()) for some in (self._a, self._b)]
        self.most = (norms[0] * norms[1]) ** 0.5

    def _touched(self, number: int | None) -> list[str]:
        """The tensors that a stream's order changes, or all."""
        return [
            name
            for name, (written, read) in self._sides.items()
            if number is None or number == written or (number == read and self._a[name].dim() > 1)
        ]

    def _moved(self, name: str, orders: Orders, rows: bool = True, inputs: bool = True) -> Tensor:
        """A tensor of B with its rows, its inputs or both in their orders."""
        (written, read), value = self._sides[name], self._b[name]
        if rows and written in orders:
            value = value[orders[written]]
        return (
            reordered_inputs(value, orders[read]) if inputs and value.dim() > 1 and read in orders else value
        )

    def agreement(self, orders: Orders, number: int | None = None) -> float:
        """`<A, B'>`, over the tensors that a stream touches or over all."""
        touched = self._touched(number)
        return sum((self._a[name] * self._moved(name, orders)).sum().item() for name in touched)

    def gain(self, number: int, orders: Orders) -> Tensor:
        """What each channel of B adds to the agreement at each place of a stream, (C, C)."""
        count = self.free[number]
        gain_CC = torch.zeros(count, count, dtype=torch.float64, device=next(iter(self._a.values())).device)
        for name in self._touched(number):
            written, read = self._sides[name]
            if written == number:
                other = self._moved(name, orders, rows=False)
                gain_CC += self._a[name].reshape(count, -1) @ other.reshape(count, -1).T
            if read == number and self._a[name].dim() > 1:
                other = self._moved(name, orders, inputs=False)
                gain_CC += _by_input(self._a[name], count) @ _by_input(other, count).T
        return gain_CC


def _by_input(weight: Tensor, count: int) -> Tensor:
    """A weight as (C of its inputs, all the rest)."""
    return weight.reshape(len(weight), count, -1).transpose(0, 1).reshape(count, -1)
