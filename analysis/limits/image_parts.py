"""What the draw of the held-out images adds to the mean errors of all widths, beside the draw of the nets.

All pairs of a sweep are judged on the same images, and so are all widths: what the images do to the means
does not average out over pairs, and varies together over the widths. Rows tell, to first order, what each
block of images adds to their error (column `fvu_by_block`, `tasks.tables.image_blocks`). With p_wk the mean
of that over the pairs of width w, m_k the images of block k and n those of all,

    Cov(w, w') = sum_k p_wk p_w'k  n / (n - sum_k m_k^2 / n)

is the covariance that the images give the means (a grouped jackknife: Kott 2001), known with K - 1 degrees of
freedom. What an image does to one net alone is noise over nets and over images, and is taken out once, as in
`analysis.limits.held_out`.

Legend: W widths, K blocks, R rows, B bootstraps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from espalier.analysis.limits.held_out import Spread, added
from espalier.analysis.limits.powerlaw import Floats
from espalier.analysis.limits.resample import WidthMean, summed_variance
from espalier.analysis.limits.selection import narrower_width, net_codes
from espalier.tasks.tables.image_blocks import BLOCKS, ERROR_BY_BLOCK, SHARE, block_sizes

MEASURE = "fvu_test"
"""The column that the blocks are about."""


@dataclass(frozen=True, eq=False)
class ImageParts:
    """What blocks of images add to the means of the widths, as shares of these means.

    Attributes:
        part_WK: By width and block, scaled so that a sum of squares over blocks is a variance.
        both_W: Variance of each width's mean that nets and images both count.
        freedom: Degrees of freedom of the images' part.
    """

    part_WK: Floats
    both_W: Floats
    freedom: float

    def variance(self, weight_GW: Floats) -> tuple[Floats, Floats]:
        """Of weighted sums of the means the images' variance, and what of it nets count too, each `[G]`."""
        return ((weight_GW @ self.part_WK) ** 2).sum(axis=1), (weight_GW**2 * self.both_W).sum(axis=1)

    def draws(self, bootstraps: int, seed: int) -> Floats:
        """Relative deviations of the means in a bootstrap over blocks, the same for all widths, `[B, W]`."""
        blocks = self.part_WK.shape[1]
        rng = np.random.default_rng([seed, blocks])
        counts_BK = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=bootstraps)
        return (counts_BK - 1) @ self.part_WK.T


def image_parts(rows: pd.DataFrame, means: Sequence[WidthMean]) -> ImageParts:
    """The images' parts of the means of some rows' `fvu_test`, one per width.

    Raises:
        ValueError: A row does not tell what blocks of images add, or rows were judged on different images.
    """
    part_RK, width_R = block_parts(rows), narrower_width(rows)
    codes = [code.to_numpy() for code in net_codes(rows)]
    part_WK, both_W = np.zeros((len(means), BLOCKS)), np.zeros(len(means))
    for place, mean in enumerate(means):
        here = width_R == mean.width
        part_WK[place] = part_RK[here].mean(axis=0) / mean.mean
        both_W[place] = summed_variance(part_RK[here].T, [code[here] for code in codes]) / mean.mean**2
    return ImageParts(part_WK, both_W, _freedom(rows))


def block_parts(rows: pd.DataFrame, column: str = ERROR_BY_BLOCK) -> Floats:
    """What blocks of images add to each row's error, `[R, K]`: a mean's squares sum to its variance.

    Raises:
        ValueError: As `image_parts`.
    """
    if column not in rows or bool(rows[column].isna().to_numpy().any()):
        raise ValueError(
            f"images: rows have no '{ERROR_BY_BLOCK}', which graft.error_blocks = true keeps and "
            "load(folder, image_blocks=True) reads"
        )
    counts = sorted(set(rows["images_test"]))
    if len(counts) != 1 or counts[0] < 2:
        raise ValueError(f"images: all rows must be of the same held-out images, found {counts} of them")
    images, size_K = int(counts[0]), np.array(block_sizes(int(counts[0])))
    part_RK = np.frombuffer(b"".join(rows[column]), SHARE).reshape(-1, BLOCKS).astype(np.float64)
    return part_RK * np.sqrt(images / (images - size_K @ size_K / images))


def with_images(mean: WidthMean, part_RK: Floats, rows: pd.DataFrame) -> tuple[WidthMean, float]:
    """A mean over nets with the images' part in its variance too, and the images' share of that variance.

    Args:
        mean: The mean of a column of the rows, all of one width.
        part_RK: What blocks of images add to that column, as `block_parts` has it.
        rows: The rows.
    """
    mean_K = part_RK.mean(axis=0)
    images = Spread(float(mean_K @ mean_K), _freedom(rows))
    both = summed_variance(part_RK.T, [code.to_numpy() for code in net_codes(rows)])
    whole = added(Spread(mean.variance, mean.freedom), images, twice=both)
    share = images.variance / whole.variance if whole.variance > 0 else np.nan
    return replace(mean, variance=whole.variance, freedom=whole.freedom), share


def _freedom(rows: pd.DataFrame) -> float:
    return min(int(rows["images_test"].iloc[0]), BLOCKS) - 1
