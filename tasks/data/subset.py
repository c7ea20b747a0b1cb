"""A smaller set of images that keeps the share of each class, the same every time."""

from __future__ import annotations

import numpy as np

from espalier.tasks.data.raw_images import DataError


def subset(labels: np.ndarray, limit: int | None) -> np.ndarray:
    """The rows, ascending, of `limit` images that keep the share of each class in `labels` [N].

    Each class gets its share of `limit` rounded down, at least one; what is left (or was given out
    too much) goes one by one to the classes farthest from their share, the lower label first. Of
    each class the first in a fixed shuffle are taken. A limit of None or of N and more keeps all.

    >>> subset(np.array([0, 0, 0, 0, 1, 1]), 3).shape
    (3,)
    """
    if limit is None or limit >= len(labels):
        return np.arange(len(labels))
    present, counts = np.unique(labels, return_counts=True)
    if limit < len(present):
        raise DataError(
            f"a limit of {limit} images cannot hold one of each of {len(present)} classes: "
            f"use {len(present)} or more, or no limit"
        )
    # RandomState, since NumPy promises its stream for ever, and not that of default_rng (NEP 19).
    order = np.random.RandomState(0).permutation(len(labels))
    quotas = _quotas(counts, limit)
    taken = [
        order[labels[order] == label][:quota] for label, quota in zip(present, quotas.tolist(), strict=True)
    ]
    return np.sort(np.concatenate(taken))


def _quotas(counts: np.ndarray, limit: int) -> np.ndarray:
    """How many of each class make `limit` images, in whole numbers, so that no rounding decides."""
    total = int(counts.sum())
    quotas = np.maximum(counts * limit // total, 1)
    while (missing := limit - int(quotas.sum())) != 0:
        step = 1 if missing > 0 else -1
        distance = step * (counts * limit - quotas * total)
        if step < 0:
            distance[quotas == 1] = np.iinfo(np.int64).min
        quotas[np.argmax(distance)] += step
    return quotas


def subsets(
    dataset: str, y_train: np.ndarray, y_test: np.ndarray, limits: tuple[int | None, int | None]
) -> list[np.ndarray]:
    """The rows of both splits under their limits; an error names the limit and the data set."""
    rows = []
    for split, labels, limit in zip(("train", "test"), (y_train, y_test), limits, strict=True):
        try:
            rows.append(subset(labels, limit))
        except DataError as error:
            raise DataError(f"limit_{split} on {dataset}: {error}") from None
    return rows
