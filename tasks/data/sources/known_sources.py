"""The sources that there are, by name: a new one is one entry here."""

from __future__ import annotations

from espalier.tasks.data.raw_images import DataError
from espalier.tasks.data.sources.cosine import COSINE, COSINE_DRAWS
from espalier.tasks.data.sources.digits import DIGITS
from espalier.tasks.data.sources.mnist5k import MNIST5K
from espalier.tasks.data.sources.parquet_images import PARQUET
from espalier.tasks.data.sources.source import Source
from espalier.tasks.data.sources.torchvision_images import CIFAR10, CIFAR100

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        DIGITS,
        MNIST5K,
        CIFAR10,
        CIFAR100,
        COSINE,
        COSINE_DRAWS,
        PARQUET,
    )
}
"""In the order in which messages list them."""


def source_of(dataset: str) -> Source:
    """The source that `data.dataset` means.

    Raises:
        DataError: There is none of the name; the message lists those that there are.
    """
    for source in SOURCES.values():
        if source.matches(dataset):
            return source
    *most, last = (source.shown for source in SOURCES.values())
    raise DataError(f"no data set is called {dataset!r}: use {', '.join(most)}, or {last}")


def is_path(dataset: str) -> bool:
    """Whether `data.dataset` tells a path, of which a relative one starts at a sweep's folder.

    >>> is_path("parquet:images"), is_path("digits")
    (True, False)
    """
    return any(source.by_path and source.matches(dataset) for source in SOURCES.values())
