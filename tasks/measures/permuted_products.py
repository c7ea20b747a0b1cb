"""Cross products `X^T P Y` of two nets' channels under permutations P of the second net's images.

P moves whole images: the positions of one stay together. A row is an (image, position), so for the shifts
of one circle the products are correlations along the images, summed over positions: a Fourier transform along
the images, one product of C x C for each frequency, and a transform back give all N of them for a few times
the cost of `X^T Y` alone. Few permutations of small maps are made one by one.

Legend: N images, P positions, C channels of a net; F = N // 2 + 1 frequencies; n permutations.
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
"""So many shifts at most are made one by one, of which a transform would make all N."""


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
        orders: The permutations, of one group.
        permutations: How many of them, no more than there are.
    """
    if one_by_one(permutations, next(iter(rows.values())).shape[1]):
        yield from _each_permutation(rows, pairs, orders.orders_nN(permutations))
        return
    found: dict[tuple[int, int], list[Tensor]] = {pair: [] for pair in pairs}
    for group in _groups(rows, pairs, orders.images):
        for part, product_nCC in _products(rows, group, orders, permutations):
            found[part.left, part.right].append(product_nCC)
        for pair in list(found):
            if sum(part.shape[1] for part in found[pair]) == rows[pair[0]].shape[2]:
                yield pair, torch.cat(found.pop(pair), 1)


def one_by_one(permutations: int, positions: int) -> bool:
    """Whether to make the product of each permutation by itself: operations are about as n P to 2 P + 2 n."""
    return permutations * positions < 4 * (permutations + positions)


def _each_permutation(
    rows: Mapping[int, Tensor], pairs: Sequence[tuple[int, int]], orders_nN: Tensor
) -> Iterator[tuple[tuple[int, int], Tensor]]:
    for right in sorted({pair[1] for pair in pairs}):
        lefts = [left for left, other in pairs if other == right]
        made: dict[int, list[Tensor]] = {left: [] for left in lefts}
        for order_N in orders_nN:
            permuted_MC = rows[right][order_N].flatten(0, 1).float()
            for left in lefts:
                made[left].append(rows[left].flatten(0, 1).float().T @ permuted_MC)
        for left in lefts:
            yield (left, right), torch.stack(made.pop(left))


def _groups(
    rows: Mapping[int, Tensor], pairs: Sequence[tuple[int, int]], images: int
) -> Iterator[list[_Part]]:
    """Parts of pairs, as many at a time as the memory for their products allows."""
    frequencies, group, used = images // 2 + 1, [], 0
    for left, right in pairs:
        total, width = rows[left].shape[2], rows[right].shape[2]
        each = 8 * frequencies * width
        step = max(1, min(total, SPECTRUM_BYTES // each))
        for start in range(0, total, step):
            part = _Part(left, start, min(start + step, total), right)
            size = each * (part.stop - start)
            if group and used + size > SPECTRUM_BYTES:
                yield group
                group, used = [], 0
            group.append(part)
            used += size
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
            fixed = {net: _transform(rows[net], places, orders.base_N) for net in lefts}
            same = torch.equal(order_N, orders.base_N)
            moving = {
                net: fixed[net] if same and net in fixed else _transform(rows[net], places, order_N)
                for net in rights
            }
            for part in group:
                left_FCP = fixed[part.left][:, :, part.start : part.stop].conj().transpose(1, 2)
                product_FCC = left_FCP @ moving[part.right]
                sums[part] = sums[part].add_(product_FCC) if part in sums else product_FCC
        here_n = chosen_n2[:, 0] == number
        for part in group:
            made[part][here_n] = _at_shifts(sums.pop(part), chosen_n2[here_n, 1], orders.images)
    yield from made.items()


def _size(rows: Mapping[int, Tensor], part: _Part) -> tuple[int, int]:
    return part.stop - part.start, rows[part.right].shape[2]


def _at_shifts(product_FCC: Tensor, shift_k: Tensor, images: int) -> Tensor:
    """The products (k, C, C) at some shifts: all shifts by one transform, or a few by its definition."""
    if len(shift_k) > FEW_SHIFTS:
        return torch.fft.irfft(product_FCC, n=images, dim=0)[shift_k]
    frequency_F = torch.arange(len(product_FCC))
    twice_F = (frequency_F > 0) & (2 * frequency_F < images)  # those whose conjugate is left out
    angle_kF = 2 * torch.pi / images * (shift_k[:, None] * frequency_F % images)
    turn_kF = torch.polar((1.0 + twice_F).expand_as(angle_kF) / images, angle_kF).to(product_FCC)
    return (turn_kF @ product_FCC.flatten(1)).real.unflatten(1, product_FCC.shape[1:])


def _position_blocks(rows: Mapping[int, Tensor], images: int) -> Iterator[slice]:
    positions = next(iter(rows.values())).shape[1]
    step = max(1, BLOCK_BYTES // (4 * images * sum(net.shape[2] for net in rows.values())))
    return (slice(start, start + step) for start in range(0, positions, step))


def _transform(rows_NPC: Tensor, places: slice, order_N: Tensor) -> Tensor:
    """Along the images in an order, at some positions: (F, P, C)."""
    return torch.fft.rfft(rows_NPC[:, places][order_N].float(), dim=0)
