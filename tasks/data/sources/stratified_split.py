"""The split of images that come without one: a fifth of each class is held out."""

from __future__ import annotations

import numpy as np

from espalier.tasks.data.raw_images import Arrays

SPLIT_RULE = "stratified 80/20 seed 0"
"""The split in words, as it stands in the content of a data set."""


def split_rows(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the training and of the test images under `SPLIT_RULE`, each in shuffled order."""
    from sklearn.model_selection import train_test_split  # here, since scikit-learn is slow to import

    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    return np.asarray(train), np.asarray(test)


def split_arrays(x: np.ndarray, y: np.ndarray) -> Arrays:
    """Images and labels of both splits, as uint8 and int64."""
    x, y = x.astype(np.uint8), y.astype(np.int64)
    train, test = split_rows(y)
    return x[train], y[train], x[test], y[test]
