"""Images in Parquet files, in the form of the Hugging Face image data sets (docs/data.md).

Labels are read whole; of the images, only the rows that a limit leaves are decoded.
Letters of shapes: N images, C channels (1 grey, 3 RGB), H rows, W columns.
"""

from __future__ import annotations

import hashlib
import mmap
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from espalier.tasks.data.raw_images import PREFIX, Arrays, DataError, DataFacts, Folder, RawImages
from espalier.tasks.data.sources.decoding import UNDECODABLE, Unsuited, decode, form, is_turned, mode_of
from espalier.tasks.data.sources.source import Limits, Source
from espalier.tasks.data.subset import subsets
from espalier.tasks.parquet_pages import PageError, check_pages

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "fine_label")
_SPLIT_RULE = "train and test by file name"
_UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError, LookupError, PageError)


@dataclass(frozen=True)
class _Shard:
    """One file of a split: its column of images, and its labels, int64 [N]."""

    path: Path
    column: str
    labels: np.ndarray


@dataclass(frozen=True)
class _Scan:
    """A folder of Parquet before its images are decoded.

    Attributes:
        first: Pixels [H, W, C] of the first training image.
        stored: Pillow's mode of that image as it is stored.
    """

    name: str
    train: tuple[_Shard, ...]
    test: tuple[_Shard, ...]
    classes: int
    first: np.ndarray
    stored: str


def facts(dataset: str, folder: Folder) -> DataFacts:
    """See `images.facts`: the bytes of the files, their labels, and the first training image."""
    scan = _scan(_parquet_folder(dataset, folder))
    height, width, channels = scan.first.shape
    counts = [sum(len(shard.labels) for shard in shards) for shards in (scan.train, scan.test)]
    return DataFacts(
        PREFIX + scan.name, _content(scan), channels, height, width, scan.classes, counts[0], counts[1]
    )


def read(dataset: str, folder: Folder, limits: Limits) -> RawImages:
    """See `images.read`; `limits` of train and of test."""
    return RawImages(*_arrays(_scan(_parquet_folder(dataset, folder)), limits), split=_SPLIT_RULE)


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
    (content,) = _column_bytes(first, np.array([0]))
    pixels = _decode(content, first.path, 0)
    # The name as it was given, unless that is no name: a link's target differs between machines.
    name = folder.name if folder.name not in ("", "..") else folder.resolve().name
    return _Scan(name, train, test, classes, pixels, mode_of(content or b""))


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
        with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            check_pages(content)
        with pq.ParquetFile(path) as file:
            labels = file.read(columns=[label]).column(0)
        # Nulls become -1, which the next check refuses.
        values = labels.cast(pa.int64()).fill_null(-1).to_numpy().astype(np.int64)
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error
    if (values < 0).any():
        raise _label_error(path, values, values < 0, "0 or more, and never missing")
    return _Shard(path, column, values)


def _unreadable(path: Path, error: Exception) -> DataError:
    said = " ".join(str(error).split())
    return DataError(f"{path} is no readable Parquet file ({said}): fetch it again")


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
    found = np.unique(np.concatenate([shard.labels for shard in train]))
    if len(found) < 2 or found[-1] != len(found) - 1:
        raise DataError(
            f"the training labels in {folder} are {found[:20].tolist()}: there should be "
            f"two classes or more, numbered from 0 without a gap; number them anew"
        )
    return len(found)


def _content(scan: _Scan) -> str:
    """The SHA-256 of which split each file belongs to and of all the files' bytes, in their order.

    What is read otherwise than by earlier versions, which knew neither orientations nor 16 bits and made
    three channels of all but `L`, says so: their results must not be taken for those of the same files.
    """
    digest = hashlib.sha256()
    for split, shards in (("train", scan.train), ("test", scan.test)):
        for shard in shards:
            with shard.path.open("rb") as file:
                digest.update(f"{split} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    rules = [_SPLIT_RULE]
    if scan.stored != "L" and scan.first.shape[2] == 1:
        rules.append("grey, 16 bits" if scan.first.dtype == np.uint16 else "grey")
    every = (content for shard in (*scan.train, *scan.test) for content in _contents(shard))
    if any(content is not None and is_turned(content) for content in every):
        rules.append("orientation applied")
    return f"parquet;sha256 {digest.hexdigest()};{';'.join(rules)}"


def _arrays(scan: _Scan, limits: Limits) -> Arrays:
    y_train, y_test = (
        np.concatenate([shard.labels for shard in shards]) for shards in (scan.train, scan.test)
    )
    train, test = subsets(PREFIX + scan.name, y_train, y_test, limits)
    x_train, x_test = _images(scan, scan.train, train), _images(scan, scan.test, test)
    return x_train, y_train[train], x_test, y_test[test]


def _images(scan: _Scan, shards: tuple[_Shard, ...], rows: np.ndarray) -> np.ndarray:
    """[N, C, H, W]: the images at `rows` (ascending, counted over all shards)."""
    x_NHWC = np.empty((len(rows), *scan.first.shape), scan.first.dtype)
    start = filled = 0
    for shard in shards:
        wanted = rows[(rows >= start) & (rows < start + len(shard.labels))] - start
        for row, content in zip(wanted.tolist(), _column_bytes(shard, wanted), strict=True):
            pixels = _decode(content, shard.path, row)
            _check_alike(scan, pixels, shard.path, row)
            x_NHWC[filled] = pixels
            filled += 1
        start += len(shard.labels)
    return np.ascontiguousarray(x_NHWC.transpose(0, 3, 1, 2))


def _column_bytes(shard: _Shard, rows: np.ndarray) -> list[bytes | None]:
    """The encoded images at `rows` (ascending); row groups without any of them are not read."""
    return list(_contents(shard, rows))


def _contents(shard: _Shard, rows: np.ndarray | None = None) -> Iterator[bytes | None]:
    """The encoded images at `rows`, or all, of one row group after another."""
    chosen = np.arange(len(shard.labels)) if rows is None else rows
    start = 0
    try:
        with pq.ParquetFile(shard.path) as file:
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                wanted = chosen[(chosen >= start) & (chosen < start + count)] - start
                if len(wanted):
                    column = file.read_row_group(group, columns=[f"{shard.column}.bytes"]).column(0)
                    images = column.take(pa.array(wanted)).to_pylist()
                    yield from (image and image["bytes"] for image in images)
                start += count
    except _UNREADABLE as error:
        raise _unreadable(shard.path, error) from error


def _decode(content: bytes | None, path: Path, row: int) -> np.ndarray:
    """The pixels [H, W, C] of an image."""
    if content is None:
        raise DataError(f"{path}, row {row}: there are no bytes of an image: embed the images in the Parquet")
    try:
        return decode(content)
    except Unsuited as error:
        raise DataError(f"{path}, row {row}: the image cannot be used, since {error}") from error
    except UNDECODABLE as error:
        raise DataError(
            f"{path}, row {row}: the image cannot be decoded ({error}): mend or remove the row"
        ) from error


def _check_alike(scan: _Scan, pixels: np.ndarray, path: Path, row: int) -> None:
    found, wanted = (f"{form(x)} of {x.shape[0]} x {x.shape[1]}" for x in (pixels, scan.first))
    if found != wanted:
        raise DataError(
            f"{path}, row {row}: the image is {found}, but the first of train is {wanted}: bring all to one "
            "size and mode"
        )


PARQUET = Source(PREFIX, facts, read, by_path=True)
"""Whatever lies in a folder of Parquet files."""
