"""CIFAR-10 and CIFAR-100 through torchvision, which downloads them once."""

from __future__ import annotations

import http.client
import tarfile
import tempfile
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from espalier.tasks.data.raw_images import PREFIX, Arrays, DataError, DataFacts, DownloadError, Folder
from espalier.tasks.data.sources.source import Source, whole

_RULE = "train and test as published"


def _read_cifar(dataset: str, folder: Folder) -> Arrays:
    root = Path.home() / ".cache" / "espalier" if folder is None else Path(folder)
    kind = getattr(_torchvision_datasets(dataset), dataset.upper())
    try:
        splits = _open_cifar(kind, root)
    except (OSError, RuntimeError, EOFError, http.client.HTTPException, tarfile.TarError) as error:
        raise DownloadError(
            f"{dataset} is not whole in {root} ({kind.base_folder}) and could not be downloaded "
            f"({type(error).__name__}: {error}): run once where there is network and copy that folder "
            f"here (remove a damaged one first), or use {PREFIX}PATH"
        ) from error
    x_train, x_test = (
        np.ascontiguousarray(np.asarray(split.data, np.uint8).transpose(0, 3, 1, 2)) for split in splits
    )
    y_train, y_test = (np.asarray(split.targets, np.int64) for split in splits)
    return x_train, y_train, x_test, y_test


def _torchvision_datasets(dataset: str) -> Any:
    """`torchvision.datasets`; beside a torch of another build torchvision fails at import."""
    try:
        from torchvision import datasets
    except (ImportError, RuntimeError, OSError) as error:
        raise DataError(
            f"{dataset} needs torchvision, but torchvision {_version('torchvision')} could not be "
            f"imported beside torch {_version('torch')} ({type(error).__name__}: {error}): install "
            f"both from the same index, or use {PREFIX}PATH"
        ) from error
    return datasets


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _open_cifar(kind: Any, root: Path) -> tuple[Any, Any]:
    """Both splits from `root`, downloaded if they are not there; torchvision checks their MD5."""
    try:
        return kind(root, train=True), kind(root, train=False)
    except RuntimeError:  # torchvision's word for "not found or corrupted"
        _download(kind, root)
    return kind(root, train=True), kind(root, train=False)


def _download(kind: Any, root: Path) -> None:
    """Put the files into `root` whole or not at all, since several workers may download at once."""
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as staging:
        kind(staging, train=True, download=True)
        with suppress(OSError):  # another worker was first, or a damaged folder is in the way
            (Path(staging) / kind.base_folder).rename(root / kind.base_folder)


def _cifar(name: str, classes: int) -> Source:
    """60,000 colour images (Krizhevsky 2009); of CIFAR-100 the fine labels."""
    facts = DataFacts(name, f"{name};torchvision;{_RULE}", 3, 32, 32, classes, 50000, 10000)
    return whole(facts, lambda folder: _read_cifar(name, folder), _RULE)


CIFAR10, CIFAR100 = _cifar("cifar10", 10), _cifar("cifar100", 100)
