"""What a source of images tells of itself: its name, facts for the planner, and how it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from espalier.tasks.data.raw_images import Arrays, DataFacts, Folder, RawImages
from espalier.tasks.data.subset import subsets

Limits = tuple[int | None, int | None]
"""The most images of train and of test; None for all."""


@dataclass(frozen=True)
class Source:
    """A data set, or with `by_path` whatever lies at a path that follows the name.

    Attributes:
        name: What `data.dataset` says; with `by_path` what it begins with, such as `parquet:`.
        facts: What the planner must know, of the whole data set as `data.dataset` names it, in a folder.
        read: The images, or of each split the stratified subset of a limit.
        by_path: A path follows the name; a relative one starts at the folder.
    """

    name: str
    facts: Callable[[str, Folder], DataFacts]
    read: Callable[[str, Folder, Limits], RawImages]
    by_path: bool = False

    def matches(self, dataset: str) -> bool:
        """Whether `data.dataset` means this source."""
        return dataset.startswith(self.name) if self.by_path else dataset == self.name

    @property
    def shown(self) -> str:
        """What to write into `data.dataset`, as messages tell it."""
        return f"{self.name}PATH" if self.by_path else self.name


def whole(facts: DataFacts, arrays: Callable[[Folder], Arrays], rule: str) -> Source:
    """A data set of one name that is read whole before a limit leaves some of it.

    Args:
        facts: Its facts, known without reading it.
        arrays: Images and labels of train, then of test, from a folder where a library may keep them.
        rule: How train and test were parted, in words.
    """

    def read(dataset: str, folder: Folder, limits: Limits) -> RawImages:
        x_train, y_train, x_test, y_test = arrays(folder)
        train, test = subsets(dataset, _strata(y_train), _strata(y_test), limits)
        return RawImages(x_train[train], y_train[train], x_test[test], y_test[test], rule)

    return Source(facts.name, lambda *_: facts, read)


def _strata(y: np.ndarray) -> np.ndarray:
    """The classes [N] whose shares a limit keeps: the labels, or one class of a regression's numbers."""
    return y if y.ndim == 1 else np.zeros(len(y), np.int64)
