"""Raw images by name, as uint8 arrays `x_NCHW` and int64 labels (or a regression's float32 numbers).

Nothing here imports torch.

Letters of shapes: N images, C channels (1 grey, 3 RGB), H rows, W columns. The planner asks
`facts`, the workers `read`; both refuse what they cannot use with a `DataError`. docs/data.md
tells the data sets, the split rules and the form of the Parquet files.
"""

from __future__ import annotations

from espalier.tasks.data.raw_images import DataError, DataFacts, DownloadError, Folder, RawImages
from espalier.tasks.data.sources.known_sources import source_of
from espalier.tasks.data.subset import subset

__all__ = ["DataError", "DataFacts", "DownloadError", "Folder", "RawImages", "facts", "read", "subset"]


def facts(dataset: str, folder: Folder = None) -> DataFacts:
    """Name, content, shape and counts of `dataset`, which it does not decode; see `read` for `folder`.

    Of Parquet it reads the bytes for their SHA-256, the labels, and the first training image.

    >>> facts("digits").train
    1437
    """
    return source_of(dataset).facts(dataset, folder)


def read(
    dataset: str, folder: Folder = None, *, limit_train: int | None = None, limit_test: int | None = None
) -> RawImages:
    """The images of `dataset`, or of each split the stratified `subset` of a limit.

    `folder` is where a relative `parquet:PATH` starts (None: the working directory) and where
    torchvision keeps its downloads (None: `~/.cache/espalier`). Of Parquet only the rows that
    the limits leave are decoded, so that a small experiment on a large set starts quickly.
    """
    return source_of(dataset).read(dataset, folder, (limit_train, limit_test))
