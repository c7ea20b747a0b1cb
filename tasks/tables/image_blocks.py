"""Which held-out images a net loses, in counts small enough for a row: by blocks of images.

All pairs of a sweep are judged on the same images, so that the error of a mean over pairs needs what the
pairs have in common image by image. The images are therefore dealt into blocks, by lot and for every row
alike, and a row keeps one number for each. A mean over pairs of such numbers varies from block to block as
the images make it vary (delete-a-group jackknife: Kott 2001), with one degree of freedom fewer than blocks.
Outcomes of single images would tell little more, and take a row 10,000 bits for as many images; blocks take
64 bytes.

Legend: N images, K blocks.
"""

from __future__ import annotations

import pyarrow as pa

from espalier.tasks.tables.columns import INTEGER

BLOCKS = 32
"""K. The error of an error from so many is 13 %, and Student's t for it is 3 % above the normal quantile."""
COUNT = "<i2"
"""NumPy's name of the type of one count: 16 bits, with the low byte first on every machine."""
COUNTS = pa.binary(2 * BLOCKS)
BY_BLOCK = "drop_by_block"
MOST_IMAGES = BLOCKS * (2**15 - 1)
"""Held-out images up to which every count fits its type, whatever the nets answer."""

LOST = [
    (
        "lost_images",
        INTEGER,
        "held-out images that the target net classifies rightly and the grafted net wrongly; null of a "
        "regression, and in rows from before it was kept",
    ),
    ("gained_images", INTEGER, "the reverse; accuracy_drop is (lost - gained) / images_test"),
    (
        BY_BLOCK,
        COUNTS,
        f"lost - gained in each of {BLOCKS} blocks of held-out images, dealt by lot and the same for all "
        f"rows: integers of 16 bits, low byte first (numpy.frombuffer with '{COUNT}'); `load` leaves it out "
        "unless image_blocks is true",
    ),
]
"""Columns of a table that has accuracy drops."""

SHARE = "<f4"
"""NumPy's name of the type of one block's part in an error."""
SHARES = pa.binary(4 * BLOCKS)
ERROR_BY_BLOCK = "fvu_by_block"
ERRORS = [
    (
        ERROR_BY_BLOCK,
        SHARES,
        f"what each of these blocks adds to fvu_test, to first order: floats of 32 bits that sum to 0, low "
        f"byte first ('{SHARE}'), from which the held-out images' part of an error bar follows; null unless "
        "graft.error_blocks is true, and of nulls made of several nets; `load` leaves it out unless "
        "image_blocks is true",
    )
]
"""The column of a table that has held-out errors by blocks of images."""
WIDE_COLUMNS = (BY_BLOCK, ERROR_BY_BLOCK)
"""What a reader leaves out unless it is asked for."""


def block_sizes(images: int) -> list[int]:
    """Images of each block: of N images as even as can be; of fewer than K images some blocks have none.

    >>> sum(block_sizes(297)), set(block_sizes(297)), sum(block_sizes(3))
    (297, {9, 10}, 3)
    """
    return [images // BLOCKS + (block < images % BLOCKS) for block in range(BLOCKS)]
