"""1797 handwritten digits, grey values 0..16, from scikit-learn (Alpaydin and Kaynak, UCI 1998)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from espalier.tasks.data.raw_images import Arrays, DataError, DataFacts, Folder
from espalier.tasks.data.sources.source import whole
from espalier.tasks.data.sources.stratified_split import SPLIT_RULE, split_arrays


def _read(folder: Folder) -> Arrays:
    """From the file that `sklearn.datasets.load_digits` reads, without its import, which takes a second.

    Raises:
        DataError: scikit-learn is not installed, or keeps its digits elsewhere.
    """
    del folder
    found = find_spec("sklearn")
    places = found.submodule_search_locations if found else None
    if not places:
        raise DataError("digits are a file of scikit-learn, which is not installed: pip install scikit-learn")
    file = Path(places[0]) / "datasets" / "data" / "digits.csv.gz"
    if not file.exists():
        raise DataError(f"digits: {file} is not there: install a release of scikit-learn that has it")
    table = np.loadtxt(file, delimiter=",")  # of a row 64 pixels and the label
    return split_arrays(table[:, :-1].reshape(-1, 1, 8, 8), table[:, -1])


DIGITS = whole(DataFacts("digits", f"digits;sklearn;{SPLIT_RULE}", 1, 8, 8, 10, 1437, 360), _read, SPLIT_RULE)
