"""Memory of fits that are made from their rows (`tasks.grafting.row_fit`), if their condition asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from espalier.tasks.grafting.row_rule import may_be_read
from espalier.tasks.networks.cuts import ArmSizes
from espalier.tasks.spec import GraftOptions, in_float32


def row_bytes(
    options: GraftOptions,
    images: int,
    read: Sequence[ArmSizes],
    given: Iterable[tuple[ArmSizes, int]],
    factored: float,
) -> int:
    """Bytes of the rows of a part of a tile, in float64.

    Args:
        options: How the tile is fitted.
        images: Those fitted on.
        read: What sources of the part read: their rows, as long as the part lasts.
        given: The sizes of each arm, and how many targets have rows there.
        factored: Sources whose factors are held, as a multiple of those of `read`; each factor has a number
            for each row and direction.
    """
    sources = [_rows(size, images) * size.dim for size in read if _may_be_read(options, size, images)]
    targets = [
        count * _rows(size, images) * size.out for size, count in given if _may_be_read(options, size, images)
    ]
    # The centred rows, and the decomposition's copies of them, come one source at a time.
    return int(8 * ((1 + factored) * sum(sources) + 3 * max(sources, default=0) + sum(targets)))


def _rows(size: ArmSizes, images: int) -> int:
    return images * size.positions


def _may_be_read(options: GraftOptions, size: ArmSizes, images: int) -> bool:
    single = size.map.kind == "conv" and in_float32(options.products, size.shape[0])
    products = "float32" if single else "float64"
    return may_be_read(options, products, _rows(size, images), size.dim)
