"""Random images in CIFAR's shape, as Parquet files that the loader reads."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

COUNTS = {"train": 2000, "test": 500}
CLASSES, SIDE = 10, 32


def write_random_images(folder: Path) -> str:
    """Write both splits; the folder's path."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for split, count in COUNTS.items():
        pixels_NHWC = generator.integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
        encoded = [{"bytes": _png(pixels_HWC), "path": ""} for pixels_HWC in pixels_NHWC]
        labels = [number % CLASSES for number in range(count)]
        pq.write_table(pa.table({"img": encoded, "label": labels}), folder / f"{split}.parquet")
    return str(folder)


def _png(pixels_HWC: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels_HWC).save(file, "png", compress_level=1)
    return file.getvalue()
