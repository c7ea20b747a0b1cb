"""Cross products `X^T P Y` of two nets' channels under permutations P of the second net's images.

P moves whole images: the positions of one stay together. A row is an (image, position), so for the shifts
of one circle the products are correlations along the images, summed over positions: a Fourier transform along
the images, one product of C x C for each frequency, and a transform back give all N of them for a few times
the cost of `X^T Y` alone.

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
        permutations: How many of them.
    """
    found: dict[tuple[int, int], list[Tensor]] = {pair: [] for pair in pairs}
    for group in _groups(rows, pairs, orders.images):
        for part, product_nCC in _products(rows, group, orders, permutations):
            found[part.left, part.right].append(product_nCC)
        for pair in list(found):
            if sum(part.shape[1] for part in found[pair]) == rows[pair[0]].shape[2]:
                yield pair, torch.cat(found.pop(pair), 1)


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
    shifted: dict[_Part, list[Tensor]] = {part: [] for part in group}
    for order_N in orders.round_orders(permutations):
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
        for part in group:
            shifted[part].append(torch.fft.irfft(sums.pop(part), n=orders.images, dim=0))
    for part in group:
        yield part, orders.pick(shifted.pop(part), permutations)


def _position_blocks(rows: Mapping[int, Tensor], images: int) -> Iterator[slice]:
    positions = next(iter(rows.values())).shape[1]
    step = max(1, BLOCK_BYTES // (4 * images * sum(net.shape[2] for net in rows.values())))
    return (slice(start, start + step) for start in range(0, positions, step))


def _transform(rows_NPC: Tensor, places: slice, order_N: Tensor) -> Tensor:
    """Along the images in an order, at some positions: (F, P, C)."""
    return torch.fft.rfft(rows_NPC[:, places][order_N].float(), dim=0)
