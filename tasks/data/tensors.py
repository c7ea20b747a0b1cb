"""Images ready for a network: normalised float32 NCHW tensors and int64 labels (float32 of a regression).

Letters of shapes: N images, C channels, H rows, W columns, V the values of a pixel, 256 or 65,536.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from espalier.tasks.data import images
from espalier.tasks.data.images import DataError, Folder, RawImages
from espalier.tasks.data.soundness import refuse_unsound, warnings_about

_CHUNK = 1024  # images counted at once: bounds the int64 copy that bincount makes


class Data(NamedTuple):
    """Both splits: `x_*` float32 [N, C, H, W], `y_*` int64 [N], or of a regression float32 [N, K]."""

    x_train: torch.Tensor
    y_train: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor


@dataclass(frozen=True)
class Normalization:
    """The mean and deviation per channel in `x = (raw - mean) / std`, in units of the raw values."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Loaded(NamedTuple):
    """Data, how it was normalised, and what a user should know of it, in lines."""

    data: Data
    normalization: Normalization
    warnings: tuple[str, ...]


def load(
    dataset: str, *, limit_train: int | None = None, limit_test: int | None = None, folder: Folder = None
) -> Data:
    """The images of `dataset` (docs/data.md), each channel with mean 0 and deviation 1 over train.

    A limit takes a stratified subset (`tasks.data.subset`); `folder` is told in `images.read`. Raises
    `tasks.data.raw_images.DataError` where the images cannot be had.
    """
    return load_with_normalization(dataset, limit_train=limit_train, limit_test=limit_test, folder=folder)[0]


def load_with_normalization(
    dataset: str, *, limit_train: int | None = None, limit_test: int | None = None, folder: Folder = None
) -> tuple[Data, Normalization]:
    """As `load`, and the statistics, which a checkpoint keeps so that others can feed its net.

    They are those of the training images in use, after `limit_train`: a net knows no other images.
    """
    raw = images.read(dataset, folder, limit_train=limit_train, limit_test=limit_test)
    return _ready(raw, dataset)


@functools.lru_cache(maxsize=2)
def load_warned(
    dataset: str,
    limit_train: int | None = None,
    limit_test: int | None = None,
    folder: Folder = None,
    content: str | None = None,
) -> Loaded:
    """As `load_with_normalization`, with what a user should know of the images.

    Decoded once a process; all callers share it and must not write to it. `content`, if given, is what the
    planner saw (`DataFacts.content`): images of the same name that are others raise `DataError`.
    """
    raw = images.read(dataset, folder, limit_train=limit_train, limit_test=limit_test)
    if content is not None:  # after reading, so that a change while they are read is seen too
        _refuse_others(dataset, folder, content)
    return Loaded(*_ready(raw, dataset), tuple(warnings_about(raw, dataset)))


def _refuse_others(dataset: str, folder: Folder, content: str) -> None:
    if images.facts(dataset, folder).content != content:
        raise DataError(
            f"{dataset}: the images are not those that were planned, but changed since then or differ between"
            " machines: bring them to one state, and run again"
        )


def _ready(raw: RawImages, dataset: str) -> tuple[Data, Normalization]:
    refuse_unsound(raw, dataset)
    normalization = measure(raw.x_train)
    data = Data(
        normalize(raw.x_train, normalization),
        torch.from_numpy(raw.y_train),
        normalize(raw.x_test, normalization),
        torch.from_numpy(raw.y_test),
    )
    return data, normalization


def measure(x_NCHW: np.ndarray) -> Normalization:
    """Mean and (population) deviation of each channel of images, in float64; 0 and 1 of real numbers.

    The sums of values and squares are whole numbers, so that they are the same in any order and on
    any machine. A constant channel gets deviation 1, and becomes 0 rather than a division by zero.
    """
    if x_NCHW.dtype.kind != "u":
        return Normalization((0.0,) * x_NCHW.shape[1], (1.0,) * x_NCHW.shape[1])
    measured = [measure_counts(_histogram(x_NCHW[:, channel])) for channel in range(x_NCHW.shape[1])]
    means, deviations = zip(*measured, strict=True)
    return Normalization(means, deviations)


def measure_counts(counts_V: np.ndarray) -> tuple[float, float]:
    """Mean and deviation of values 0..V-1 that occur so often.

    >>> measure_counts(np.array([1, 0, 1]))
    (1.0, 1.0)
    """
    counts = [(value, int(counts_V[value])) for value in np.flatnonzero(counts_V).tolist()]
    size, total, squares = (sum(count * value**power for value, count in counts) for power in (0, 1, 2))
    spread = size * squares - total**2  # size^2 times the variance, exact in Python's integers
    return total / size, math.sqrt(spread) / size if spread else 1.0


def normalize(x_NCHW: np.ndarray, normalization: Normalization) -> torch.Tensor:
    """float32 [N, C, H, W]: `(x - mean) / std`, written in place since a set may fill much of the memory."""
    shape = (1, -1, 1, 1)
    out_NCHW = x_NCHW.astype(np.float32)
    out_NCHW -= np.asarray(normalization.mean, np.float32).reshape(shape)
    out_NCHW /= np.asarray(normalization.std, np.float32).reshape(shape)
    return torch.from_numpy(out_NCHW)


def _histogram(x_NHW: np.ndarray) -> np.ndarray:
    """How often each of the values of a uint8 or uint16 occurs, int64 [V]."""
    values = np.iinfo(x_NHW.dtype).max + 1
    counts_V = np.zeros(values, np.int64)
    for start in range(0, len(x_NHW), _CHUNK):
        counts_V += np.bincount(x_NHW[start : start + _CHUNK].ravel(), minlength=values)
    return counts_V
