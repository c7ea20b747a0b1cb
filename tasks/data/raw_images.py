"""The forms of raw images and of the facts about them, and the errors of those who read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espalier.tasks.plain_text import printable

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Folder = str | Path | None

PREFIX = "parquet:"


class DataError(ValueError):
    """The images asked for cannot be had or used.

    `hopeless` says whether trying again gives the same, `shared` that each job which reads them meets it.
    """

    hopeless = True
    shared = True

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))  # it may quote a library, or a file's own words


class DownloadError(DataError):
    """The images are not here and could not be fetched; the network may come back."""

    hopeless = False


@dataclass(frozen=True)
class RawImages:
    """Images as they are stored: `x_*` uint8 or uint16 [N, C, H, W], `y_*` int64 [N], `split` in words.

    A regression has float32 numbers instead, `x_*` [N, C, H, W] and `y_*` [N, K], used as they are.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    split: str


@dataclass(frozen=True)
class DataFacts:
    """What the planner must know of a data set; `train` and `test` count images before any limit.

    `name` is what tables show. `content` identifies the images and the split rule, wherever they lie.
    `classes` counts a net's outputs; a `regression` has no classes.
    """

    name: str
    content: str
    channels: int
    height: int
    width: int
    classes: int
    train: int
    test: int
    regression: bool = False
