"""What the draw of the held-out images adds to the error of an accuracy, beside the draw of the nets.

All pairs of a sweep are judged on the same images, so that no average over pairs removes their part.

**A share p of images that are right** varies as `p (1 - p) / n`. A mean over nets of such shares varies at
most so much: for one image let r be the share of nets that are right, then `E r^2 <= E r = p`.

**An accuracy drop** is a mean over images of d = (target right) - (graft right), which is -1, 0 or 1. That of
one pair varies as `(q - drop^2) / n`, q being the share of images of which exactly one of the two is right
(McNemar 1947). Of a mean over pairs it is the mean of d over the pairs that varies from image to image:

- Rows tell d summed over blocks of images (`tasks.tables.image_blocks`). With m_k images in block k, s_k the
  mean over pairs of their sum, and D the mean drop, the variance of D over draws of the images is

      V_images = sum_k (s_k - m_k D)^2 / (n (n - sum_k m_k^2 / n)),

  which has the right expectation for images that are independent draws, whatever the sizes of the blocks.
- Rows from before blocks were kept give an upper bound: the standard deviation of a mean is at most the mean
  of the standard deviations (Minkowski), with equality where all pairs differ on the same images. Where
  `lost_images` is not known either, `q <= min(2 - a - b, a + b)` for the accuracies a and b: such an image is
  missed by one net and found by the other.

**Nets and images together.** What an image does to one net alone is noise both over nets and over images: the
sum of the two counts it twice, and it is taken out once, as for any two ways of clustering (Cameron, Gelbach,
Miller 2011), `V = V_nets + V_images - V_both`. V_both sums over blocks the variance over nets of what a block
adds to the mean. V is kept at V_nets or V_images at least.

Legend: R rows, K blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from espalier.analysis.limits.powerlaw import Floats
from espalier.analysis.limits.resample import groups, mean_over_nets, summed_variance
from espalier.analysis.limits.selection import comparable, narrower_width, net_codes, where
from espalier.tasks.tables.image_blocks import BLOCKS, BY_BLOCK, COUNT, block_sizes


class Spread(NamedTuple):
    """A variance, and the degrees of freedom with which it is known."""

    variance: float
    freedom: float


def added(*parts: Spread, twice: float = 0.0) -> Spread:
    """The variance of a sum (Satterthwaite 1946), less what two parts both have; never less than a part's."""
    variances = [part.variance for part in parts]
    total = float(np.max([*variances, sum(variances) - twice]))
    if not total > 0:
        return Spread(total, parts[0].freedom)
    known = sum(part.variance**2 / max(part.freedom, 1) for part in parts)
    return Spread(total, max(float(total**2 / known), 1.0))


def drop_means(grafts: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean accuracy drop with its error over nets and images, a row per group of `by` and width.

    The rows are chosen as in `analysis.limits.selection.comparable`; those without an accuracy are left out.
    Columns: those of `by`, `width`, `mean`, `error_nets` and `error_images` (one standard error over nets,
    and over images), `error` (over both), `freedom` (of `error`), `nets`, `rows`, and `bounded`: whether
    `error_images` is an upper bound, since some of the rows tell no blocks of images.
    """
    rows = comparable(where(grafts, grafts["accuracy_drop"].notna()), by)
    lines = []
    for group, part in groups(rows, by):
        width_R, codes = narrower_width(part), [code.to_numpy() for code in net_codes(part)]
        for width in np.unique(width_R):
            here = width_R == width
            line = _line(where(part, here), [code[here] for code in codes])
            lines.append(group | {"width": int(width)} | line)
    names = ["width", "mean", "error_nets", "error_images", "error", "freedom", "nets", "rows", "bounded"]
    return pd.DataFrame(lines, columns=[*by, *names])


def _line(rows: pd.DataFrame, nets_R: Sequence[NDArray[np.int64]]) -> dict[str, Any]:
    m = mean_over_nets(0, rows["accuracy_drop"].to_numpy(dtype=np.float64), nets_R)
    bounded = not _have_blocks(rows)
    images, both = (_bound(rows), 0.0) if bounded else over_blocks(*_blocks(rows), nets_R)
    error = added(Spread(m.variance, m.freedom), images, twice=both)
    return {
        "mean": m.mean,
        "error_nets": m.variance**0.5,
        "error_images": images.variance**0.5,
        "error": error.variance**0.5,
        "freedom": error.freedom,
        "nets": m.seeds,
        "rows": m.rows,
        "bounded": bounded,
    }


def _have_blocks(rows: pd.DataFrame) -> bool:
    """Whether blocks of the same images are known of all rows."""
    images = set(rows["images_test"])
    return len(images) == 1 and min(images) > 1 and not _without_blocks(rows)


def _without_blocks(rows: pd.DataFrame) -> int:
    """How many rows do not tell what was lost in each block: earlier ones, or all if that was not read."""
    return int(rows[BY_BLOCK].isna().to_numpy().sum()) if BY_BLOCK in rows else len(rows)


def _blocks(rows: pd.DataFrame) -> tuple[NDArray[np.int16], int]:
    """What rows lost in each block (R, K), and of how many images."""
    counts = np.frombuffer(b"".join(rows[BY_BLOCK]), COUNT)
    return counts.reshape(-1, BLOCKS), int(rows["images_test"].iloc[0])


def over_blocks(
    drop_RK: NDArray[np.int16], images: int, nets_R: Sequence[NDArray[np.int64]]
) -> tuple[Spread, float]:
    """V_images and V_both of the mean drop of rows that were judged on the same images.

    Args:
        drop_RK: Images lost less images gained, by block.
        images: n, at least 2.
        nets_R: Codes of each row's nets, as for `analysis.limits.resample.mean_over_nets`.
    """
    size_K = np.array(block_sizes(images))
    left_RK = drop_RK - size_K * drop_RK.sum(axis=1, keepdims=True) / images
    scale = 1 / (images * (images - size_K @ size_K / images))
    both = scale * summed_variance(left_RK.T, nets_R)
    mean_K = left_RK.mean(axis=0)
    return Spread(float(scale * (mean_K @ mean_K)), min(images, BLOCKS) - 1), float(both)


def _bound(rows: pd.DataFrame) -> Spread:
    """Upper bound on V_images, from each row's own numbers."""
    images_R = rows["images_test"].to_numpy(dtype=np.float64)
    deviation_R = np.sqrt(drop_variances(rows))
    return Spread(float(deviation_R.mean() ** 2), float(images_R.min()) - 1)


def drop_variances(rows: pd.DataFrame) -> Floats:
    """Variance over draws of the images of each row's accuracy drop, or an upper bound (R,)."""
    target_R, graft_R, images_R, lost_R, gained_R = (
        rows[name].to_numpy(dtype=np.float64, na_value=np.nan)
        for name in ("target_accuracy_test", "accuracy_test", "images_test", "lost_images", "gained_images")
    )
    together_R = target_R + graft_R
    most_R = np.minimum(2 - together_R, together_R)
    differing_R = np.where(np.isnan(lost_R), most_R, (lost_R + gained_R) / images_R)
    return np.maximum(differing_R - (target_R - graft_R) ** 2, 0.0) / images_R


def unknown_images(rows: pd.DataFrame) -> str:
    """After the images' part, in words: how many rows do not tell which images were lost; empty if none."""
    unknown = _without_blocks(rows)
    return (
        f", an upper bound: {unknown:,} of {len(rows):,} rows do not tell which were lost" if unknown else ""
    )


def rate_variance(share: float, images: int) -> float:
    """Upper bound on the variance of a mean over nets of shares of images, over draws of the images."""
    return share * (1 - share) / images
