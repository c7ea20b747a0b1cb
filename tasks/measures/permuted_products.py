"""Cross products `X^T P Y` of two nets' channels under permutations P of the second net's images.

P moves whole images: the positions of one stay together. A row is an (image, position), so for the shifts
along circles the products are correlations along the images, summed over circles and positions: a Fourier
transform along the images, one product of C x C for each frequency, and a transform back give all m of them
for a few times the cost of `X^T Y` alone. Several short circles are cheaper than a long one: they have fewer
frequencies, and longer sums at each.

Legend: N images on G circles of m, P positions, C channels of a net; F = m // 2 + 1 frequencies; n
permutations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from espalier.tasks.measures.image_orders import ImageOrders

SPECTRUM_BYTES = 256 << 20
"""Most bytes of products by frequency at one time: fewer make more blocks of channels."""

BLOCK_BYTES = 64 << 20
"""Most bytes of the features of all nets at one block of positions."""


FEW_SHIFTS = 64
"""So many shifts at most are made by the transform's definition: a fast one makes all m."""


class _Part(NamedTuple):
    """Channels `start` to `stop` of net `left` by all channels of net `right`."""

    left: int
    start: int
    stop: int
    right: int


def permuted_products(
    rows: Mapping[int, Tensor], pairs: Sequence[tuple[int, int]], orders: ImageOrders, permutations: int
) -> Iterator[tuple[tuple[int, int], Tensor]]:
    """For each pair (s, t) the products (n, C_s, C_t) in float32, n the first `permutations` of the orders.

    Args:
        rows: By net, features (N, P, C), centred where the products shall be.
        pairs: Which nets stay and which are permuted.
        orders: The permutations.
        permutations: How many of them, no more than there are.
    """
    found: dict[tuple[int, int], list[Tensor]] = {pair: [] for pair in pairs}
    for group in _groups(rows, pairs, orders.size):
        for part, product_nCC in _products(rows, group, orders, permutations):
            found[part.left, part.right].append(product_nCC)
        for pair in list(found):
            if sum(part.shape[1] for part in found[pair]) == rows[pair[0]].shape[2]:
                yield pair, torch.cat(found.pop(pair), 1)


def _groups(rows: Mapping[int, Tensor], pairs: Sequence[tuple[int, int]], size: int) -> Iterator[list[_Part]]:
    """Parts of pairs, as many at a time as the memory for their products allows."""
    frequencies, group, used = size // 2 + 1, [], 0
    for left, right in pairs:
        total, width = rows[left].shape[2], rows[right].shape[2]
        each = 8 * frequencies * width
        step = max(1, min(total, SPECTRUM_BYTES // each))
        for start in range(0, total, step):
            part = _Part(left, start, min(start + step, total), right)
            taken = each * (part.stop - start)
            if group and used + taken > SPECTRUM_BYTES:
                yield group
                group, used = [], 0
            group.append(part)
            used += taken
    if group:
        yield group


def _products(
    rows: Mapping[int, Tensor], group: Sequence[_Part], orders: ImageOrders, permutations: int
) -> Iterator[tuple[_Part, Tensor]]:
    lefts, rights = {part.left for part in group}, {part.right for part in group}
    chosen_n2 = orders.chosen_n2[:permutations]
    made = {
        part: torch.empty(permutations, *_size(rows, part), device=rows[part.left].device) for part in group
    }
    for number, order_N in enumerate(orders.round_orders(permutations)):
        sums: dict[_Part, Tensor] = {}
        for places in _position_blocks(rows, orders.images):
            fixed = {net: _transform(rows[net], places, orders, orders.base_N) for net in lefts}
            same = torch.equal(order_N, orders.base_N)
            moving = {
                net: fixed[net] if same and net in fixed else _transform(rows[net], places, orders, order_N)
                for net in rights
            }
            turned = {net: fixed[net].conj_physical() for net in lefts}
            for part in group:
                left_FCP = turned[part.left][:, :, part.start : part.stop].transpose(1, 2)
                product_FCC = left_FCP @ moving[part.right]
                sums[part] = sums[part].add_(product_FCC) if part in sums else product_FCC
        here_n = chosen_n2[:, 0] == number
        for part in group:
            made[part][here_n] = _at_shifts(sums.pop(part), chosen_n2[here_n, 1], orders.size)
    yield from made.items()


def _size(rows: Mapping[int, Tensor], part: _Part) -> tuple[int, int]:
    return part.stop - part.start, rows[part.right].shape[2]


def _at_shifts(product_FCC: Tensor, shift_k: Tensor, size: int) -> Tensor:
    """The products (k, C, C) at some shifts: all shifts by one transform, or a few by its definition."""
    if len(shift_k) > FEW_SHIFTS:
        return torch.fft.irfft(product_FCC, n=size, dim=0)[shift_k]
    frequency_F = torch.arange(len(product_FCC))
    twice_F = (frequency_F > 0) & (2 * frequency_F < size)  # those whose conjugate is left out
    angle_kF = 2 * torch.pi / size * (shift_k[:, None] * frequency_F % size)
    turn_kF = torch.polar((1.0 + twice_F).expand_as(angle_kF) / size, angle_kF).to(product_FCC)
    return (turn_kF @ product_FCC.flatten(1)).real.unflatten(1, product_FCC.shape[1:])


def _position_blocks(rows: Mapping[int, Tensor], images: int) -> Iterator[slice]:
    positions = next(iter(rows.values())).shape[1]
    step = max(1, BLOCK_BYTES // (4 * images * sum(net.shape[2] for net in rows.values())))
    return (slice(start, start + step) for start in range(0, positions, step))


def _transform(rows_NPC: Tensor, places: slice, orders: ImageOrders, order_N: Tensor) -> Tensor:
    """Along the images of every circle, at some positions: (F, G P, C)."""
    circles_mG = order_N.view(orders.groups, orders.size).T
    lying = rows_NPC[:, places][circles_mG.flatten()].float()
    return torch.fft.rfft(lying.view(orders.size, -1, lying.shape[2]), dim=0)
