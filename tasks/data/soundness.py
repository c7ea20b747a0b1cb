"""Whether anything can follow from images: what is refused of them, and what is only told.

Both look at the images in use, under their limits. Letters of shapes: N images, C channels, H rows,
W columns.
"""

from __future__ import annotations

import numpy as np

from espalier.tasks.data.raw_images import DataError, RawImages


def refuse_unsound(raw: RawImages, dataset: str) -> None:
    """Refuse training images that cannot be normalised, or that tell no classes apart.

    Raises:
        DataError: A channel is constant, or all images are alike, or their labels (a regression: targets).
    """
    x_NCHW, y = raw.x_train, raw.y_train
    lowest_C, highest_C = x_NCHW.min((0, 2, 3)), x_NCHW.max((0, 2, 3))
    for channel in np.flatnonzero(lowest_C == highest_C).tolist():
        raise DataError(
            f"{dataset}: channel {channel + 1} of {len(lowest_C)} is {lowest_C[channel]:g} in all pixels of "
            f"all {len(x_NCHW)} training images, so nothing can be learned from it: store the images without "
            "it, or raise limit_train"
        )
    if all((image == x_NCHW[0]).all() for image in x_NCHW):  # one at a time: no mask of the whole set
        raise DataError(
            f"{dataset}: all {len(x_NCHW)} training images are alike, so nothing can be learned from them: "
            "give images that differ"
        )
    if (y == y[:1]).all():
        told = "label" if y.ndim == 1 else "target"
        raise DataError(
            f"{dataset}: every {told} is {y.flat[0]:g} in all {len(y)} training images: two or more are "
            "needed"
        )


def warnings_about(raw: RawImages, dataset: str) -> list[str]:
    """Lines for the user: test images that are training images too, pixel by pixel."""
    if raw.x_train.dtype.kind == "f":
        return []
    known = {image.tobytes() for image in raw.x_train}
    twins = sum(image.tobytes() in known for image in raw.x_test)
    if not twins:
        return []
    return [
        f"{dataset}: {twins} of {len(raw.x_test)} test images equal training images, so that errors on test "
        "images are too low"
    ]
