"""1797 handwritten digits, grey values 0..16, from scikit-learn (Alpaydin and Kaynak, UCI 1998)."""

from __future__ import annotations

import numpy as np

from espalier.tasks.data.raw_images import Arrays, DataFacts, Folder
from espalier.tasks.data.sources.source import whole
from espalier.tasks.data.sources.stratified_split import SPLIT_RULE, split_arrays


def _read(folder: Folder) -> Arrays:
    del folder
    from sklearn.datasets import load_digits  # here, since scikit-learn is slow to import

    images, labels = load_digits(return_X_y=True)
    return split_arrays(np.asarray(images).reshape(-1, 1, 8, 8), np.asarray(labels))


DIGITS = whole(DataFacts("digits", f"digits;sklearn;{SPLIT_RULE}", 1, 8, 8, 10, 1437, 360), _read, SPLIT_RULE)
