"""The split of images that come without one: a fifth of each class is held out.

The rule is that of scikit-learn 1.6's `train_test_split(stratify=labels, test_size=0.2, random_state=0)`,
written out: to import scikit-learn takes each worker a second, and keys rest on the rule, which a release
of it must not move.
"""

from __future__ import annotations

import numpy as np

from espalier.tasks.data.raw_images import Arrays

SPLIT_RULE = "stratified 80/20 seed 0"
"""The split in words, as it stands in the content of a data set."""


def split_rows(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the training and of the test images under `SPLIT_RULE`, each in shuffled order."""
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    rows_of_each = np.split(np.argsort(classes, kind="stable"), np.cumsum(counts)[:-1])
    held = -(-len(labels) // 5)
    rng = np.random.RandomState(0)
    trains = _quotas(counts, len(labels) - held, rng)
    tests = _quotas(counts - trains, held, rng)
    shuffled = [rng.permutation(rows) for rows in rows_of_each]
    train = [rows[:quota] for rows, quota in zip(shuffled, trains, strict=True)]
    test = [rows[start:][:quota] for rows, start, quota in zip(shuffled, trains, tests, strict=True)]
    return rng.permutation(np.concatenate(train)), rng.permutation(np.concatenate(test))


def _quotas(counts: np.ndarray, draws: int, rng: np.random.RandomState) -> np.ndarray:
    """How many of each class make `draws` rows: its share rounded down, and one more of those cut most."""
    shares = counts / counts.sum() * draws
    quotas = np.floor(shares).astype(np.int64)
    cut = shares - quotas
    for value in np.unique(cut)[::-1]:
        missing = draws - int(quotas.sum())
        if not missing:
            break
        (equal,) = np.nonzero(cut == value)
        quotas[rng.choice(equal, size=min(len(equal), missing), replace=False)] += 1
    return quotas


def split_arrays(x: np.ndarray, y: np.ndarray) -> Arrays:
    """Images and labels of both splits, as uint8 and int64."""
    x, y = x.astype(np.uint8), y.astype(np.int64)
    train, test = split_rows(y)
    return x[train], y[train], x[test], y[test]
